"""An agent's settings in a file of their own: where it is looked for, what may override it, what it must hold."""

from pathlib import Path

import pytest

from rl_lab.errors import UserError
from rl_lab.study.agents import read_agent_file, read_arm
from rl_lab.study.config import read_study

SOURCE = "source: a paper\n"
TIGHT = f"agent: ppo\n{SOURCE}settings: {{clip_range: 0.1, gamma: 0.9}}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "tight.yaml").write_text(TIGHT)
    return tmp_path


def study(folder, *agents, **changes):
    content = {"envs": ["Pendulum-v1"], "agents": list(agents), "seeds": 1, "steps": 100}
    return read_study({**content, **changes}, "test", str(folder / "study.yaml"))


def only(planned):
    (run,) = planned.runs()
    return run.agent


def test_a_file_is_an_agent_wherever_one_may_stand(folder):
    for entry in ("agents/tight.yaml", {"config": "agents/tight.yaml"}):
        agent = only(study(folder, entry))
        assert (agent.name, agent.label) == ("ppo", "tight")
        assert (agent.settings["clip_range"], agent.settings["gamma"]) == (0.1, 0.9)
    named = study(folder, {"name": "ppo", "label": "tight", "clip_range": 0.1, "gamma": 0.9})
    assert study(folder, "agents/tight.yaml").hash() == named.hash(), (
        "what runs is stored, not where it was written"
    )


def test_an_entry_overrides_its_file_and_the_file_overrides_the_study(folder):
    entry = {"config": "agents/tight.yaml", "label": "wider", "clip_range": 0.3}
    agent = only(study(folder, entry, settings={"gamma": 0.5, "gae_lambda": 0.5}))
    assert agent.label == "wider"
    assert {n: agent.settings[n] for n in ("clip_range", "gamma", "gae_lambda", "n_epochs")} == {
        "clip_range": 0.3, "gamma": 0.9, "gae_lambda": 0.5, "n_epochs": 10,
    }  # fmt: skip


def test_the_command_line_takes_a_file_by_its_path(folder):
    assert read_arm(str(folder / "agents" / "tight.yaml")).settings == {"clip_range": 0.1, "gamma": 0.9}
    assert read_arm("ppo").settings == {}
    with pytest.raises(UserError, match=r"there is no agent pppo\. Did you mean ppo\?"):
        read_arm("pppo")


def test_a_label_in_the_file_names_the_arm(folder):
    path = folder / "agents" / "tight.yaml"
    path.write_text(TIGHT + "label: clip 0.1\n")
    assert read_agent_file(path).label == "clip 0.1"


MISTAKES = {
    "agent: ppo\nsorce: a paper\n": "sorce is not a key of a file of settings. Did you mean source?",
    "agent: ppo\n": "source must be one line that says whose values these are, got None",
    "agent: ppo\nsource: ' '\n": "source must be one line",
    "agent: ppo\nsource: |\n  two\n  lines\n": "source must be one line",
    SOURCE: "agent is missing; it is a name that `rl-lab agents list` shows",
    f"agent: pppo\n{SOURCE}": "agent: there is no agent pppo. Did you mean ppo?",
    f"agent: ppo\n{SOURCE}settings: {{clip_rnage: 1}}\n": "settings.clip_rnage is not a setting of ppo. Did you",
    f"agent: ppo\n{SOURCE}settings: {{clip_range: -1}}\n": "settings.clip_range must be greater than 0, got -1",
    f"agent: ppo\n{SOURCE}settings: [1]\n": "settings must be a mapping of settings, got [1]",
    f"agent: ppo\n{SOURCE}label: 3\n": "label must be a word, got 3",
    "- ppo\n": "must be a mapping with the keys agent, source and settings",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_sentence_that_names_the_file(folder, text):
    path = folder / "agents" / "tight.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        study(folder, "agents/tight.yaml")
    assert str(caught.value).startswith(f"{path}: {MISTAKES[text]}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_stands_in_the_study_is_said_with_its_place_there(folder):
    place = f"{folder / 'study.yaml'}: agents[0]"
    for entry, sentence in [
        ({"config": "agents/tight.yaml", "clip_rnage": 1}, f"{place}.clip_rnage is not a setting of ppo."),
        ({"config": "agents/tight.yaml", "name": "ppo"}, f"{place} has both name and config"),
        ({"clip_range": 1}, f"{place}: name is missing"),
        ("agents/none.yaml", f"{folder / 'agents' / 'none.yaml'}: cannot be read"),
    ]:
        with pytest.raises(UserError) as caught:
            study(folder, entry)
        assert str(caught.value).startswith(sentence), str(caught.value)


CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("agents/*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_settings_here_is_one(path):
    assert read_agent_file(path).label == path.stem


def test_what_the_engstrom_files_leave_to_the_defaults_is_what_the_source_has():
    """2048 steps an update in 32 minibatches, and the six arms differ in step and options alone."""
    arms = [f"agents/{n}.yaml" for n in ("ppo", "ppo-m", "ppo-noclip", "ppo-noclip-m", "trpo", "trpo-plus")]
    runs = {run.agent.label: run.agent.settings for run in study(CONFIGS, *arms).runs()}
    for settings in runs.values():
        assert settings["n_envs"] * settings["n_steps"] == 2048 == 32 * settings["batch_size"]
        assert (settings["n_epochs"], settings["gamma"], settings["gae_lambda"]) == (10, 0.99, 0.95)
        assert settings["learning_rate"] == 3e-4
    for trpo in (runs["trpo"], runs["trpo-plus"]):
        assert (trpo["max_kl"], trpo["cg_iterations"], trpo["cg_damping"]) == (0.01, 10, 0.1)
        assert trpo["line_search_trials"] == 10
    options = {
        "normalize_advantage", "clip_range_vf", "normalize_reward", "normalize_observation",
        "anneal_learning_rate", "init", "policy_gain",
    }  # fmt: skip
    for on, off in [("ppo", "ppo-m"), ("ppo-noclip", "ppo-noclip-m"), ("trpo-plus", "trpo")]:
        assert {name for name in runs[on] if runs[on][name] != runs[off][name]} == options
        assert {n: runs[on][n] for n in options} == {n: runs["ppo"][n] for n in options}
        assert {n: runs[off][n] for n in options} == {n: runs["ppo-m"][n] for n in options}
