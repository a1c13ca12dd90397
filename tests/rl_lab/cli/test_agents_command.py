"""`rl-lab agents`, and training with the guests, as a user does both."""

import json

import gymnasium as gym
import pytest

import agents
from rl_lab.cli.agent_card import print_agent_card
from rl_lab.monitor.record.run_directory import read_run


def test_the_list_says_who_acts_where(say):
    code, out, _ = say("agents", "list", "--json")
    assert code == 0
    listed = {agent["name"]: agent for agent in json.loads(out)}
    assert set(listed) == set(agents.catalogue())
    keys = {"name", "trust_region", "action_spaces", "summary", "source"}
    assert all(set(agent) == keys for agent in listed.values())
    assert listed["ppo"]["action_spaces"] == ["Box", "Discrete", "MultiDiscrete", "MultiBinary"]
    assert (listed["sac"]["action_spaces"], listed["dqn"]["action_spaces"]) == (["Box"], ["Discrete"])
    _, out, _ = say("agents", "list")
    for name in listed:
        assert any(line.split()[0] == name for line in out.splitlines())


@pytest.mark.parametrize("name", sorted(agents.catalogue()))
def test_a_card_holds_everything_within_a_hundred_columns(name, say):
    agent = agents.catalogue()[name]
    code, out, _ = say("agents", "show", name, "--json")
    assert code == 0
    card = json.loads(out)
    assert list(card) == ["name", "summary", "formula", "trust_region", "action_spaces", "source", "settings"]
    assert [setting["name"] for setting in card["settings"]] == list(agent.fields)
    assert all(set(s) == {"name", "default", "allowed", "meaning", "group"} for s in card["settings"])
    _, out, _ = say("agents", "show", name)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    words = " ".join(out.split())
    for text in (agent.summary, agent.formula, agent.trust_region.split()[0], agent.source.split()[0]):
        assert " ".join(text.split()) in words
    table = lines[next(n for n, line in enumerate(lines) if line.endswith("meaning")) :]
    for setting in agent.fields.values():
        (row,) = [line for line in table if line.startswith(f"{setting.name} ")]
        assert setting.allowed.split()[0] in row
    groups = [line for line in lines if line.endswith("meaning")]
    assert [line.split("  ")[0] for line in groups] == list(
        dict.fromkeys(setting.group for setting in agent.fields.values())
    )


def test_a_card_shows_defaults_as_they_are_written_in_a_study(capsys):
    card = {
        "name": "x", "summary": "An agent.", "trust_region": "none", "action_spaces": ["Box"], "source": "Me.",
        "formula": "maximise  A  " + "+ B " * 40 + "\n\nProse that\nflows.",
        "settings": [
            {"name": f"of_{i}", "default": default, "allowed": "y", "meaning": "Long\nwords " * 20, "group": group}
            for i, (default, group) in enumerate(
                [(None, "its own"), (True, "its own"), ((64, 64), "rest"), (1e-5, "rest"), ("tanh", "rest")]
            )
        ],
    }  # fmt: skip
    print_agent_card(card)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "Prose that flows." in lines
    assert max(map(len, lines)) <= 100
    shown = {line.split()[0]: line for line in lines if line.startswith("of_")}
    for name, text in [
        ("of_0", "null"),
        ("of_1", "true"),
        ("of_2", "[64, 64]"),
        ("of_3", "1e-05"),
        ("of_4", "tanh"),
    ]:
        assert text in shown[name]
    assert out.index("its own") < out.index("of_0") < out.index("rest") < out.index("of_2")


OFF = ("learning_starts=100", "batch_size=16", "buffer_size=1000", "net_arch=[8]")
MEMORY = ("n_steps=64", "batch_size=32", "n_epochs=1", "lstm_hidden_size=8", "net_arch=[8]")
GUESTS = {
    "sac": ("Pendulum-v1", OFF),
    "td3": ("Pendulum-v1", (*OFF, "action_noise=0.1")),
    "dqn": ("CartPole-v1", OFF),
    "ppo-lstm": ("Pendulum-v1", MEMORY),
    "ppo-gru": ("CartPole-v1", MEMORY),
}


def settings(words):
    return [word for text in words for word in ("--set", text)]


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_trains_and_its_run_can_be_read(name, say, tmp_path):
    env, chosen = GUESTS[name]
    words = ("train", env, name, "--steps", 256, "--wandb", "off", "--out", tmp_path / "run", "--json")
    code, out, err = say(*words, *settings(chosen))
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    run = read_run(tmp_path / "run")
    assert run.updates[-1]["env_steps"] == 256
    has_rollouts = name.startswith("ppo")
    assert (run.updates[-1]["kl_mean"] is not None) == has_rollouts
    assert run.manifest["agent"]["trust_region"].startswith("none") != has_rollouts


WRONG = {
    ("Pendulum-v1", "sac", "buffer_size=0"): "--set buffer_size must be greater than or equal to 1, got 0",
    ("Pendulum-v1", "sac", "buffer_size=100"): "batch_size is 256, but the buffer keeps 100 transitions",
    ("Pendulum-v1", "sac", "learning_starts=-1"): "--set learning_starts must be greater than or equal to 0",
    ("Pendulum-v1", "sac", "n_steps=128"): "--set n_steps is not a setting of sac",
    ("Pendulum-v1", "sac", "ent_coef=automatic"): "--set ent_coef",
    ("Pendulum-v1", "dqn", "gamma=0.9"): "dqn cannot be used here: it acts in Discrete only",
    ("CartPole-v1", "sac", "gamma=0.9"): "sac cannot be used here: it acts in Box only",
    ("CartPole-v1", "td3", "gamma=0.9"): "td3 cannot be used here: it acts in Box only",
    (
        "CartPole-v1",
        "ppo-gru",
        "lstm_hidden_size=0",
    ): "--set lstm_hidden_size must be greater than or equal to 1",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_settings_that_cannot_be_are_one_sentence(words, say, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env, name, text = words
    code, out, err = say("train", env, name, "--set", text, "--wandb", "off")
    assert (code, out) == (2, "")
    assert WRONG[words] in err
    assert len(err.strip().splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_agent_is_named(say):
    code, out, err = say("agents", "show", "ppo-gruu")
    assert (code, out) == (2, "")
    assert "Did you mean ppo-gru?" in err


class Sours(gym.Wrapper):
    """Pendulum whose reward is NaN from its 500th step on."""

    count = 0

    def __init__(self):
        super().__init__(gym.make("Pendulum-v1", max_episode_steps=20).unwrapped)

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        Sours.count += 1
        return observation, float("nan") if Sours.count > 500 else reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("name", "chosen"), [("sac", OFF), ("td3", OFF), ("ppo", ("n_envs=1", "n_steps=64", "n_epochs=1"))]
)
def test_an_environment_that_pays_nan_is_a_failed_run_with_a_sentence(
    name, chosen, say, tmp_path, monkeypatch
):
    monkeypatch.setattr(Sours, "count", 0)
    monkeypatch.setitem(
        gym.registry, "Sours-v0", gym.envs.registration.EnvSpec("Sours-v0", Sours, max_episode_steps=20)
    )
    words = ("train", "Sours-v0", name, "--steps", 900, "--wandb", "off", "--out", tmp_path / "run", "--json")
    code, out, err = say(*words, *settings(chosen))
    assert code == 3
    assert json.loads(out)["status"] == "failed"
    run = read_run(tmp_path / "run")
    assert run.status == "failed"
    assert "reward returned by environment 0" in run.manifest["reason"]
    assert "reward returned by environment 0" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_a_step_size_that_destroys_a_guest_is_a_diverged_run(name, say, tmp_path):
    env, chosen = GUESTS[name]
    words = ("train", env, name, "--steps", 400, "--wandb", "off", "--out", tmp_path / "run", "--json")
    code, out, _ = say(*words, *settings(chosen), "--set", "learning_rate=1e30")
    assert code == 0, "a diverged run is a result"
    assert json.loads(out)["status"] == "diverged"
    assert json.loads(out)["events"] == {"nonfinite": 1, "performance_collapse": 1}
