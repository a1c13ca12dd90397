"""What every rule in agents/rules/ must do, present and future."""

import dataclasses
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from small_policies import (
    ACTION_SPACES,
    bits,
    copy_of,
    make_batch,
    make_learner,
    mean_kl,
    optimizer_bits,
    rng,
)
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_tasks import Guess
from torch import Tensor

from agents.batch import Batch
from agents.discovery import find_rules
from agents.host import HostSettings, RuleAlgorithm, host
from agents.learner import Learner
from agents.rule import FirstOrderRule, Outcome, Rule, recalled_by

RULES = {name: found.rule for name, found in find_rules().items()}
FIRST_ORDER = {name: rule for name, rule in RULES.items() if issubclass(rule, FirstOrderRule)}


def kinds_of(rule: type[Rule]) -> list[str]:
    """The kinds of actions that this rule is for."""
    return [kind for kind, space in ACTION_SPACES.items() if isinstance(space, rule.action_spaces)]


CASES = [
    pytest.param(rule, kind, id=f"{name}-{kind}") for name, rule in RULES.items() for kind in kinds_of(rule)
]

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_first_order_rule = pytest.mark.parametrize("rule", FIRST_ORDER.values(), ids=FIRST_ORDER)
# Continuous actions and one kind of choices: what holds for both holds for several choices at once.
two_cases = pytest.mark.parametrize(
    ("rule", "kind"), [case for case in CASES if case.values[1] in kinds_of(case.values[0])[:2]]
)


def hasty(rule: type[Rule], **settings: object) -> Rule:
    """The rule with few passes over a batch, for questions to which their number makes no difference."""
    may_choose = {field.name for field in dataclasses.fields(rule) if field.init}
    return rule(**({"n_epochs": 2} if "n_epochs" in may_choose else {}), **settings)


def learner_of(rule: Rule, kind: str | None = None) -> Learner:
    return make_learner(rule, ACTION_SPACES[kind or kinds_of(type(rule))[0]])


def memory_bits(learner: Learner) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in learner.memory.items()}


def everything(learner: Learner) -> tuple[object, ...]:
    """All that an update changes: policy, optimizer and memory, to the bit."""
    return bits(learner), optimizer_bits(learner), memory_bits(learner)


@dataclass(frozen=True)
class Course:
    """Five quick updates on one batch: high learning rate, so that what bounds the step has work to do."""

    outcomes: tuple[Outcome, ...]
    surrogate: tuple[float, float]
    """Before and after."""
    value_loss: tuple[float, float]
    batch: Batch
    untouched: Batch
    """A copy of the batch from before."""
    memory: dict[str, Tensor]
    after_one: tuple[object, ...]
    """Everything after the first of the updates."""


def surrogate(learner: Learner, batch: Batch) -> float:
    with torch.no_grad():
        ratio = (learner.evaluate(batch).log_prob - batch.log_prob).exp()
    return float((ratio * (batch.advantages - batch.advantages.mean())).mean())


@cache
def course(rule: type[Rule], kind: str) -> Course:
    quick = hasty(rule, learning_rate=1e-2)
    learner = learner_of(quick, kind)
    batch = make_batch(learner)
    untouched = copy_of(batch)
    gain, loss = surrogate(learner, batch), learner.value_loss(batch).item()
    outcomes, states = [], []
    for _ in range(5):
        outcomes.append(quick.update(learner, batch, rng()))
        states.append(everything(learner))
    after = surrogate(learner, batch), learner.value_loss(batch).item()
    return Course(
        tuple(outcomes), (gain, after[0]), (loss, after[1]), batch, untouched, learner.memory, states[0]
    )


@two_cases
def test_an_update_improves_the_surrogate_of_its_own_batch(rule, kind):
    run = course(rule, kind)
    assert set(run.outcomes) == {Outcome.ACCEPTED}
    assert run.surrogate[1] > run.surrogate[0] + 0.02


@two_cases
def test_an_update_brings_the_value_function_closer_to_the_returns(rule, kind):
    before, after = course(rule, kind).value_loss
    assert after < before


@two_cases
def test_the_batch_is_not_edited(rule, kind):
    run = course(rule, kind)
    for name, value in vars(run.untouched).items():
        assert torch.equal(getattr(run.batch, name), value), name


@two_cases
def test_the_memory_has_the_entries_that_the_rule_names_and_they_are_finite(rule, kind):
    memory = course(rule, kind).memory
    assert set(memory) == set(rule().memory())
    assert all(torch.isfinite(value).all() and not value.requires_grad for value in memory.values())


@two_cases
def test_the_same_seed_gives_the_same_bits(rule, kind):
    again = hasty(rule, learning_rate=1e-2)
    learner = learner_of(again, kind)
    again.update(learner, make_batch(learner), rng())
    assert everything(learner) == course(rule, kind).after_one


@every_rule
def test_randomness_comes_only_from_the_given_generator(rule):
    """Every rule uses it, if only to cut the batch into the minibatches of its value function."""
    learner = learner_of(rule())
    batch = make_batch(learner)

    def states() -> tuple[str, str, bytes]:
        return (
            repr(random.getstate()),
            repr(np.random.get_state()),
            torch.random.get_rng_state().numpy().tobytes(),
        )

    before, generator = states(), rng()
    untouched = repr(generator.get_state())
    hasty(rule).update(learner, batch, generator)
    assert states() == before
    assert repr(generator.get_state()) != untouched, "this rule does not even use its generator"


@every_rule
@pytest.mark.parametrize(
    ("part", "poison"),
    [("advantages", np.inf), ("returns", np.nan), ("observations", np.nan), ("observations", np.inf)],
)
def test_one_bad_number_in_the_batch_changes_nothing(rule, part, poison):
    """Policy, optimizer *and* memory: an Adam moment that is NaN would only kill the next update instead."""
    once = hasty(rule)
    learner = learner_of(once)
    batch = make_batch(learner)
    once.update(learner, batch, rng())  # so that optimizer and memory have something to lose
    before = everything(learner)

    tensor = getattr(batch, part).clone()
    tensor[5] = poison
    poisoned = dataclasses.replace(batch, **{part: tensor})
    assert once.update(learner, poisoned, rng()) is Outcome.NOT_FINITE
    assert everything(learner) == before


@every_rule
@pytest.mark.parametrize("part", ["returns", "advantages"])
def test_finite_numbers_whose_squares_are_infinite_are_no_update_either(rule, part):
    """A return of 3e19 overflows the loss alone, advantages of 1e25 the norm of the gradient alone.

    Only a rule that turns advantages into weights of at most 1 may go on, and then its policy must move: an
    infinite norm scales a gradient to zero, and nothing would say so.
    """
    once = hasty(rule, normalize_advantage=False)
    learner = learner_of(once)
    batch = make_batch(learner)
    huge = batch.advantages * 1e25 if part == "advantages" else batch.returns.clone()
    if part == "returns":
        huge[5] = 3e19
    before, old = everything(learner), learner.behaviour(batch.observations)
    assert torch.isfinite(huge).all()
    outcome = once.update(learner, dataclasses.replace(batch, **{part: huge}), rng())
    if outcome is Outcome.NOT_FINITE:
        assert everything(learner) == before
    else:
        assert part == "advantages"
        assert learner.is_finite()
        assert mean_kl(learner, batch, old) > 1e-6


@every_rule
def test_after_a_bad_batch_training_goes_on_as_if_it_had_not_been(rule):
    """The host draws its minibatches from one generator; this goes on where the bad update has left it."""
    once = hasty(rule)
    clean, shaken = learner_of(once), learner_of(once)
    batch, generator = make_batch(clean), rng(3)
    poisoned = dataclasses.replace(batch, returns=batch.returns * float("nan"))
    for learner in (clean, shaken):
        once.update(learner, batch, rng())  # so that optimizer and memory have something to lose
    assert once.update(shaken, poisoned, generator) is Outcome.NOT_FINITE
    same = rng()
    same.set_state(generator.get_state())
    before = bits(shaken)
    assert once.update(clean, batch, same) is once.update(shaken, batch, generator)
    assert everything(clean) == everything(shaken)
    assert bits(shaken) != before, "nothing moved: this case is too easy to test anything"


@every_rule
def test_saving_and_loading_between_two_updates_changes_no_bit(rule, tmp_path):
    """Policy, optimizer, memory and the generator of the minibatches: the third update needs all of them."""
    once = hasty(rule)
    space = ACTION_SPACES[kinds_of(rule)[0]]
    envs = DummyVecEnv([lambda: Guess(space)] * 2)
    original = host(once, HostSettings(n_steps=24, net_arch=(16,)), envs, seed=0).learn(96)
    original.save(tmp_path / "agent.zip")
    loaded = RuleAlgorithm.load(tmp_path / "agent.zip", env=envs)

    seen = make_batch(Learner(original.policy), size=96)
    results = []
    for algorithm in (original, loaded):
        learner = Learner(algorithm.policy, algorithm.stabilisers, algorithm.memory)
        before = everything(learner)
        assert algorithm.rule.update(learner, seen, algorithm.minibatch_rng) is Outcome.ACCEPTED
        assert bits(learner) != before[0], "nothing moved: this case is too easy to test anything"
        assert set(before[2]) == set(once.memory())
        results.append((before, everything(learner), repr(algorithm.minibatch_rng.get_state())))
    assert results[0] == results[1]


def example(rule: type[FirstOrderRule]) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
    """Ratio, advantage and KL of 3 x 2 agents with 50 samples each, and other entries of the memory for each."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 2, 50)
    ratio = (0.5 * torch.randn(shape, generator=generator)).exp()
    kl = 0.1 * torch.rand(shape, generator=generator)
    advantage = torch.randn(shape, generator=generator)
    factors = 1 + torch.arange(6.0).reshape(3, 2, 1)
    memory = rule().memory()
    return (ratio, advantage, kl), {name: memory[name] * factors for name in recalled_by(rule)}


@every_first_order_rule
def test_several_agents_at_once_equal_one_after_the_other(rule):
    """Leading axes [agents, B], memory [agents, 1]: values and gradients are those of a loop over agents."""
    (ratio, advantage, kl), memory = example(rule)

    def judged(place: tuple[int, ...]) -> list[Tensor]:
        r, d = (tensor[place].clone().requires_grad_() for tensor in (ratio, kl))
        value = rule().objective(r, advantage[place], d, **{name: m[place] for name, m in memory.items()})
        slopes = torch.autograd.grad(value.sum(), (r, d), allow_unused=True, materialize_grads=True)
        return [value.detach(), *slopes]

    together = judged(())
    assert together[0].shape == ratio.shape
    for i, j in np.ndindex(3, 2):
        for all_agents, alone in zip(together, judged((i, j)), strict=True):
            assert torch.equal(alone, all_agents[i, j])


@every_first_order_rule
def test_a_memory_without_axes_serves_all_agents(rule):
    inputs, memory = example(rule)
    shared = {name: values[0, 0, 0] for name, values in memory.items()}
    each = {name: values[:1, :1].expand(3, 2, 1) for name, values in memory.items()}
    assert torch.equal(rule().objective(*inputs, **shared), rule().objective(*inputs, **each))


@every_first_order_rule
def test_the_objective_edits_nothing(rule):
    inputs, memory = example(rule)
    given = [*inputs, *memory.values()]
    before = [tensor.clone() for tensor in given]
    rule().objective(*inputs, **memory)
    assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))


@pytest.mark.parametrize(
    ("rule", "kind"), [case for case in CASES if issubclass(case.values[0], FirstOrderRule)]
)
def test_the_first_minibatch_reads_ratio_1_and_kl_0(rule, kind):
    """Anything else means that the policy that acted and the one that learns do not agree."""
    seen: list[tuple[Tensor, Tensor]] = []

    @dataclass(frozen=True, kw_only=True)
    class Watched(rule):
        def look(self, *args):
            view = super().look(*args)
            seen.append((view.ratio.detach(), view.kl.detach()))
            return view

    learner = learner_of(rule(), kind)
    # A first update moves the policy off its start, where its output layer is almost zero.
    hasty(rule).update(learner, make_batch(learner), rng())
    hasty(Watched).update(learner, make_batch(learner), rng())
    ratio, kl = seen[0]
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=1e-5)
    assert kl.abs().max() < 1e-6
    if len(seen) > 1:  # a rule of one policy step has no later minibatch
        assert (seen[-1][0] - 1).abs().max() > 1e-3, "nothing moved: this case is too easy to test anything"


@every_rule
def test_a_rule_cannot_be_edited(rule: type[Rule]):
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule().learning_rate = 1.0  # type: ignore[misc]
