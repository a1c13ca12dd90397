"""The events: what is one, what is not, and that the definitions are invariant where they say so."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from rl_lab.monitor.detector import Seen, judge, new_detectors
from rl_lab.monitor.detectors.kl_spike import CEILING, FLOOR, KLSpike, spike_threshold
from rl_lab.monitor.detectors.nonfinite import ORDER, NonFinite
from rl_lab.monitor.detectors.performance_collapse import PerformanceCollapse, relative_drop
from rl_lab.monitor.distributions import Gaussian, Step
from rl_lab.monitor.gradients import Gradients
from rl_lab.monitor.returns import Mean
from rl_lab.monitor.rollout import Rollout
from rl_lab.monitor.update import Update, measure


def update(shift=0.1, n=8, **rollout):
    """An update that moves the mean of dimension 1 in every state by `shift`, in state 5 by twice that."""
    old = Gaussian(np.zeros((n, 2)), np.zeros((n, 2)))
    mean = np.zeros((n, 2))
    mean[:, 1] = shift
    mean[5, 1] = 2 * shift
    values = {
        name: rollout.get(name, np.arange(n, dtype=np.float32))
        for name in ("rewards", "values", "returns", "advantages")
    }
    observations = rollout.get("observations", torch.arange(3.0 * n).reshape(n, 3))
    return Update(
        step=Step(old, Gaussian(mean, np.zeros((n, 2))), rollout.get("log_ratio", np.zeros(n))),
        rollout=Rollout(observations, torch.zeros(n, 2), n_steps=4, **values),
        gradients=rollout.get("gradients", Gradients(np.ones((3, 2)), ("pi", "value_net"))),
        old_parameters=torch.ones(4),
        new_parameters=rollout.get("new_parameters", torch.ones(4)),
    )


def seen(number=1, smooth=None, random=None, episodes=0, row=None, history=(), **kwargs):
    made = update(**kwargs)
    returned = {} if smooth is None else {"return_smooth": smooth.mean, "return_stderr": smooth.stderr}
    record = {
        "update": number,
        "env_steps": 8 * number,
        "episodes": episodes,
        **measure(made),
        **returned,
        **(row or {}),
    }
    return Seen(record, history, random, update=made)


def spikes(kls):
    """Updates and findings when these are the mean KLs of successive updates."""
    rows = [{"update": n, "kl_mean": kl, "kl_max": kl, "ratio_max": 1.0} for n, kl in enumerate(kls, start=1)]
    return [(number, finding) for number, finding in judge(rows) if finding.event == "kl_spike"]


def test_users_case_a_jump_from_017_to_447_is_one_spike():
    """github.com/openai/baselines/issues/975"""
    steady = [0.012, 0.017, 0.015, 0.011, 0.017, 0.016]
    ((number, finding),) = spikes([*steady, 4.47, 0.02, 0.015])
    assert number == 7
    assert finding.value == 4.47
    assert finding.threshold <= 0.2


def test_noise_around_a_steady_kl_is_no_spike():
    rng = np.random.default_rng(0)
    assert spikes(0.02 * np.exp(0.4 * rng.normal(size=500))) == []


def test_a_tenfold_jump_below_the_floor_is_no_spike_and_above_it_is():
    steady = [0.002] * 10
    assert spikes([*steady, 0.04]) == []
    assert len(spikes([*steady, 0.06])) == 1


def test_above_one_nat_every_update_is_a_spike_whatever_came_before():
    assert len(spikes([3.0] * 30)) == 30


def test_the_threshold_is_scale_free_between_floor_and_ceiling():
    kls = np.exp(np.random.default_rng(1).normal(-4, 0.3, size=20))
    assert FLOOR < spike_threshold(kls) < CEILING
    assert spike_threshold(3 * kls) == pytest.approx(3 * spike_threshold(kls))


def test_the_floor_is_not_crossed_by_a_silent_run_nor_the_ceiling_by_a_loud_one():
    assert spike_threshold(np.full(20, 1e-9)) == FLOOR
    assert spike_threshold(np.zeros(20)) == FLOOR
    assert spike_threshold(np.full(20, 50.0)) == CEILING


def test_a_spike_names_the_worst_state_and_dimension():
    (finding,) = KLSpike().observe(seen(shift=2.0))
    worst = finding.details["worst_states"][0]
    assert (worst["row"], worst["env"], worst["step"]) == (5, 1, 1)
    assert worst["observation"] == [15.0, 16.0, 17.0]
    assert worst["kl"] == pytest.approx(0.5 * 4.0**2)
    assert finding.details["kl_per_dimension"][0] == 0


# Performance collapse


def collapse_events(returns, random=0.0, noise=1.0, scale=1.0, shift=0.0, per_update=10):
    """Feed smoothed returns, one update each; every affine change must give the same events."""
    detector = PerformanceCollapse()
    found = []
    for number, value in enumerate(returns, start=1):
        smooth = Mean(scale * value + shift, scale * noise, 20)
        reference = Mean(scale * random + shift, scale * noise, 20)
        state = seen(number, smooth, reference, episodes=20 + per_update * number)
        found += [
            (number, f.event, round(f.value, 9), f.details["onset_update"]) for f in detector.observe(state)
        ]
    return found


CLIMB = [0, 20, 40, 60, 80, 100]


def test_a_lasting_drop_by_half_is_a_collapse_dated_at_its_onset():
    assert collapse_events([*CLIMB, 30, 30, 30, 30]) == [(9, "performance_collapse", 0.7, 7)]


def test_a_drop_shorter_than_a_fresh_window_of_episodes_is_none():
    assert collapse_events([*CLIMB, 30, 30, 90, 95]) == []


def test_a_drop_by_less_than_half_is_none():
    assert collapse_events([*CLIMB, 55, 55, 55, 55, 55]) == []


def test_a_drop_within_the_noise_is_none():
    assert collapse_events([*CLIMB, 30, 30, 30, 30], noise=20.0) == []


def test_what_was_never_learned_cannot_be_lost():
    assert collapse_events([0, 2, -3, -10, -10, -10, -10]) == []


def test_recovery_is_recorded_and_arms_the_detector_again():
    events = collapse_events([*CLIMB, 30, 30, 30, 90, 90, 20, 20, 20])
    assert [(number, name, onset) for number, name, _, onset in events] == [
        (9, "performance_collapse", 7),
        (10, "recovery", 7),
        (14, "performance_collapse", 12),
    ]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, -1000.0), (0.001, 0.0), (250.0, 77.0)])
def test_collapse_is_affine_invariant_so_negative_returns_work(scale, shift):
    """The peak-fraction rule `return < peak / 2` fails on Pendulum, where the peak is -150."""
    course = [*CLIMB, 30, 30, 30, 90, 90, 20, 20, 20]
    assert collapse_events(course, scale=scale, shift=shift) == collapse_events(course)


def test_relative_drop_runs_from_zero_at_best_to_one_at_chance():
    assert relative_drop(-150, -150, -1200) == 0
    assert relative_drop(-150, -1200, -1200) == 1
    assert relative_drop(-150, -675, -1200) == 0.5


# Non-finite


def with_nan(n=8, at=6):
    values = np.arange(n, dtype=np.float32)
    values[at] = np.nan
    return values


CAUSES = {
    "obs": {"observations": torch.tensor([[0.0]] * 6 + [[math.inf]] + [[0.0]])},
    "value": {"values": with_nan()},
    "reward": {"rewards": with_nan()},
    "return": {"returns": with_nan()},
    "advantage": {"advantages": with_nan()},
    "loss": {"row": {"train/loss": math.nan}},
    "gradient": {"gradients": Gradients(np.array([[1.0, 2.0], [1.0, math.nan]]), ("pi", "value_net"))},
    "parameter": {"new_parameters": torch.tensor([0.0, math.nan, 0.0, 0.0])},
    "policy": {"log_ratio": np.full(8, math.nan)},
}


@pytest.mark.parametrize("quantity", CAUSES)
def test_nonfinite_names_the_quantity_and_the_place(quantity):
    (finding,) = NonFinite().observe(seen(**CAUSES[quantity]))
    assert finding.details["quantity"] == quantity
    if quantity in ("obs", "value", "reward", "return", "advantage"):
        assert (finding.details["env"], finding.details["step"]) == (1, 2)
    if quantity == "gradient":
        assert finding.minibatch == 1
        assert "value_net" in finding.message


def test_every_quantity_of_the_order_has_a_case_here():
    assert set(CAUSES) == set(ORDER)


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(ORDER)))
def test_of_two_the_earlier_in_causal_order_is_named(earlier, later):
    (finding,) = NonFinite().observe(seen(**{**CAUSES[later], **CAUSES[earlier]}))
    assert finding.details["quantity"] == earlier


def test_a_finite_update_has_no_finding():
    assert NonFinite().observe(seen()) == []


def test_a_gradient_that_was_not_reached_does_not_hide_or_invent_a_nan():
    unreached = Gradients(np.array([[-np.inf, 1.0]]), ("pi", "value_net"))
    assert unreached.first_nonfinite() is None
    assert unreached.total("all").tolist() == [1.0]
    assert len(unreached.total("policy")) == 0
    poisoned = Gradients(np.array([[-np.inf, np.nan]]), ("pi", "value_net"))
    assert poisoned.first_nonfinite() == (0, "value_net")
    assert math.isnan(poisoned.total("all")[0])


def test_the_room_finds_its_detectors():
    assert {d.name for d in new_detectors()} == {"kl_spike", "nonfinite", "performance_collapse"}
