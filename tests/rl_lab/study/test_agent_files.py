"""An agent's settings in a file of their own: where it is looked for, what may override it, what it must hold."""

from pathlib import Path

import pytest

from rl_lab.errors import UserError
from rl_lab.study.agents import read_agent, read_agent_file
from rl_lab.study.config import read_study
from rl_lab.study.settings import fields_of

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
    path = folder / "agents" / "tight.yaml"
    assert read_agent(str(path)).settings == {"clip_range": 0.1, "gamma": 0.9}
    assert read_agent("ppo").settings == {}
    with pytest.raises(UserError, match=r"^there is no agent pppo\. Did you mean ppo\?"):
        read_agent("pppo")
    with pytest.raises(UserError, match=rf"^{path}x: cannot be read"):
        read_agent({"config": f"{path}x"})


def test_a_file_may_be_called_yaml_in_capitals(folder):
    (folder / "agents" / "LOUD.YAML").write_text(TIGHT)
    assert only(study(folder, "agents/LOUD.YAML")).label == "LOUD"


def test_a_file_without_its_ending_is_told_from_an_agent(folder):
    (folder / "tight").write_text(TIGHT)
    for name in ("tight", "agents/tight"):
        with pytest.raises(UserError) as caught:
            study(folder, name)
        assert str(caught.value) == (
            f"{folder / 'study.yaml'}: agents[0]: {name} is not an agent; "
            f"a file of settings ends in .yaml, or is written `{{config: {name}}}`"
        )
    assert only(study(folder, {"config": "tight"})).label == "tight"
    (folder / "ppo").write_text("")
    assert only(study(folder, "ppo")).source is None, "the name of an agent is never a file"
    with pytest.raises(UserError, match=r"there is no agent x+\."):
        study(folder, "x" * 300)


def test_source_and_file_are_in_the_manifest_and_not_in_the_hash(folder):
    (run,) = study(folder, {"config": "agents/tight.yaml", "gamma": 0.5}).runs()
    described = run.described()["agent"]
    assert (described["source"], described["file"]) == ("a paper", "tight.yaml")
    assert described["settings"]["gamma"] == 0.5
    before = study(folder, "agents/tight.yaml")
    path = folder / "agents" / "tight.yaml"
    path.write_text(TIGHT.replace("a paper", "another paper"))
    after = study(folder, "agents/tight.yaml")
    assert after.runs()[0].agent.source == "another paper"
    assert (after.hash(), after.document()) == (before.hash(), before.document())
    assert study(folder, "ppo").runs()[0].described()["agent"]["source"] is None


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
    f"agent: ppo\n{SOURCE}settings: false\n": "settings must be a mapping of settings, got False",
    f"agent: ppo\n{SOURCE}label: 3\n": "label must be a word, got 3",
    "- ppo\n": "must be a mapping with the keys agent, source and settings",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_sentence_that_names_the_place_in_the_study_and_the_file(folder, text):
    path = folder / "agents" / "tight.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        study(folder, "agents/tight.yaml")
    place = f"{folder / 'study.yaml'}: agents[0]"
    assert str(caught.value).startswith(f"{place}: {path}: {MISTAKES[text]}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_stands_in_the_study_is_said_with_its_place_there(folder):
    place = f"{folder / 'study.yaml'}: agents[0]"
    for entry, sentence in [
        ({"config": "agents/tight.yaml", "clip_rnage": 1}, f"{place}.clip_rnage is not a setting of ppo."),
        ({"config": "agents/tight.yaml", "name": "ppo"}, f"{place} has both name and config"),
        ({"clip_range": 1}, f"{place}: name is missing"),
        ("agents/none.yaml", f"{place}: {folder / 'agents' / 'none.yaml'}: cannot be read"),
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
        assert (settings["normalize_advantage"], settings["activation"]) == (True, "tanh")
    for trpo in (runs["trpo"], runs["trpo-plus"]):
        assert (trpo["max_kl"], trpo["cg_iterations"], trpo["cg_damping"]) == (0.01, 10, 0.1)
        assert trpo["line_search_trials"] == 10
    options = {
        "clip_range_vf": (0.2, None), "normalize_reward": (True, False), "init": ("orthogonal", "xavier"),
        "normalize_observation": (True, False), "anneal_learning_rate": (True, False),
        "policy_gain": (0.01, 1.0), "max_grad_norm": (0.5, 1e9),
    }  # fmt: skip
    for on, off in [("ppo", "ppo-m"), ("ppo-noclip", "ppo-noclip-m"), ("trpo-plus", "trpo")]:
        differ = {n: (runs[on][n], runs[off][n]) for n in runs[on] if runs[on][n] != runs[off][n]}
        assert differ == options


@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_what_the_zoo_does_not_name_is_the_default_of_sb3_contrib(task):
    """Its value function descends its mean squared error itself, with gradients as long as they are."""
    ours = only(study(CONFIGS, f"agents/trpo-zoo-{task}.yaml")).settings
    stock = {name: setting.default for name, setting in fields_of("trpo-sb3").items()}
    assert (ours["vf_coef"], ours["max_grad_norm"]) == (1.0, 1e9)
    for our_name, their_name in [
        ("max_kl", "target_kl"), ("line_search_shrink", "line_search_shrinking_factor"),
        ("line_search_trials", "line_search_max_iter"), ("cg_iterations", "cg_max_steps"),
        ("learning_rate", "learning_rate"), ("normalize_advantage", "normalize_advantage"),
    ]:  # fmt: skip
        assert ours[our_name] == stock[their_name], our_name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("agents/*-zoo-*.yaml")), ids=lambda path: path.stem)
def test_a_file_of_settings_changes_more_than_the_number_of_environments(path):
    agent = read_agent_file(path)
    defaults = {name: setting.default for name, setting in fields_of(agent.name).items()}
    assert {name for name in agent.settings if agent.settings[name] != defaults[name]} - {"n_envs"}
