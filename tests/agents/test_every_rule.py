"""What every rule in agents/rules/ must do, present and future."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from small_policies import ACTION_SPACES, bits, copy_of, make_batch, make_learner, optimizer_bits, rng
from torch import Tensor

from agents.discovery import find_rules
from agents.rule import FirstOrderRule, Outcome, Rule

RULES = {name: found.rule for name, found in find_rules().items()}
FIRST_ORDER = {name: rule for name, rule in RULES.items() if issubclass(rule, FirstOrderRule)}
CASES = [
    pytest.param(rule, space, id=f"{name}-{kind}")
    for name, rule in RULES.items()
    for kind, space in ACTION_SPACES.items()
    if isinstance(space, rule.action_spaces)
]

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_first_order_rule = pytest.mark.parametrize("rule", FIRST_ORDER.values(), ids=FIRST_ORDER)
every_case = pytest.mark.parametrize(("rule", "space"), CASES)


def surrogate(learner, batch) -> float:
    with torch.no_grad():
        ratio = (learner.evaluate(batch).log_prob - batch.log_prob).exp()
    return float((ratio * (batch.advantages - batch.advantages.mean())).mean())


@every_case
def test_an_update_improves_the_surrogate_of_its_own_batch(rule, space):
    learner = make_learner(rule(), space)
    batch = make_batch(learner)
    before = surrogate(learner, batch)
    for _ in range(5):
        assert rule().update(learner, batch, rng()) is Outcome.ACCEPTED
    assert surrogate(learner, batch) > before + 1e-3


@every_case
def test_an_update_brings_the_value_function_closer_to_the_returns(rule, space):
    learner = make_learner(rule(), space)
    batch = make_batch(learner)
    before = learner.value_loss(batch).item()
    for _ in range(5):
        rule().update(learner, batch, rng())
    assert learner.value_loss(batch).item() < before


@every_case
def test_the_same_seed_gives_the_same_bits(rule, space):
    results = set()
    for _ in range(2):
        learner = make_learner(rule(), space)
        rule().update(learner, make_batch(learner), rng(7))
        results.add(bits(learner))
    assert len(results) == 1


@every_rule
def test_randomness_comes_only_from_the_given_generator(rule):
    learner = make_learner(rule())
    batch = make_batch(learner)

    def states() -> tuple[str, str, bytes]:
        return (
            repr(random.getstate()),
            repr(np.random.get_state()),
            torch.random.get_rng_state().numpy().tobytes(),
        )

    before, generator = states(), rng()
    untouched = repr(generator.get_state())
    rule().update(learner, batch, generator)
    assert states() == before
    assert repr(generator.get_state()) != untouched, "this rule does not even use its generator"


@every_case
def test_the_batch_is_not_edited(rule, space):
    learner = make_learner(rule(), space)
    batch = make_batch(learner)
    before = copy_of(batch)
    rule().update(learner, batch, rng())
    for name, value in vars(before).items():
        assert torch.equal(getattr(batch, name), value), name


@every_rule
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["advantages", "returns", "observations"])
def test_one_bad_number_in_the_batch_changes_nothing(rule, part, poison):
    """Policy *and* optimizer: an Adam moment that is NaN would only kill the next update instead."""
    learner = make_learner(rule())
    batch = make_batch(learner)
    rule().update(learner, batch, rng())  # so that the optimizer has a state to lose
    before, remembered = bits(learner), optimizer_bits(learner)

    tensor = getattr(batch, part).clone()
    tensor[5] = poison
    poisoned = dataclasses.replace(batch, **{part: tensor})
    assert rule().update(learner, poisoned, rng()) is Outcome.NOT_FINITE
    assert bits(learner) == before
    assert optimizer_bits(learner) == remembered


@every_rule
@pytest.mark.parametrize("part", ["returns", "advantages"])
def test_finite_numbers_whose_squares_are_infinite_are_no_update_either(rule, part):
    """A return of 3e19 overflows the loss alone, advantages of 1e25 the norm of the gradient alone."""
    once = rule(normalize_advantage=False)
    learner = make_learner(once)
    batch = make_batch(learner)
    huge = batch.advantages * 1e25 if part == "advantages" else batch.returns.clone()
    if part == "returns":
        huge[5] = 3e19
    before = bits(learner)
    assert torch.isfinite(huge).all()
    assert once.update(learner, dataclasses.replace(batch, **{part: huge}), rng()) is Outcome.NOT_FINITE
    assert bits(learner) == before


@every_rule
def test_after_a_bad_batch_training_goes_on_as_if_it_had_not_been(rule):
    clean, shaken = make_learner(rule()), make_learner(rule())
    batch = make_batch(clean)
    rule().update(shaken, dataclasses.replace(batch, returns=batch.returns * float("nan")), rng())
    rule().update(clean, batch, rng(3))
    rule().update(shaken, batch, rng(3))
    assert bits(clean) == bits(shaken)


@every_first_order_rule
def test_several_agents_at_once_equal_one_after_the_other(rule):
    """Leading axes [agents, B] give what a loop over agents gives: values and gradients."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 2, 50)
    ratio = (0.5 * torch.randn(shape, generator=generator)).exp().requires_grad_()
    kl = torch.rand(shape, generator=generator).requires_grad_()
    advantage = torch.randn(shape, generator=generator)

    together = rule().objective(ratio, advantage, kl)
    assert together.shape == shape
    gradient = torch.autograd.grad(together.sum(), ratio)[0]
    for i in range(3):
        for j in range(2):
            alone = ratio[i, j].detach().clone().requires_grad_()
            value = rule().objective(alone, advantage[i, j], kl[i, j].detach())
            assert torch.equal(value, together[i, j])
            assert torch.equal(torch.autograd.grad(value.sum(), alone)[0], gradient[i, j])


@every_first_order_rule
def test_the_objective_edits_nothing(rule):
    ratio, advantage, kl = torch.rand(9) + 0.5, torch.randn(9), torch.rand(9)
    before = [t.clone() for t in (ratio, advantage, kl)]
    rule().objective(ratio, advantage, kl)
    assert all(torch.equal(a, b) for a, b in zip(before, (ratio, advantage, kl), strict=True))


@pytest.mark.parametrize(
    ("rule", "space"),
    [case for case in CASES if issubclass(case.values[0], FirstOrderRule)],
)
def test_the_first_minibatch_reads_ratio_1_and_kl_0(rule, space):
    """Anything else means that the policy that acted and the one that learns do not agree."""
    seen: list[tuple[Tensor, Tensor]] = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(rule):
        def objective(self, ratio, advantage, kl):
            seen.append((ratio.detach(), kl.detach()))
            return super().objective(ratio, advantage, kl)

    learner = make_learner(rule(), space)
    # A first update moves the policy off its start, where its output layer is almost zero.
    rule().update(learner, make_batch(learner), rng())
    Watched().update(learner, make_batch(learner), rng())
    ratio, kl = seen[0]
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=1e-5)
    assert kl.abs().max() < 1e-6
    if rule().n_epochs > 1:
        assert (seen[-1][0] - 1).abs().max() > 1e-3, "nothing moved: this case is too easy to test anything"


@every_rule
def test_a_rule_cannot_be_edited(rule: type[Rule]):
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule().learning_rate = 1.0  # type: ignore[misc]
