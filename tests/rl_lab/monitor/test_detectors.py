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
from rl_lab.monitor.measure.distributions import Gaussian, Step
from rl_lab.monitor.measure.gradients import Gradients
from rl_lab.monitor.measure.path import KLPath
from rl_lab.monitor.measure.returns import Mean
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.update import Update, measure


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
        path=rollout.get("path"),
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


def path_of(kls, steps_per_epoch=4, every=1):
    """A KL path whose points are known, and a list of which were asked for."""
    asked = []

    def evaluate(place):
        asked.append(place)
        return kls[place]

    steps = [every * (i + 1) for i in range(len(kls))]
    return KLPath(steps, steps[-1], evaluate, steps_per_epoch), asked


def test_a_spike_names_the_first_gradient_step_beyond_its_threshold_and_shows_the_way_there():
    kls = [0.01, 0.02, 0.03, 0.02, 0.04, 0.03, 1.5, 0.9, 3.0, 4.0]
    path, _ = path_of(kls)
    (finding,) = KLSpike().observe(seen(shift=2.0, path=path))
    assert finding.threshold == 1.0
    assert (finding.epoch, finding.minibatch) == (1, 6), "the seventh step, the third of the second epoch"
    assert [p["kl_mean"] for p in finding.details["kl_path"]] == kls
    assert [p["step"] for p in finding.details["kl_path"]] == list(range(1, 11))


def test_a_long_path_is_thinned_and_a_calm_one_is_never_walked():
    path, asked = path_of(list(np.linspace(0.01, 4, 320)), 32)
    (finding,) = KLSpike().observe(seen(shift=2.0, path=path))
    points = finding.details["kl_path"]
    assert len(points) == 64
    assert (points[0]["step"], points[-1]["step"]) == (1, 320)
    assert len(set(asked)) < 320 / 2, "each point is a forward pass"
    path, asked = path_of([5.0] * 8)
    assert KLSpike().observe(seen(shift=0.01, path=path)) == []
    assert asked == []


def test_where_the_optimizer_does_not_move_the_policy_its_steps_say_nothing_of_the_kl():
    """TRPO: the policy has moved before the first step of the value function."""
    path, _ = path_of([2.0] * 8)
    values_only = Gradients(np.array([[-np.inf, 1.0]] * 8), ("pi", "value_net"))
    (finding,) = KLSpike().observe(seen(shift=2.0, path=path, gradients=values_only))
    assert (finding.epoch, finding.minibatch) == (None, None)
    assert "kl_path" not in finding.details


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


CLIMB = [0, 20, 40, 60, 80, 100, 100, 100]
"""The best counts once a fresh window of episodes has confirmed it."""


def test_a_lasting_drop_by_half_is_a_collapse_dated_at_its_onset():
    assert collapse_events([*CLIMB, 30, 30, 30, 30]) == [(11, "performance_collapse", 0.7, 9)]


def test_a_drop_shorter_than_a_fresh_window_of_episodes_is_none():
    assert collapse_events([*CLIMB, 30, 30, 90, 95]) == []


def test_a_drop_by_less_than_half_is_none():
    assert collapse_events([*CLIMB, 55, 55, 55, 55, 55]) == []


def test_a_drop_within_the_noise_is_none():
    assert collapse_events([*CLIMB, 30, 30, 30, 30], noise=20.0) == []


def test_a_lucky_window_is_no_best_that_could_be_lost():
    """One window of episodes far above all others, which a rule that keeps the maximum would compare with for ever."""
    lucky = [0, 20, 40, 40, 40, 100, 40, 40, 40, 40, 40, 40]
    assert collapse_events(lucky) == []
    assert collapse_events([0, 20, 40, 40, 40, 100, 100, 100, 40, 40, 40, 40]) == [
        (11, "performance_collapse", 0.6, 9)
    ], "the same drop from a best that was there to stay"


def test_evaluation_noise_alone_collapses_nothing():
    """Ten thousand episodes of a policy that never changes, whose returns scatter as much as it has learned, and of
    one that now and then fails altogether; smoothed over 20. "Below half of the maximum" fires all the time."""
    rng = np.random.default_rng(0)
    normal = rng.normal(1.5, 1.0, size=10_000)
    crashes = np.where(rng.random(10_000) < 0.1, -3.0, 1.0) + 0.1 * rng.normal(size=10_000)
    for returns in (normal, crashes):
        windows = np.lib.stride_tricks.sliding_window_view(returns, 20)[::4]
        means, errors = windows.mean(axis=1), windows.std(axis=1, ddof=1) / np.sqrt(20)
        assert means.min() < 0.5 * means.max(), "this case is too easy to test anything"
        detector, found = PerformanceCollapse(), []
        for number, (mean, error) in enumerate(zip(means, errors, strict=True), start=1):
            row = {
                "update": number, "env_steps": number, "episodes": 20 + 4 * number,
                "return_smooth": float(mean), "return_stderr": float(error),
            }  # fmt: skip
            found += detector.observe(Seen(row, random=Mean(0.0, 0.05, 100)))
        assert found == []


def test_what_was_never_learned_cannot_be_lost():
    assert collapse_events([0, 2, -3, -10, -10, -10, -10]) == []


def test_recovery_is_recorded_and_arms_the_detector_again():
    events = collapse_events([*CLIMB, 30, 30, 30, 90, 90, 20, 20, 20])
    assert [(number, name, onset) for number, name, _, onset in events] == [
        (11, "performance_collapse", 9),
        (12, "recovery", 9),
        (16, "performance_collapse", 14),
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


NON_FINITE_ROWS = {
    "obs": {"observation_scale": math.nan},
    "value": {"value_scale": math.inf},
    "reward": {"reward_max": math.nan},
    "return": {"return_scale": math.nan},
    "advantage": {"advantage_scale": math.nan},
    "gradient": {"gradient_norm_policy_max": math.nan},
    "loss": {"train/loss": math.nan},
    "parameter": {"weight_norm": math.nan},
    "policy": {"kl_mean": math.nan},
}


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(ORDER)))
def test_of_a_recorded_run_the_columns_tell_in_the_same_order(earlier, later):
    row = {"update": 1, **NON_FINITE_ROWS[later], **NON_FINITE_ROWS[earlier]}
    (finding,) = NonFinite().observe(Seen(row))
    assert finding.details["quantity"] == earlier
    assert next(iter(NON_FINITE_ROWS[earlier])) in finding.message or earlier == "policy"


def test_an_infinite_kl_is_a_spike_and_no_missing_number():
    rows = [{"update": 1, "kl_mean": math.inf, "kl_max": math.inf, "ratio_max": math.inf}]
    assert [finding.event for _, finding in judge(rows)] == ["kl_spike"]


def test_in_a_recorded_run_too_a_nan_is_announced_once_until_it_is_gone():
    values = [1.0, math.nan, math.nan, 1.0, math.nan]
    rows = [{"update": n, "value_scale": value} for n, value in enumerate(values, start=1)]
    assert [n for n, finding in judge(rows) if finding.event == "nonfinite"] == [2, 5]


def test_a_collapse_is_found_again_in_the_record_alone():
    returns = [*np.linspace(0, 100, 8), *[100.0] * 4, *[10.0] * 6]
    rows = [
        {"update": n, "env_steps": n, "episodes": 20 + 10 * n, "return_smooth": value, "return_stderr": 1.0}
        for n, value in enumerate(returns, start=1)
    ]
    ((number, finding),) = judge(rows, Mean(0.0, 1.0, 20))
    assert (number, finding.event, finding.details["onset_update"]) == (15, "performance_collapse", 13)


def test_the_room_finds_its_detectors():
    assert {d.name for d in new_detectors()} == {
        "entropy_collapse", "exponential_growth", "gradient_explosion", "invariant_break", "kl_spike", "nonfinite",
        "observation_shift", "performance_collapse", "rank_collapse", "ratio_break", "reward_outlier",
        "value_divergence",
    }  # fmt: skip


def test_a_finite_number_beyond_all_others_is_named_beside_the_gradient_that_it_broke():
    """VecCheckNan is silent about 1e25, whose square is infinite in float32."""
    observations = torch.arange(3.0 * 200).reshape(200, 3) % 7
    observations[137, 2] = -1e25
    norms = np.ones((3, 2))
    norms[1, 1] = np.inf
    broken = Gradients(norms, ("pi", "value_net"))
    (finding,) = NonFinite().observe(seen(n=200, observations=observations, gradients=broken))
    assert finding.details["quantity"] == "gradient"
    outlier = finding.details["outlier"]
    assert (outlier["quantity"], outlier["env"], outlier["step"], outlier["dimension"]) == ("obs", 34, 1, 2)
    assert (
        "observation of environment 34 at step 1, dimension 2, is 1e+25 (99 % are within 6)"
        in finding.message
    )
    (plain,) = NonFinite().observe(seen(n=200, observations=observations.clip(-50), gradients=broken))
    assert "outlier" not in plain.details, "eight times the usual is no cause"
