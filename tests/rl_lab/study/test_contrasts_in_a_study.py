"""What a study compares, and which agents a task goes without."""

import json

import pytest

from rl_lab.cli import work
from rl_lab.errors import UserError
from rl_lab.study.config import read_study
from rl_lab.study.supervisor import check_tasks

GOOD = {"envs": ["Pendulum-v1"], "agents": ["ppo", "trpo"], "seeds": 2, "steps": 30000}


def study(**changes):
    return read_study({**GOOD, **changes}, "test", "configs/test.yaml")


def test_contrasts_are_kept_and_change_no_run():
    planned = study(contrasts={"AAI": [["ppo", "trpo"]]})
    assert planned.contrasts == {"AAI": (("ppo", "trpo"),)}
    assert planned.hash() == study().hash()


def test_a_task_may_go_without_an_agent():
    envs = [{"id": "CartPole-v1", "without": ["trpl"]}, "Pendulum-v1"]
    planned = study(envs=envs, agents=["ppo", "trpl"])
    assert [run.run_id for run in planned.runs() if run.seed == 0] == [
        "CartPole-v1-ppo-s0", "Pendulum-v1-ppo-s0", "Pendulum-v1-trpl-s0",
    ]  # fmt: skip
    assert planned.envs[0].settings == {}, "it is no setting of the task"
    check_tasks(planned, "test")
    with pytest.raises(UserError, match=r"envs\[0\]: CartPole-v1: trpl cannot be used here"):
        check_tasks(study(envs=["CartPole-v1"], agents=["ppo", "trpl"]), "test")


PAIR = [["ppo", "trpo"]]
MISTAKES = [
    ({"contrasts": [1]}, "contrasts must be a mapping from names to pairs"),
    ({"contrasts": 0}, "contrasts must be a mapping from names to pairs"),
    ({"contrasts": False}, "contrasts must be a mapping from names to pairs"),
    *(({"contrasts": {name: PAIR}}, f"contrasts: a name of a contrast must be a word, got {name!r}")
      for name in (1, None, "", " ", "a\nb")),
    ({"contrasts": {"A": [*PAIR, *PAIR]}}, "contrasts.A[1]: ppo and trpo stand there twice; keep one of the"),
    ({"contrasts": {"A": [*PAIR, ["trpo", "ppo"]]}}, "contrasts.A[1]: trpo and ppo stand there twice"),
    (
        {"contrasts": {"A": PAIR}, "envs": [{"id": "Pendulum-v1", "without": ["trpo"]}]},
        "contrasts.A compares ppo, trpo, and `without` leaves no task with all of them",
    ),
    (
        {"envs": [{"id": "Pendulum-v1", "without": ["ppo", "ppo"]}]},
        "envs[0].without[1]: ppo stands there twice; keep one",
    ),
    ({"contrasts": {"A": ["ppo", "trpo"]}}, "contrasts.A[0] must be a pair of two different agents, got 'ppo'"),
    ({"contrasts": {"A": []}}, "contrasts.A must be a list of pairs"),
    ({"contrasts": {"A": [["ppo", "ppo"]]}}, "contrasts.A[0] must be a pair of two different agents"),
    (
        {"contrasts": {"A": [["ppo", "trpo"], ["ppo", "trop"]]}},
        "contrasts.A[1]: trop is no agent of this study. Did you mean trpo? (there are: ppo, trpo)",
    ),
    (
        {"envs": [{"id": "Pendulum-v1", "without": ["pppo"]}]},
        "envs[0].without[0]: pppo is no agent of this study. Did you mean ppo?",
    ),
    ({"envs": [{"id": "Pendulum-v1", "without": "ppo"}]}, "envs[0].without must be a list of agents"),
    ({"envs": [{"id": "Pendulum-v1", "without": ["ppo", "trpo"]}]}, "envs[0].without leaves no agent"),
    ({"contrast": {}}, "contrast is not a key of a study. Did you mean contrasts?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert str(caught.value).startswith(f"configs/test.yaml: {sentence}"), str(caught.value)


def test_a_dry_run_counts_and_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "little.yaml"
    config.write_text(
        "envs: [Pendulum-v1, {id: CartPole-v1, steps: 50, without: [trpo]}]\n"
        "agents: [ppo, trpo]\nseeds: 3\nsteps: 100\n"
    )
    assert work.study(config, dry_run=True, no_calibrate=True, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    counted = {
        "study": "little", "runs": 9, "tasks": 2, "agents": 2, "seeds": 3, "steps": 2 * 3 * 100 + 3 * 50,
    }  # fmt: skip
    assert {key: said[key] for key in counted} == counted
    assert work.study(config, dry_run=True, no_calibrate=True) == 0
    assert "nothing was run" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["little.yaml"]


def test_a_contrast_needs_one_task_with_all_its_arms_and_not_all_tasks():
    envs = [{"id": "CartPole-v1", "without": ["trpo"]}, "Pendulum-v1"]
    assert study(envs=envs, contrasts={"A": PAIR}).contrasts == {"A": (("ppo", "trpo"),)}
