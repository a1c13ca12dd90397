"""V-MPO's weights and duals against equations 3 to 5, scipy's minimiser and torch's divergences."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from small_policies import ACTION_SPACES, make_batch, make_learner, mean_kl, rng

from agents.distribution import Gaussian
from agents.learner import reached
from agents.rule import Outcome
from agents.rules.v_mpo import LARGEST, SMALLEST, VMPO, concentration, risen, top_half_weights


def advantages(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 2.0 * torch.randn(shape, generator=generator, dtype=torch.float64)


def dual(advantage: torch.Tensor, eta: torch.Tensor, eps: float) -> torch.Tensor:
    """Equation 4, over the upper half by sorting."""
    best = advantage.sort(descending=True).values[: math.ceil(len(advantage) / 2)]
    return eta * eps + eta * (best / eta).exp().mean().log()


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_upper_half_is_weighted_by_the_exponential_and_the_lower_half_not_at_all(size):
    advantage, eta = advantages(size), 1.7
    median = advantage.median()  # of an even number torch takes the lower one
    chosen = advantage > median if size % 2 == 0 else advantage >= median
    assert chosen.sum() == math.ceil(size / 2)
    expected = torch.where(chosen, (advantage / eta).exp(), 0.0)
    weights = top_half_weights(advantage, torch.tensor(eta))
    assert torch.allclose(weights, expected / expected.sum(), rtol=1e-6)
    assert (weights[~chosen] == 0).all()


def test_ties_do_not_make_the_half_larger():
    weights = top_half_weights(torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]), torch.tensor(1.0))
    assert (weights > 0).sum() == 3


def test_huge_advantages_are_no_overflow():
    weights = top_half_weights(torch.tensor([1e30, 3.0, 2.0, 1.0]), torch.tensor(SMALLEST))
    assert torch.equal(weights, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert concentration(weights).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("eta", [0.3, 1.0, 8.0])
def test_the_gradient_of_the_temperatures_dual_is_its_limit_less_the_concentration(eta):
    advantage, eps = advantages(65), 0.01
    temperature = torch.tensor(eta, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(dual(advantage, temperature, eps), temperature)[0]
    ours = eps - concentration(top_half_weights(advantage, temperature.detach()))
    assert ours.shape == (1,)
    assert ours.item() == pytest.approx(gradient.item(), rel=1e-9)


@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_at_the_minimum_of_the_dual_the_concentration_is_the_limit(eps):
    """And the steps of the rule lead there, from below and from above."""
    advantage = advantages(64)

    def value(log_eta: float) -> float:
        return dual(advantage, torch.tensor(math.exp(log_eta), dtype=torch.float64), eps).item()

    best = math.exp(minimize_scalar(value, bounds=(-3, 5), method="bounded", options={"xatol": 1e-9}).x)
    weights = top_half_weights(advantage, torch.tensor(best, dtype=torch.float64))
    assert concentration(weights).item() == pytest.approx(eps, rel=1e-4)

    for start in (best / 10, best * 10):
        eta = torch.tensor([start], dtype=torch.float64)
        for _ in range(1000):
            eta = risen(eta, concentration(top_half_weights(advantage, eta)), eps, rate=0.02)
        assert eta.item() == pytest.approx(best, rel=1e-3)


def test_the_objective_has_the_gradient_of_the_weighted_log_likelihood():
    """Equation 3 in sum form, by torch; also where an action has become impossible."""
    advantage, eta = advantages(32), torch.tensor(1.3, dtype=torch.float64)
    log_ratio = (0.3 * advantages(32).flip(0)).requires_grad_()
    zero = torch.zeros(32, dtype=torch.float64)
    mean = VMPO().objective(log_ratio.exp(), advantage, zero, eta).mean()
    equation = (top_half_weights(advantage, eta) * log_ratio).sum()
    assert mean.item() == pytest.approx(equation.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(f, log_ratio)[0] for f in (mean, equation))
    assert torch.allclose(ours, theirs, rtol=1e-9)
    assert ours.sum().item() == pytest.approx(1.0), "a likelihood's weights sum to one, whatever the scale"

    worst = int(advantage.argmin())
    gone = log_ratio.detach().clone().index_fill(0, torch.tensor(worst), -1e4).requires_grad_()
    value = VMPO().objective(gone.exp(), advantage, zero, eta).sum()
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, gone)[0]).all()


def test_a_multiplier_rises_above_its_limit_falls_below_it_and_rests_at_it():
    """With the sign of the dual's gradient, at most by its rate, never to zero or to infinity."""
    start = torch.tensor(5.0)
    alpha = start.clone().requires_grad_()
    for kl in (0.02, 0.0, 0.01):
        gradient = torch.autograd.grad(alpha * (0.01 - kl), alpha)[0]  # of equation 5
        moved = risen(start, torch.tensor(kl), eps=0.01, rate=0.1)
        assert torch.sign(moved - start) == -torch.sign(gradient)
    assert risen(start, torch.tensor(1e3), 0.01, 0.1).item() == pytest.approx(5 * math.exp(0.1))
    assert risen(start, torch.tensor(0.0), 0.01, 0.1).item() == pytest.approx(5 * math.exp(-0.1))
    assert risen(torch.tensor(SMALLEST), torch.tensor(0.0), 0.01, 1.0).item() == pytest.approx(SMALLEST)
    assert risen(torch.tensor(LARGEST), torch.tensor(9.0), 0.01, 1.0).item() == pytest.approx(LARGEST)


def test_a_gaussians_divergence_is_taken_apart_into_what_means_and_what_deviations_cause():
    rule = VMPO()
    learner = make_learner(rule)
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    with torch.no_grad():
        learner.policy.action_net.bias += 0.3
        learner.policy.log_std += torch.tensor([0.2, -0.4])
    view = rule.look(learner, batch, past)
    (mean_part, mean_limit), (deviation_part, deviation_limit) = rule.constraints(view).values()
    assert (mean_limit, deviation_limit) == (rule.eps_mean, rule.eps_deviation)

    old, new = past.distribution, view.now.distribution
    mahalanobis = (((new.mean - old.mean) / old.std) ** 2).sum(-1)
    assert mean_part.item() == pytest.approx(0.5 * mahalanobis.mean().item(), rel=1e-5)
    trace = ((old.std / new.std) ** 2 - 1 + 2 * (new.std / old.std).log()).sum(-1)
    assert deviation_part.item() == pytest.approx(0.5 * trace.mean().item(), rel=1e-4)
    assert old.kl(new).mean().item() != pytest.approx(mean_part.item() + deviation_part.item(), rel=0.05)
    assert old.kl(Gaussian(new.mean, old.std)).mean().item() == pytest.approx(mean_part.item())


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_each_policy_moves_its_own_multipliers_and_they_follow_its_divergence(kind):
    """The same steps under limits far below the divergence that they cause, and far above it."""
    names = {"alpha_mean", "alpha_deviation"} if kind == "box" else {"alpha"}
    start = VMPO().memory()
    for eps, direction in ((1e-9, 1), (1.0, -1)):
        rule = VMPO(learning_rate=1e-3, eps_alpha=eps, eps_mean=eps, eps_deviation=eps)
        learner = make_learner(rule, ACTION_SPACES[kind])
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        assert 1e-5 < mean_kl(learner, batch, old) < 0.5, "this case is too easy to test anything"
        for name in start.keys() - {"eta"}:
            change = np.sign(learner.memory[name].item() - start[name])
            assert change == (direction if name in names else 0), name


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_the_multipliers_bring_the_divergence_to_its_limit(kind):
    """Many epochs on one batch, with multipliers of next to nothing and with those that the rule moves."""
    kl = {}
    for weak, n_epochs in ((True, 40), (False, 150)):
        rule = VMPO(learning_rate=1e-2, dual_rate=0.05, eps_deviation=0.01, n_epochs=n_epochs, batch_size=128)
        learner = make_learner(rule, ACTION_SPACES[kind])
        if weak:
            learner.memory.update({name: torch.tensor(SMALLEST) for name in rule.memory() if name != "eta"})
        batch = make_batch(learner)
        past = rule.past(learner, batch)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        kl[weak] = [part.item() for part, _ in rule.constraints(rule.look(learner, batch, past)).values()]
    assert min(kl[True]) > 0.05, "this case is too easy to test anything"
    assert kl[False] == pytest.approx([0.01] * len(kl[False]), rel=0.2)


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_equation_5_with_each_multiplier_at_weight_one(kind, normalize):
    """Sum of its parts away from the old policy; weights and temperature see the same advantages."""
    rule = VMPO(normalize_advantage=normalize, vf_coef=0.25, ent_coef=0.125, eps_eta=0.1)
    learner = make_learner(rule, ACTION_SPACES[kind])
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    with torch.no_grad():
        learner.policy.action_net.bias += torch.tensor([0.6, -0.2, 0.0])[
            : learner.policy.action_net.out_features
        ]
        if kind == "box":
            learner.policy.log_std += torch.tensor([0.3, -0.5])
    multipliers = {"eta": 2.5, "alpha": 5.5, "alpha_mean": 3.5, "alpha_deviation": 7.5}
    learner.memory.update({name: torch.tensor(value) for name, value in multipliers.items()})
    view = rule.look(learner, batch, past)
    old, new = past.distribution, view.now.distribution

    advantage = batch.advantages
    if normalize:
        advantage = (advantage - advantage.mean()) / advantage.std()
    best = advantage.argsort(descending=True)[: len(advantage) // 2]
    weights = (advantage[best] / 2.5).softmax(0)
    expected = -(weights * view.log_ratio[best]).sum()
    if kind == "box":
        parts = [
            3.5 * old.kl(Gaussian(new.mean, old.std)).mean(),
            7.5 * old.kl(Gaussian(old.mean, new.std)).mean(),
        ]
    else:
        parts = [5.5 * old.kl(new).mean()]
    value_loss = ((view.now.values - batch.returns) ** 2).mean()
    assert min(parts) > 0.02 * expected.abs(), "this case is too easy to test anything"
    expected = expected + sum(parts) + 0.25 * value_loss - 0.125 * view.now.entropy.mean()
    assert rule.loss(learner, view).item() == pytest.approx(expected.item(), rel=1e-5)

    spread = math.log(len(best)) + (weights * weights.log()).sum()
    assert (spread > 0.1) != normalize, "the other advantages would move it the other way"
    moved = 2.5 * math.exp(0.01 * max(-1.0, min(1.0, spread.item() / 0.1 - 1)))
    assert learner.memory["eta"].item() == pytest.approx(moved, rel=1e-6)


def test_after_a_quiet_phase_the_multipliers_are_back_within_a_few_updates():
    """Five updates that move nothing, then eight that go as far as the multipliers let them."""
    settings = {"dual_rate": 0.1, "eps_deviation": 0.01, "n_epochs": 20}
    largest = {}
    for share in (SMALLEST, VMPO().smallest_share):
        quiet = VMPO(learning_rate=1e-12, smallest_share=share, **settings)
        loud = VMPO(learning_rate=5e-3, smallest_share=share, **settings)
        learner = make_learner(quiet)
        batch = make_batch(learner)
        for _ in range(5):
            quiet.update(learner, batch, rng())
        floor = {"alpha_mean": share, "alpha_deviation": share}
        assert {name: learner.memory[name].item() for name in floor} == pytest.approx(floor)
        assert learner.memory["eta"] > 0.5, "its own constraint is not a quiet one"
        kl = []
        for seed in range(8):
            batch = make_batch(learner, seed=seed)
            old = learner.behaviour(batch.observations)
            loud.update(learner, batch, rng(seed))
            kl.append(mean_kl(learner, batch, old))
        largest[share] = max(kl[5:])
    assert largest[SMALLEST] > 0.08, "this case is too easy to test anything"
    assert largest[VMPO().smallest_share] < 0.03


def test_the_floor_of_a_multiplier_is_a_share_of_its_own_start():
    rule = VMPO(smallest_share=0.25, dual_rate=1.0, eps_alpha=1e9)
    learner = make_learner(rule, ACTION_SPACES["discrete"])
    rule.update(learner, make_batch(learner), rng())
    assert learner.memory["alpha"].item() == pytest.approx(0.25 * 5.0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_minibatch_of_fewer_than_four_imitates_nothing_and_moves_no_multiplier(size):
    """Of three bad actions two would be imitated; the divergences still hold the policy."""
    rule = VMPO(vf_coef=0.0, eps_eta=1e-6)
    learner = make_learner(rule)
    batch = make_batch(learner).rows(torch.arange(size))
    past = rule.past(learner, batch)
    start = {name: torch.tensor(value) for name, value in rule.memory().items()}

    def slopes(shift: float) -> list[float]:
        """Largest slope of the loss in each parameter that the policy uses, off the old policy by `shift`."""
        with torch.no_grad():
            learner.policy.action_net.bias += shift
        learner.memory.update(start)
        view = rule.look(learner, batch, past)
        policy = reached(view.log_ratio.sum(), learner.parameters)
        found = torch.autograd.grad(rule.loss(learner, view), policy, allow_unused=True)
        return [0.0 if slope is None else slope.abs().max().item() for slope in found]

    assert (max(slopes(0.0)) > 1e-3) == (size == 4)
    assert max(slopes(0.5)) > 1e-3, "the divergence pulls back"
    unmoved = {name for name in start if torch.equal(learner.memory[name].reshape(()), start[name])}
    assert unmoved == (set(start) if size < 4 else {"alpha"})


def test_several_agents_at_once_equal_one_after_the_other():
    """Each agent with a temperature of its own."""
    advantage, eta = advantages(3, 2, 41), 1.0 + torch.arange(6.0, dtype=torch.float64).reshape(3, 2, 1)
    weights = top_half_weights(advantage, eta)
    spread = concentration(weights)
    risen_etas = risen(eta, spread, 0.01, 0.1)
    assert spread.shape == (3, 2, 1)
    for i in range(3):
        for j in range(2):
            alone = top_half_weights(advantage[i, j], eta[i, j])
            assert torch.equal(alone, weights[i, j])
            assert torch.equal(concentration(alone), spread[i, j])
            assert torch.equal(risen(eta[i, j], spread[i, j], 0.01, 0.1), risen_etas[i, j])
