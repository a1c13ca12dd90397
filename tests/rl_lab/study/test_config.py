"""Every mistake in a study's YAML gets one sentence that names the place, the value and what is allowed."""

from datetime import date

import pytest

from rl_lab.errors import UserError
from rl_lab.study.config import read_study
from rl_lab.study.yaml import read_mapping, read_setting

GOOD = {"envs": ["chaos/Lorenz-v0"], "agents": ["ppo", "trpo"], "seeds": 3, "steps": 30000}


def study(**changes):
    return read_study({**GOOD, **changes}, "test", "configs/test.yaml")


def test_four_keys_make_a_study():
    planned = study()
    assert planned.seeds == (0, 1, 2)
    runs = planned.runs()
    assert len(runs) == 6
    assert {run.steps for run in runs} == {30000}
    assert [run.run_id for run in runs[:2]] == ["chaos-Lorenz-v0-ppo-s0", "chaos-Lorenz-v0-trpo-s0"]
    assert runs[0].agent.settings["clip_range"] == 0.2, (
        "defaults are resolved, so the record does not depend on them"
    )


def test_settings_compose_from_general_to_special():
    planned = study(
        settings={"gamma": 0.9, "n_steps": 100},
        envs=[{"id": "Pendulum-v1", "g": 9.81, "steps": 500, "agent": {"gamma": 0.95}}, "chaos/Lorenz-v0"],
        agents=["ppo", {"name": "ppo", "label": "tight", "clip_range": 0.1, "gamma": 0.99}],
    )
    by_id = {run.run_id: run for run in planned.runs() if run.seed == 0}
    assert by_id["Pendulum-v1-ppo-s0"].agent.settings["gamma"] == 0.95
    assert by_id["Pendulum-v1-tight-s0"].agent.settings["gamma"] == 0.99
    assert by_id["chaos-Lorenz-v0-ppo-s0"].agent.settings["gamma"] == 0.9
    assert {run.agent.settings["n_steps"] for run in planned.runs()} == {100}
    assert (by_id["Pendulum-v1-ppo-s0"].steps, by_id["chaos-Lorenz-v0-ppo-s0"].steps) == (500, 30000)
    assert by_id["Pendulum-v1-ppo-s0"].env.settings == {"g": 9.81}


def test_the_hash_changes_with_what_runs_and_with_nothing_else():
    assert study().hash() == study(agents=[{"name": "ppo"}, "trpo"], seeds=[0, 1, 2]).hash()
    assert study().hash() == study(agents=[{"name": "ppo", "clip_range": 0.2}, "trpo"]).hash()
    different = [
        study(steps=30001),
        study(seeds=2),
        study(agents=["ppo"]),
        study(settings={"gamma": 0.9}),
        study(envs=[{"id": "chaos/Lorenz-v0", "rho": 20}]),
    ]
    assert len({made.hash() for made in [study(), *different]}) == 6


MISTAKES = {
    "agents[1].clip_rnage is not a setting of ppo. Did you mean clip_range? (ppo has: clip_range,": {
        "agents": ["trpo", {"name": "ppo", "clip_rnage": 0.1}]
    },
    "agents[0]: there is no agent pppo. Did you mean ppo?": {"agents": ["pppo"]},
    "agents[0].clip_range must be greater than 0, got -0.2": {
        "agents": [{"name": "ppo", "clip_range": -0.2}]
    },
    "agents[0].clip_range must be a number, got 'wide'": {"agents": [{"name": "ppo", "clip_range": "wide"}]},
    "agents[0].n_epochs must be a whole number, got 2.5": {"agents": [{"name": "ppo", "n_epochs": 2.5}]},
    "agents[0].n_epochs must be a whole number, got True": {"agents": [{"name": "ppo", "n_epochs": True}]},
    "agents[0].gamma must be less than or equal to 1, got 2": {"agents": [{"name": "ppo", "gamma": 2}]},
    "agents[0].learning_rate must be a finite number": {
        "agents": [{"name": "ppo", "learning_rate": float("inf")}]
    },
    "agents[0]: name is missing": {"agents": [{"clip_range": 0.2}]},
    "agents: ppo stands there twice; give one of them another `label`": {"agents": ["ppo", "ppo"]},
    "agents must be a list": {"agents": "ppo"},
    "settings.clip_range is not a setting of trpo.": {"settings": {"clip_range": 0.2}},
    "settings must be a mapping of settings": {"settings": [1]},
    "settings must be a mapping of settings, got 0": {"settings": 0},
    "settings must be a mapping of settings, got False": {"settings": False},
    "envs[0].agent must be a mapping of settings, got False": {
        "envs": [{"id": "Pendulum-v1", "agent": False}]
    },
    "agents[0].normalize_reward must be true or false, got 1": {
        "agents": [{"name": "ppo", "normalize_reward": 1}]
    },
    "envs[0].steps must be a whole number greater than 0, got 0": {
        "envs": [{"id": "Pendulum-v1", "steps": 0}]
    },
    "envs[0].agent.gama is not a setting of ppo. Did you mean gamma?": {
        "envs": [{"id": "Pendulum-v1", "agent": {"gama": 0.9}}]
    },
    "envs[0]: id is missing": {"envs": [{"rho": 20}]},
    "envs: Pendulum-v1 stands there twice": {"envs": ["Pendulum-v1", {"id": "Pendulum-v1", "g": 1.0}]},
    "seed is not a key of a study. Did you mean seeds? (a study has: envs, agents, seeds, steps,": {
        "seed": 3
    },
    "seeds must be a whole number greater than 0, or a list of whole numbers, got 'three'": {
        "seeds": "three"
    },
    "seeds has a number twice": {"seeds": [1, 1]},
    "seeds must be a whole number greater than 0, or a list of whole numbers, got 0": {"seeds": 0},
    "steps must be a whole number, got '30k'": {"steps": "30k"},
    "steps must be greater than 0, got -5": {"steps": -5},
    "steps is missing": {"steps": None},
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_mistake_is_one_sentence(sentence):
    with pytest.raises(UserError) as caught:
        study(**MISTAKES[sentence])
    assert str(caught.value).startswith(f"configs/test.yaml: {sentence}"), str(caught.value)
    assert "\n" not in str(caught.value)


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_numbers_are_read_as_people_write_them(tmp_path):
    content = read_mapping(write(tmp_path, "a: 1e-3\nb: 3E4\nc: .5e1\nd: 1_000\ne: 1e\nf: 0x10\n"))
    assert content == {"a": 0.001, "b": 30000.0, "c": 5.0, "d": 1000, "e": "1e", "f": 16}
    assert read_setting("learning_rate=1e-3") == ("learning_rate", 0.001)
    assert read_setting("net_arch=[32, 32]") == ("net_arch", [32, 32])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("envs: [a\nsteps: 3", "line 2: is not valid YAML"),
        ("- a\n- b", "must be a mapping with the keys"),
        ("", "must be a mapping with the keys"),
        ("steps: 1\nsteps: 2", "the key steps stands twice"),
        ("a: !!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_a_broken_file_is_said_with_its_place(tmp_path, text, sentence):
    with pytest.raises(UserError, match=r"study\.yaml") as caught:
        read_mapping(write(tmp_path, text))
    assert sentence in str(caught.value)


def test_binary_and_missing_files_are_said(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        read_mapping(tmp_path / "x.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_mapping(tmp_path / "y.yaml")


@pytest.mark.parametrize("text", ["clip_range", "=3", "a=[1"])
def test_set_without_a_value_is_said(text):
    with pytest.raises(UserError, match=r"--set"):
        read_setting(text)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"agents": [{"name": "ppo", "label": "a/b"}, {"name": "ppo", "label": "a-b"}]}, "both be called"),
        ({"agents": [{"name": "ppo", "label": "x" * 300}]}, "is too long; give a shorter `label`"),
        ({"envs": [{"id": "Pendulum-v1", "label": ""}]}, "envs[0].label must be a word, got ''"),
        ({"agents": [{"name": "ppo", "label": " "}]}, "agents[0].label must be a word, got ' '"),
        ({"agents": [{"name": "ppo", "label": "a\nb"}]}, r"agents[0].label must be a word, got 'a\nb'"),
        ({"envs": [{"id": "Pendulum-v1", "since": date(2020, 1, 1)}]}, "envs[0].since must be made"),
        ({"envs": [{"id": "Pendulum-v1", "table": {1: "a"}}]}, "envs[0].table must be made"),
    ],
)  # fmt: skip
def test_names_and_settings_that_cannot_be_stored_are_refused(changes, sentence):
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert sentence in str(caught.value)


def test_yaml_merge_keys_work(tmp_path):
    text = "base: &b {x: 1}\nmore:\n  <<: *b\n  y: 2\n"
    assert read_mapping(write(tmp_path, text))["more"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("value", ["2024-99-99", "9" * 5000])
def test_values_that_python_cannot_hold_are_said(value):
    with pytest.raises(UserError, match="cannot be read"):
        read_setting(f"n_steps={value}")
