"""The ruler against integrals, scipy and torch."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from rl_lab.monitor.measure.distributions import Categorical, Gaussian, Step
from rl_lab.monitor.measure.update import Update, all_quantities
from rl_lab.monitor.quantities import divergence, ratio


def gaussian(mean, std):
    return Gaussian(np.atleast_2d(np.asarray(mean, float)), np.log(np.atleast_2d(np.asarray(std, float))))


def categorical(*probabilities):
    with np.errstate(divide="ignore"):
        return Categorical(tuple(np.log(np.atleast_2d(np.asarray(p, float))) for p in probabilities))


@pytest.mark.parametrize(
    ("p", "q"),
    [((0.0, 1.0), (0.5, 1.0)), ((0.0, 1.0), (0.0, 3.0)), ((-1.0, 0.2), (0.3, 0.5)), ((2.0, 2.0), (2.0, 0.7))],
)
def test_gaussian_kl_is_the_integral(p, q):
    density_p, density_q = stats.norm(*p), stats.norm(*q)
    integral, _ = integrate.quad(
        lambda x: density_p.pdf(x) * (density_p.logpdf(x) - density_q.logpdf(x)),
        p[0] - 12 * p[1],
        p[0] + 12 * p[1],
    )
    assert gaussian(*p).kl(gaussian(*q))[0] == pytest.approx(integral, rel=1e-7)


def test_the_two_directions_of_kl_differ_and_each_is_its_integral():
    narrow, wide = gaussian(0, 0.5), gaussian(0, 2)
    assert narrow.kl(wide)[0] == pytest.approx(np.log(4) + 1 / 32 - 0.5)
    assert wide.kl(narrow)[0] == pytest.approx(-np.log(4) + 8 - 0.5)


def test_gaussian_kl_sums_over_dimensions_where_averaging_would_be_17_times_smaller():
    old, new = gaussian([np.zeros(17)], [np.ones(17)]), gaussian([np.full(17, 0.1)], [np.ones(17)])
    assert old.kl(new)[0] == pytest.approx(17 * 0.005)


def test_kl_agrees_with_torch():
    rng = np.random.default_rng(0)
    m, n = rng.normal(size=(2, 50, 4)), rng.normal(size=(2, 50, 4)) * 0.3
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(torch.tensor(m[0]), torch.tensor(n[0]).exp()),
        torch.distributions.Normal(torch.tensor(m[1]), torch.tensor(n[1]).exp()),
    ).sum(1)
    np.testing.assert_allclose(Gaussian(m[0], n[0]).kl(Gaussian(m[1], n[1])), theirs.numpy(), rtol=1e-12)


def test_mean_shift_and_covariance_shift_are_the_two_special_cases_and_add_up():
    old, new = gaussian([0.0, 1.0], [1.0, 0.5]), gaussian([0.3, 1.0], [0.8, 0.9])
    same_spread = Gaussian(old.mean, new.log_std)
    np.testing.assert_allclose(old.mean_shift(new), same_spread.kl_per_dimension(new))
    same_mean = Gaussian(new.mean, old.log_std)
    np.testing.assert_allclose(old.covariance_shift(new), same_mean.kl_per_dimension(new))
    np.testing.assert_allclose(old.kl(new), (old.mean_shift(new) + old.covariance_shift(new)).sum(1))


def test_a_policy_is_at_kl_exactly_zero_from_itself():
    rng = np.random.default_rng(1)
    same = Gaussian(rng.normal(size=(100, 3)), rng.normal(size=(100, 3)))
    assert (same.kl(same) == 0).all()
    choice = categorical(rng.dirichlet(np.ones(5), size=100))
    assert (choice.kl(choice) == 0).all()


def test_categorical_kl_is_scipys_relative_entropy():
    rng = np.random.default_rng(2)
    p, q = rng.dirichlet(np.ones(6), size=(2, 20))
    np.testing.assert_allclose(categorical(p).kl(categorical(q)), stats.entropy(p, q, axis=1))
    np.testing.assert_allclose(categorical(p).entropy(), stats.entropy(p, axis=1))


def test_an_impossible_action_contributes_nothing_and_a_lost_action_is_infinite():
    assert categorical([0.0, 1.0]).kl(categorical([0.5, 0.5]))[0] == pytest.approx(np.log(2))
    assert categorical([0.5, 0.5]).kl(categorical([0.0, 1.0]))[0] == np.inf


def test_several_choices_add_up():
    both = categorical([0.2, 0.8], [0.5, 0.3, 0.2]).kl(categorical([0.5, 0.5], [0.1, 0.1, 0.8]))[0]
    alone = stats.entropy([0.2, 0.8], [0.5, 0.5]) + stats.entropy([0.5, 0.3, 0.2], [0.1, 0.1, 0.8])
    assert both == pytest.approx(alone)


def test_gaussian_entropy_is_scipys():
    assert gaussian([0.0, 0.0], [0.5, 2.0]).entropy()[0] == pytest.approx(
        stats.norm(0, 0.5).entropy() + stats.norm(0, 2.0).entropy()
    )


@pytest.fixture(scope="module")
def shifted():
    """400,000 actions of N(0, 1) judged by N(0.7, 1): everything about it is known in closed form."""
    n, shift = 400_000, 0.7
    actions = np.random.default_rng(3).normal(size=n)
    old, new = gaussian(np.zeros((n, 1)), np.ones((n, 1))), gaussian(np.full((n, 1), shift), np.ones((n, 1)))
    return Update(step=Step(old, new, shift * actions - shift**2 / 2)), shift


def test_effective_sample_size_is_one_over_the_second_moment(shifted):
    update, shift = shifted
    assert ratio.effective_sample_size(update) == pytest.approx(np.exp(-(shift**2)), rel=0.02)


def test_total_variation_estimate_is_the_normal_integral(shifted):
    update, shift = shifted
    assert divergence.total_variation(update) == pytest.approx(2 * stats.norm.cdf(shift / 2) - 1, rel=0.01)


def test_ratio_outside_is_the_probability_of_leaving_the_band(shifted):
    update, shift = shifted
    inside = [(np.log(bound) + shift**2 / 2) / shift for bound in (0.8, 1.2)]
    assert ratio.ratio_outside(update) == pytest.approx(1 - np.diff(stats.norm.cdf(inside))[0], abs=0.005)


def test_effective_sample_size_survives_ratios_that_overflow():
    step = Step(
        gaussian(np.zeros((2, 1)), np.ones((2, 1))),
        gaussian(np.zeros((2, 1)), np.ones((2, 1))),
        np.array([0.0, 2000.0]),
    )
    assert ratio.effective_sample_size(Update(step=step)) == pytest.approx(0.5)
    assert ratio.ratio_max(Update(step=step)) == np.inf


def test_an_infinite_kl_in_one_state_leaves_the_percentiles_numbers():
    kl = np.zeros(1000)
    kl[0] = np.inf
    step = Step(
        gaussian(np.zeros((1000, 1)), np.ones((1000, 1))),
        gaussian(np.zeros((1000, 1)), np.ones((1000, 1))),
        np.zeros(1000),
    )
    step.__dict__["kl"] = kl
    assert divergence.kl_p99(Update(step=step)) == 0
    assert divergence.kl_max(Update(step=step)) == np.inf


def test_every_quantity_explains_itself_with_a_unit():
    for name, quantity in all_quantities().items():
        assert quantity.__doc__.strip().endswith((".", "]")), (
            f"{name}: the legend is a sentence or ends with a unit"
        )
