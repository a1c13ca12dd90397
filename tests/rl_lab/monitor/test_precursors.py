"""What warned of an event, on made-up runs whose leads are known; and what only looks like a warning."""

import math

import numpy as np
import pytest

from rl_lab.monitor.detect.precursors import Precursor, band, news, precursors, precursors_of
from rl_lab.monitor.event import Event

N = 50


def run(n=N, **columns):
    return [
        {"update": i + 1, "env_steps": 100 * (i + 1), **{name: values[i] for name, values in columns.items()}}
        for i in range(n)
    ]


def noisy(n=N, seed=0, size=0.3):
    return list(np.exp(size * np.random.default_rng(seed).normal(size=n)))


def leads(rows, **arguments):
    return {p.quantity: p.lead for p in precursors(rows, **arguments)}


def test_each_quantity_has_the_lead_at_which_it_left_its_band():
    gradient, entropy, kl = noisy(seed=1), noisy(seed=2, size=0.02), noisy(seed=3)
    gradient[-6:] = [80.0] * 6
    entropy[-3:] = [0.1] * 3
    kl[-1] = 400.0
    rows = run(gradient_norm=gradient, entropy=entropy, kl_mean=kl, step_norm=noisy(seed=4))
    assert leads(rows) == {"gradient_norm": 5, "entropy": 2}
    assert [p.quantity for p in precursors(rows)] == ["gradient_norm", "entropy"], "the earliest first"
    first = precursors(rows)[0]
    assert first.value == 80.0
    assert first.low < 1 < first.high < 80


def test_in_its_own_update_only_the_rollout_can_have_warned_of_an_event():
    kl, reward = noisy(), [1.0] * N
    kl[-1] = reward[-1] = 500.0
    assert leads(run(kl_mean=kl, reward_max=reward)) == {"reward_max": 0}


def test_where_the_states_are_is_known_before_an_update_and_is_the_shift_itself():
    rows = run(observation_outside=[*[1.0] * (N - 1), 9.0])
    assert leads(rows) == {"observation_outside": 0}
    assert precursors_of("observation_shift", {"quantity": "observation_outside"}, N, rows) == ()


def test_what_was_normal_again_did_not_warn_and_one_quiet_update_is_not_normal_again():
    gone, interrupted = noisy(seed=1), noisy(seed=2)
    gone[-7:-3] = [80.0] * 4
    interrupted[-7:] = [80.0, 80.0, 80.0, 1.0, 80.0, 80.0, 80.0]
    assert leads(run(gone=gone, interrupted=interrupted)) == {"interrupted": 6}


def test_a_step_long_ago_is_part_of_the_band():
    early = noisy(seed=1)
    early[12:] = [v * 50 for v in early[12:]]
    assert leads(run(early=early)) == {}


def test_what_was_not_measured_is_neither_in_nor_out():
    sparse = [v if i % 2 else None for i, v in enumerate(noisy(seed=1))]
    sparse[-5:] = [90.0, None, 90.0, None, 90.0]
    assert leads(run(sparse=sparse, never=[None] * N)) == {"sparse": 4}


def test_numbers_that_are_none_are_out_of_every_band():
    lost = noisy(seed=1)
    lost[-4:] = [math.inf, math.nan, math.nan, math.nan]
    assert leads(run(lost=lost)) == {"lost": 3}


def test_constants_whole_numbers_and_tiny_numbers_need_a_change_that_matters():
    columns = {
        "dormant_share": [0.0] * (N - 3) + [0.01] * 3,
        "feature_rank_99": [4.0] * (N - 3) + [5.0] * 3,
        "first_kl": [1e-15] * (N - 3) + [1e-12] * 3,
        "train/learning_rate": [3e-4] * (N - 3) + [3e-2] * 3,
    }
    assert leads(run(**columns)) == {"train/learning_rate": 2}
    columns["dormant_share"][-3:] = [0.4] * 3
    assert leads(run(**columns)) == {"train/learning_rate": 2, "dormant_share": 2}


def test_a_share_that_is_nearly_one_is_judged_by_what_is_missing():
    share = [1 - 0.012 * v for v in noisy(seed=1, size=0.4)]
    share[-4:] = [0.6] * 4
    (found,) = precursors(run(effective_sample_size=share))
    assert found.lead == 3
    assert 0.6 < found.low < 0.99 < found.high < 1.2


def test_either_sign_and_both_sides_count():
    rng = np.random.default_rng(0)
    down = list(-200 + 10 * rng.normal(size=N))
    up = list(rng.normal(size=N))
    down[-4:], up[-4:] = [-900.0] * 4, [30.0] * 4
    assert leads(run(return_mean=down, other=up)) == {"return_mean": 3, "other": 3}


def test_a_schedule_and_a_learning_curve_warn_of_nothing():
    """What drifts goes on drifting, or comes to rest: neither is news, a jump off the line is."""
    t = np.arange(N)
    columns = {
        "train/learning_rate": list(3e-4 * (1 - t / 60)),
        "weight_norm": list(20 * np.exp(0.02 * t)),
        "value_scale": list(100 * (1 - np.exp(-t / 12)) + 0.1),
        "return_smooth": list(20 + 8.0 * t),
        "come_to_rest": list(np.exp(0.15 * np.minimum(t, 39))),
    }
    assert leads(run(**columns)) == {}
    columns["weight_norm"][-2:] = [400.0, 400.0]
    assert leads(run(**columns)) == {"weight_norm": 1}


def test_noise_seldom_warns():
    """40 quantities, log-normal, autocorrelated or heavy-tailed: false warnings for one event in five or fewer."""
    rng = np.random.default_rng(0)
    shocks = rng.standard_t(4, size=(50, 40, N + 20))
    walks = np.zeros_like(shocks)
    for i in range(1, shocks.shape[2]):
        walks[:, :, i] = 0.5 * walks[:, :, i - 1] + shocks[:, :, i]
    events = [
        precursors(run(**{f"q{k}": list(np.exp(0.3 * walks[e, k, 20:])) for k in range(40)}))
        for e in range(50)
    ]
    assert sum(len(found) > 0 for found in events) <= 10


def test_few_updates_make_a_wide_band_and_fewer_none():
    jump = noisy(seed=1)
    jump[-3:] = [1e4] * 3
    assert leads(run(jump=jump)[-14:]) == {"jump": 2}
    assert leads(run(jump=jump)[-9:]) == {}
    assert precursors([]) == []


def test_counters_and_doubles_are_no_quantities():
    leap = [1.0] * (N - 3) + [1e6] * 3
    assert leads(run(seconds=leap, **{"train/n_updates": leap, "kl_k3": leap, "outcome": ["x"] * N})) == {}


def test_a_collapse_is_warned_of_before_it_began_not_before_it_was_certain():
    gradient, kl = noisy(seed=1), noisy(seed=2)
    gradient[35:] = [80.0] * (N - 35)
    kl[42:] = [80.0] * (N - 42)
    smooth = [100.0] * 40 + [10.0] * (N - 40)
    rows = run(gradient_norm=gradient, kl_mean=kl, return_smooth=smooth, return_mean=smooth)
    found = precursors_of("performance_collapse", {"onset_update": 41}, N, rows)
    assert {p.quantity: p.lead for p in found} == {"gradient_norm": 5}, (
        "left its band at update 36; the KL only after the onset, and the return is the event itself"
    )
    assert precursors_of("recovery", {"onset_update": 41}, N, rows) == ()


def test_an_event_in_the_rollout_after_the_last_record_counts_from_there():
    gradient = noisy(seed=1)
    gradient[-2:] = [80.0] * 2
    (found,) = precursors_of("nonfinite", {"quantity": "obs"}, N + 1, run(gradient_norm=gradient))
    assert found.lead == 2


def test_the_quantity_that_an_event_is_about_did_not_warn_of_it():
    value = noisy(seed=1)
    value[-3:] = [900.0] * 3
    assert precursors_of("value_divergence", {"quantity": "value_scale"}, N, run(value_scale=value)) == ()


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_the_band_of_positive_values_scales_with_them(scale):
    values, times = [scale * v for v in noisy(30, 5)], list(range(30))
    low, high = band(times, values)(35)
    one_low, one_high = band(times, noisy(30, 5))(35)
    assert low == pytest.approx(scale * one_low)
    assert high == pytest.approx(scale * one_high)


def test_the_longest_beginning_of_a_name_says_what_is_news():
    assert news("kl_mean") == 1e-3
    assert news("kl_path_max") == 1e-2
    assert news("feature_rank_99") == 1.5
    assert news("feature_rank") == 0.0


# The sentence


def event(*warned, **changed):
    values = {
        "event": "kl_spike", "value": 4.47, "threshold": 0.05, "message": "kl_mean 4.47 nats", "id": 1, "run": "r",
        "update": 30, "env_steps": 61440, "precursors": warned, **changed,
    }  # fmt: skip
    return Event(**values)


def warning(quantity, lead):
    return Precursor(quantity=quantity, lead=lead, value=80.0, low=0.5, high=2.0)


def test_the_sentence_says_where_and_what_warned_in_words_for_people():
    assert event().sentence() == "kl_spike at update 30 (61,440 env steps): kl_mean 4.47 nats"
    told = event(warning("gradient_norm", 4), warning("reward_max", 0), epoch=2, minibatch=70).sentence()
    assert told == (
        "kl_spike at update 30 (epoch 3, gradient step 71, 61,440 env steps): kl_mean 4.47 nats; before it: "
        "gradient_norm 4 updates ahead (80, usually at most 2), reward_max in its own rollout (80, usually at most 2)"
    )
    low = Precursor(quantity="entropy", lead=1, value=0.1, low=0.5, high=2.0)
    assert event(low).sentence().endswith("; before it: entropy 1 update ahead (0.1, usually at least 0.5)")


def test_the_sentence_names_one_quantity_of_a_kind_and_three_kinds():
    warned = [
        warning(q, 9) for q in ("gradient_norm", "gradient_norm_max", "entropy", "value_scale", "weight_norm")
    ]
    told = event(*warned).sentence()
    assert [q in told for q in ("gradient_norm ", "gradient_norm_max", "entropy", "value_scale", "weight_norm")] == [
        True, False, True, True, False,
    ]  # fmt: skip
