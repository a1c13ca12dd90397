"""The runs of a study as a W&B sweep: W&B's own code makes the commands of its agents, and they name every run once."""

import re
from itertools import product
from pathlib import Path

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from rl_lab.errors import UserError
from rl_lab.study.config import read_study
from rl_lab.study.sweep import METRIC, pick, write_sweep

GOOD = {
    "envs": ["Pendulum-v1", {"id": "CartPole-v1", "label": "a pole, on a cart", "steps": 500}],
    "agents": ["ppo", "trpo"],
    "seeds": [3, 5],
    "steps": 1000,
    "grid": {"settings.learning_rate": [1e-3, 1e-2]},
}


def study(**changes):
    return read_study({**GOOD, **changes}, "little", "little.yaml")


def commands(sweep):
    """What W&B's agents start, macros filled in by W&B."""
    parameters = {name: one["values"] for name, one in sweep["parameters"].items()}
    for values in product(*parameters.values()):
        made = create_sweep_command_args(
            {"args": {n: {"value": v} for n, v in zip(parameters, values, strict=True)}}
        )
        words = create_sweep_command(list(sweep["command"]))
        yield [
            w for word in words for w in (made["args_no_hyphens"] if word == "${args_no_hyphens}" else [word])
        ]


def test_agents_of_the_sweep_run_every_run_of_the_study_once(tmp_path):
    planned = study()
    write_sweep(planned, tmp_path / "sweep.yaml", Path("little.yaml"), ["steps=1000"])
    sweep = load_sweep_config(str(tmp_path / "sweep.yaml"))
    head = ["${env}", "rl-lab", "run-one", "little.yaml", "--wandb", "online", "--set", "steps=1000"]
    started = list(commands(sweep))
    assert all(words[: len(head)] == head for words in started)
    picked = [pick(planned, words[len(head) :], "little.yaml") for words in started]
    assert sorted(run.run_id for run in picked) == sorted(run.run_id for run in planned.runs())
    assert {run.run_id: run for run in picked} == {run.run_id: run for run in planned.runs()}


@pytest.mark.parametrize("primary", METRIC)
def test_a_sweep_has_the_form_that_wandb_asks_for(tmp_path, primary):
    """What W&B's schema demands of these keys: a known method and goal, names of letters, values that are lists."""
    write_sweep(study(primary=primary), tmp_path / "sweep.yaml", Path("little.yaml"))
    sweep = load_sweep_config(str(tmp_path / "sweep.yaml"))
    assert set(sweep) == {
        "name",
        "project",
        "description",
        "program",
        "method",
        "metric",
        "parameters",
        "command",
    }
    assert (sweep["method"], sweep["metric"]["goal"]) == ("grid", METRIC[primary][1])
    for name, parameter in sweep["parameters"].items():
        assert re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]*", name)
        assert set(parameter) == {"values"}
        assert isinstance(parameter["values"], list)
    assert sweep["parameters"].keys().isdisjoint({"env", "agent"}), "they would replace our config in W&B"


def test_a_file_is_never_overwritten(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("precious")
    with pytest.raises(UserError, match=r"sweep\.yaml is there already; nothing was changed"):
        write_sweep(study(), path, Path("little.yaml"))
    assert path.read_text() == "precious"
    with pytest.raises(UserError, match=r"none/sweep\.yaml: cannot be written \(No such file"):
        write_sweep(study(), tmp_path / "none" / "sweep.yaml", Path("little.yaml"))


def test_a_task_without_an_agent_is_no_grid(tmp_path):
    with pytest.raises(
        UserError, match=r"^little\.yaml: a W&B grid has every arm in every task, and Pendulum-v1 is"
    ):
        write_sweep(
            study(envs=[{"id": "Pendulum-v1", "without": ["trpo"]}]), tmp_path / "s.yaml", Path("little.yaml")
        )
    assert list(tmp_path.iterdir()) == []


ARM = "arm=ppo (learning_rate=0.001)"


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["task=Pendulum-v1", ARM], "seed is missing; a run is named by task=LABEL arm=LABEL seed=NUMBER"),
        (
            ["task=Pendulum", ARM, "seed=3"],
            "little.yaml: there is no task Pendulum. Did you mean Pendulum-v1? (there",
        ),
        (
            ["task=Pendulum-v1", "arm=ppo (learning_rate=0.002)", "seed=3"],
            "little.yaml: there is no arm ppo (learning_rate=0.002). Did you mean ppo (learning_rate=0.0",
        ),
        (["task=Pendulum-v1", ARM, "seed=4"], "little.yaml: there is no seed 4."),
        (["seed=3", "seed=3"], "seed is given twice; keep one"),
        (["sed=3"], "sed is not a key of a run. Did you mean seed?"),
        (["seed"], "seed: must have the form key=value"),
    ],
)
def test_a_run_that_is_none_of_the_study_is_said(texts, sentence):
    with pytest.raises(UserError) as caught:
        pick(study(), texts, "little.yaml")
    assert str(caught.value).startswith(sentence), str(caught.value)


def test_an_agent_that_is_left_out_has_no_run():
    planned = study(envs=[{"id": "Pendulum-v1", "without": ["trpo"]}], grid=None)
    with pytest.raises(UserError, match=r"^little\.yaml: trpo is left out of Pendulum-v1 by this study"):
        pick(planned, ["task=Pendulum-v1", "arm=trpo", "seed=3"], "little.yaml")
