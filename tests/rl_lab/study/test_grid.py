"""A grid of settings multiplies the arms of a study."""

import pytest

from rl_lab.errors import UserError
from rl_lab.study.config import read_study

GOOD = {"envs": ["Pendulum-v1"], "agents": ["ppo", "trpo"], "seeds": 2, "steps": 30000}
RATES = {"settings.learning_rate": [3e-4, 3e-3]}
LOW, HIGH = "learning_rate=0.0003", "learning_rate=0.003"


def study(**changes):
    return read_study({**GOOD, **changes}, "test", "configs/test.yaml")


def labels(planned):
    return [agent.label for agent in planned.agents]


def test_every_agent_has_every_value_and_says_so():
    planned = study(grid=RATES)
    assert labels(planned) == [f"ppo ({LOW})", f"ppo ({HIGH})", f"trpo ({LOW})", f"trpo ({HIGH})"]
    assert [run.agent.settings["learning_rate"] for run in planned.runs()] == [3e-4, 3e-3] * 4
    assert planned.size()["runs"] == len({run.run_id for run in planned.runs()}) == 8


def test_a_grid_is_the_study_that_has_its_arms_written_out():
    written = [
        {"name": name, "label": f"{name} (learning_rate={text})", "learning_rate": value}
        for name in ("ppo", "trpo")
        for text, value in (("0.0003", 3e-4), ("0.003", 3e-3))
    ]
    assert study(grid=RATES).hash() == study(agents=written).hash() != study().hash()
    assert study(grid=RATES).document() == study(agents=written).document()
    assert study(grid=None).hash() == study(grid={}).hash() == study().hash()


def test_keys_multiply_and_one_for_an_agent_beats_one_for_all():
    planned = study(
        grid={**RATES, "agents.ppo.clip_range": [0.1, 0.2, 0.3], "agents.trpo.learning_rate": [1.0]}
    )
    by_agent = {name: [a for a in planned.agents if a.name == name] for name in ("ppo", "trpo")}
    assert [(a.settings["learning_rate"], a.settings["clip_range"]) for a in by_agent["ppo"]] == [
        (rate, width) for rate in (3e-4, 3e-3) for width in (0.1, 0.2, 0.3)
    ]
    assert labels(planned)[1] == f"ppo ({LOW}, clip_range=0.2)"
    assert [a.label for a in by_agent["trpo"]] == ["trpo (learning_rate=1.0)"]


def test_values_of_every_kind_are_written_as_in_yaml():
    grid = {
        "agents.ppo.net_arch": [[32], [64, 64]],
        "agents.ppo.residual": [True],
        "agents.ppo.activation": ["relu"],
    }
    assert labels(study(grid=grid))[0] == "ppo (net_arch=[32], residual=true, activation=relu)"


def test_a_value_of_the_grid_is_the_agents_own():
    env = {"id": "Pendulum-v1", "agent": {"gamma": 0.98}}
    planned = study(envs=[env], settings={"gamma": 0.95}, grid={"agents.ppo.gamma": [0.5]})
    assert [run.agent.settings["gamma"] for run in planned.runs()] == [0.5, 0.98] * 2


def test_an_agent_in_a_contrast_stands_for_its_arms_at_the_same_place_of_the_grid():
    planned = study(grid=RATES, contrasts={"bound": [["ppo", "trpo"]]})
    assert planned.contrasts["bound"] == (
        (f"ppo ({LOW})", f"trpo ({LOW})"),
        (f"ppo ({HIGH})", f"trpo ({HIGH})"),
    )
    planned = study(
        grid={**RATES, "agents.ppo.clip_range": [0.1, 0.2]}, contrasts={"bound": [["ppo", "trpo"]]}
    )
    assert [pair[1] for pair in planned.contrasts["bound"]] == [f"trpo ({LOW})"] * 2 + [f"trpo ({HIGH})"] * 2
    step = [[f"ppo ({LOW})", f"ppo ({HIGH})"]]
    assert study(grid=RATES, contrasts={"step": step}).contrasts["step"] == (tuple(step[0]),)
    against = study(grid={"agents.ppo.clip_range": [0.1, 0.2]}, contrasts={"A": [["ppo", "trpo"]]}).contrasts[
        "A"
    ]
    assert against == (("ppo (clip_range=0.1)", "trpo"), ("ppo (clip_range=0.2)", "trpo"))


def test_a_task_goes_without_all_arms_of_an_agent_or_without_one():
    env = {"id": "Pendulum-v1", "without": ["trpo", f"ppo ({LOW})"]}
    planned = study(envs=[env, "CartPole-v1"], grid=RATES)
    assert {run.agent.label for run in planned.runs() if run.env.id == "Pendulum-v1"} == {f"ppo ({HIGH})"}
    assert planned.size()["runs"] == 2 * (1 + 4)


MISTAKES = [
    ({"grid": [1]}, "grid must be a mapping from settings to lists of values; write for example `{settings.lea"),
    ({"grid": False}, "grid must be a mapping"),
    ({"grid": {"learning_rate": [1]}}, "grid.learning_rate is neither settings.NAME nor agents.LABEL.NAME; write"),
    ({"grid": {"settings": {"gamma": [1]}}}, "grid.settings is neither settings.NAME"),
    ({"grid": {"agents.ppo": [1]}}, "grid.agents.ppo is neither"),
    ({"grid": {3: [1]}}, "grid.3 is neither"),
    ({"grid": {"settings.a.b": [1]}}, "grid.settings.a.b is neither"),
    ({"grid": {"agents.pppo.gamma": [1]}}, "grid.agents.pppo.gamma: pppo is no agent of this study. Did you mean ppo"),
    ({"grid": {"settings.gama": [1]}}, "grid.settings.gama is not a setting of ppo. Did you mean gamma?"),
    ({"grid": {"settings.clip_range": [0.1]}}, "grid.settings.clip_range is not a setting of trpo."),
    ({"grid": {"settings.gamma": [0.9, 2]}}, "grid.settings.gamma must be less than or equal to 1, got 2"),
    ({"grid": {"settings.gamma": ["x"]}}, "grid.settings.gamma must be a number, got 'x'"),
    ({"grid": {"settings.gamma": [float("nan")]}}, "grid.settings.gamma must be a"),
    ({"grid": {"settings.gamma": 0.9}}, "grid.settings.gamma must be a list of values, for example [3e-4, 3e-3], got"),
    ({"grid": {"settings.gamma": []}}, "grid.settings.gamma must be a list of values"),
    ({"grid": {"settings.gamma": None}}, "grid.settings.gamma must be a list of values"),
    ({"grid": {"settings.gamma": [1, 1.0]}}, "grid.settings.gamma has 1.0 twice; keep one"),
    ({"grid": RATES, "agents": [{"name": "ppo", "learning_rate": 1.0}]},
     "grid.settings.learning_rate: ppo has a learning_rate of its own; take it out there, or write agents.ppo.lear"),
    ({"grid": {f"settings.{name}": [n / 100 for n in range(1, 100)] for name in
               ("gamma", "gae_lambda", "learning_rate", "vf_coef", "max_grad_norm")}},
     "grid makes 9,509,900,499 arms of ppo; 10,000 are the most that are allowed"),
    ({"grid": {"agents.ppo.gamma": [0.5]}, "agents": ["ppo", {"name": "ppo", "label": "ppo (gamma=0.5)"}]},
     "grid: ppo (gamma=0.5) stands there twice"),
    ({"grid": RATES, "contrasts": {"A": [["ppo", "spo"]]}}, "contrasts.A[0]: spo is no agent of this study"),
    ({"grid": {"agents.ppo.gamma": [0.5]}, "contrasts": {"A": [["ppo", "ppo (gamma=0.5)"]]}},
     "contrasts.A[0]: the grid gives ppo and ppo (gamma=0.5) no arms to be compared"),
    ({"grid": RATES, "envs": [{"id": "Pendulum-v1", "without": ["ppo", f"ppo ({LOW})"]}]},
     f"envs[0].without[1]: ppo ({LOW}) stands there twice; keep one"),
    ({"grid": RATES, "envs": [{"id": "Pendulum-v1", "without": ["ppo", "trpo"]}]},
     "envs[0].without leaves no agent in this task"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert str(caught.value).startswith(f"configs/test.yaml: {sentence}"), str(caught.value)
    assert "\n" not in str(caught.value)
