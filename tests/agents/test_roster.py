"""Names, settings, refusals; and what happens when a file is dropped into agents/rules/."""

import inspect
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from pydantic import TypeAdapter
from tiny_tasks import GuessVector

import agents
from agents import rules
from agents.stock import STOCK
from agents.vec import VectorEnvAdapter

NAMES = {"ppo", "ppo-noclip", "trpo", "a2c", "ppo-sb3", "a2c-sb3", "trpo-sb3"}
"""Agents that act in every kind of space; those that do not have tests of their own in test_guests.py."""

SPO = '''"""SPO: a quadratic fence around ratio 1 instead of PPO's flat roof."""

from dataclasses import dataclass

from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class SPO(FirstOrderRule):
    """maximise  ratio A - |A| / (2 width) (ratio - 1)^2,  best at ratio = 1 + width sign(A).

    Source: Xie et al., Simple Policy Optimization (arXiv:2401.16025).
    """

    width: float = 0.2
    """Distance from ratio 1 at which a sample is best off."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        return ratio * advantage - advantage.abs() / (2 * self.width) * (ratio - 1) ** 2
'''


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a file beside the rules; gone after the test."""
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    loaded = set(sys.modules)

    def put(text: str, name: str = "dropped.py") -> None:
        (tmp_path / name).write_text(text)

    yield put
    for name in set(sys.modules) - loaded:
        if name.startswith("agents.rules."):
            del sys.modules[name]


def test_a_rule_in_one_file_is_found_listed_and_trained(drop):
    drop(SPO, "quadratic_fence.py")
    agent = agents.catalogue()["quadratic-fence"]
    assert agent.summary == "SPO: a quadratic fence around ratio 1 instead of PPO's flat roof."
    assert agent.formula.startswith("maximise  ratio A")
    assert agent.source == "Xie et al., Simple Policy Optimization (arXiv:2401.16025)."
    assert agent.trust_region == "its objective alone"
    assert next(iter(agent.fields)) == "width"
    assert agent.fields["width"].doc == "Distance from ratio 1 at which a sample is best off."
    envs = VectorEnvAdapter(GuessVector(2))
    algorithm = agents.make("quadratic-fence", envs, 0, {"width": 0.3, "n_steps": 32})
    assert algorithm.learn(64).outcome is agents.Outcome.ACCEPTED
    assert algorithm.rule.width == 0.3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.replace("width: float = 0.2", "width: float"), "non-default|no default"),
        (lambda s: s.replace('    """Distance', '    # """Distance'), "SPO.width has no docstring under it"),
        (lambda s: s.replace("def objective", "def objektive"), "does not define objective"),
        (lambda s: s.replace("advantage: Tensor, kl", "kl: Tensor, advantage"), "objective takes"),
        (lambda s: s.replace("    Source:", "    From:"), "needs a docstring"),
        (lambda s: s.replace("@dataclass(frozen=True, kw_only=True)\n", ""), "must be decorated with"),
        (lambda s: s.replace("(FirstOrderRule)", ""), "one subclass of Rule, found 0"),
        (lambda s: s + s[s.index("@data") :].replace("SPO(", "Two("), "one subclass of Rule, found 2"),
        (lambda s: s.replace("width", "gamma"), "SPO.gamma is a setting of the host"),
        (lambda s: s[s.index("from dataclasses") :], "no module docstring"),
        (lambda s: s + "\nraise OSError('disk on fire')\n", "OSError: disk on fire"),
        (lambda s: s + "\ndef broken(:\n", "SyntaxError"),
    ],
    ids=[
        "no default",
        "no doc",
        "no objective",
        "signature",
        "no source",
        "no dataclass",
        "no rule",
        "two rules",
        "name taken",
        "no summary",
        "error",
        "syntax",
    ],
)
def test_a_file_that_is_no_rule_is_named_with_its_fault(drop, change, complaint):
    drop(change(SPO), "broken_fence.py")
    with pytest.raises(agents.BrokenRuleError, match=complaint) as caught:
        agents.catalogue()
    assert str(caught.value).startswith("agents/rules/broken_fence.py breaks the contract of a rule: ")
    assert "\n" not in str(caught.value)


def test_a_rule_may_not_take_the_name_of_a_stock_algorithm(drop):
    drop(SPO, "ppo_sb3.py")
    with pytest.raises(agents.BrokenRuleError, match="ppo-sb3"):
        agents.catalogue()


def test_files_that_begin_with_an_underscore_are_left_alone(drop):
    drop("raise RuntimeError", "_notes.py")
    assert set(agents.catalogue()) >= NAMES


def test_everyone_is_here_and_says_who_they_are():
    found = agents.catalogue()
    assert set(found) >= NAMES
    for name, agent in found.items():
        assert agent.name == name
        for text in (agent.trust_region, agent.summary, agent.source, agent.formula):
            assert text.strip(), name
            assert text == text.strip()
        assert "\n" not in agent.summary
        for setting in agent.fields.values():
            assert setting.doc[-1] in ".:", setting


def test_defaults_keep_their_own_types_and_bounds():
    for agent in agents.catalogue().values():
        for setting in agent.fields.values():
            TypeAdapter(setting.annotation).validate_python(setting.default, strict=True)


def test_every_range_reads_as_words():
    for agent in agents.catalogue().values():
        for setting in agent.fields.values():
            assert not set(setting.allowed) & set("[]|()'"), f"{agent.name}.{setting.name}: {setting.allowed}"


def test_settings_are_grouped_and_what_is_the_rules_own_comes_first():
    fields = agents.catalogue()["trpo"].fields
    assert list(dict.fromkeys(setting.group for setting in fields.values())) == [
        "its own",
        "equal terms of every rule",
        "data and networks",
        "stabilisers",
    ]
    groups = {name: setting.group for name, setting in fields.items()}
    assert groups["max_kl"] == groups["cg_iterations"] == "its own"
    assert groups["learning_rate"] == groups["ent_coef"] == "equal terms of every rule"
    assert groups["n_steps"] == groups["net_arch"] == groups["gamma"] == "data and networks"
    assert groups["anneal_learning_rate"] == "stabilisers"
    for agent in agents.catalogue().values():
        told = [setting.group for setting in agent.fields.values()]
        assert told == sorted(told, key=told.index), f"{agent.name}: a group is torn apart"
    stock = {name: setting.group for name, setting in agents.catalogue()["sac"].fields.items()}
    assert (stock["tau"], stock["gamma"], stock["buffer_size"]) == (
        "its own",
        "data and networks",
        "data and networks",
    )


@pytest.mark.parametrize("name", STOCK)
def test_stock_settings_have_sb3s_names_and_defaults(name):
    algorithm = STOCK[name].algorithm
    signature = dict(inspect.signature(algorithm).parameters)
    if "lstm_hidden_size" in STOCK[name].of_policy:
        signature |= inspect.signature(algorithm.policy_aliases["MlpLstmPolicy"]).parameters
    for setting in agents.catalogue()[name].fields.values():
        if setting.name not in ("n_envs", "net_arch", "device"):
            assert setting.default == signature[setting.name].default, setting.name


def test_a2c_has_its_papers_short_rollouts_and_no_epochs():
    fields = agents.catalogue()["a2c"].fields
    assert (fields["n_steps"].default, fields["gae_lambda"].default) == (5, 1.0)
    assert "n_epochs" not in fields
    assert "batch_size" not in fields
    assert agents.catalogue()["ppo"].fields["n_steps"].default == 256
    envs = VectorEnvAdapter(GuessVector(2))
    assert agents.make("a2c", envs, 0, {}).n_steps == 5
    assert agents.make("a2c", envs, 0, {"n_steps": 7}).n_steps == 7


def test_mistakes_are_told_with_the_nearest_name():
    envs = VectorEnvAdapter(GuessVector(2))
    with pytest.raises(ValueError, match=r"pppo is not an agent\. Did you mean ppo\?"):
        agents.make("pppo", envs, 0, {})
    with pytest.raises(TypeError, match=r"clip_rnage is not a setting of ppo\. Did you mean clip_range\?"):
        agents.make("ppo", envs, 0, {"clip_rnage": 0.1})
    with pytest.raises(ValueError, match="n_envs is 3, found 2 environments"):
        agents.make("ppo", envs, 0, {"n_envs": 3})


BOX = spaces.Box(-1.0, 1.0, (2,))
UNUSABLE_ACTIONS = {
    "unbounded": (spaces.Box(-np.inf, np.inf, (2,)), "finite bounds"),
    "half bounded": (spaces.Box(np.array([-1.0, -np.inf]), np.array([1.0, 1.0])), "finite bounds"),
    "integers": (spaces.Box(0, 255, (2,), np.uint8), "Box of uint8"),
    "dict": (spaces.Dict({"a": BOX}), "the action space is Dict"),
    "tuple": (spaces.Tuple((BOX, BOX)), "the action space is Tuple"),
    "text": (spaces.Text(3), "the action space is Text"),
    "from one": (spaces.Discrete(3, start=1), "counts from 0"),
    "square": (spaces.MultiDiscrete(np.full((2, 2), 3)), "flat MultiDiscrete"),
    "coins in a square": (spaces.MultiBinary([2, 2]), "flat MultiBinary"),
}
UNUSABLE_OBSERVATIONS = {
    "tuple": (spaces.Tuple((BOX, BOX)), "the observation space is Tuple"),
    "graph": (spaces.Graph(BOX, BOX), "the observation space is Graph"),
    "nested": (spaces.Dict({"a": spaces.Dict({"b": BOX})}), "in observation 'a' it sees"),
    "empty": (spaces.Dict({}), "empty Dict"),
    "from one": (spaces.Dict({"a": spaces.Discrete(3, start=1)}), "counts from 0"),
}


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("kind", UNUSABLE_ACTIONS)
def test_actions_nobody_can_take_are_refused_in_one_sentence(name, kind):
    space, reason = UNUSABLE_ACTIONS[kind]
    sentence = agents.refusal(name, space, BOX)
    assert sentence is not None
    assert reason in sentence
    assert sentence.startswith(f"{name} cannot be used here: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("kind", UNUSABLE_OBSERVATIONS)
def test_observations_nobody_can_read_are_refused_in_one_sentence(kind):
    space, reason = UNUSABLE_OBSERVATIONS[kind]
    sentence = agents.refusal("ppo", BOX, space)
    assert sentence is not None
    assert reason in sentence
    assert "\n" not in sentence


def test_what_is_refused_is_refused_by_make_too():
    class Unbounded(GuessVector):
        def __init__(self) -> None:
            super().__init__(2)
            self.single_action_space = spaces.Box(-np.inf, np.inf, (1,))

    with pytest.raises(ValueError, match="needs finite bounds"):
        agents.make("trpo", VectorEnvAdapter(Unbounded()), 0, {})


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCarContinuous-v0"])
def test_the_classic_tasks_are_not_refused(env_id):
    env = gym.make(env_id)
    for name in NAMES:
        assert agents.refusal(name, env.action_space, env.observation_space) is None
