"""Each event from the columns of a run alone: what it is, and its healthy look-alike that must not be one."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from rl_lab.monitor.detect.usual import Lasting, median, usual
from rl_lab.monitor.detector import judge, new_detectors
from rl_lab.monitor.detectors.invariant_break import tolerance
from rl_lab.monitor.detectors.ratio_break import spread, widths
from rl_lab.monitor.measure.limits import Limits, limits_of
from rl_lab.monitor.measure.returns import Mean

RANDOM = Mean(20.0, 2.0, 20)
CLIPPED = Limits(clip_range=0.2)


def noise(n, size, seed):
    return np.exp(size * np.random.default_rng(seed).normal(size=n))


def rows(n=60, seed=0, **changed):
    """A healthy run of PPO on CartPole that has learned its task; a column may be replaced, None takes it out."""
    columns = {
        "kl_mean": 0.004 * noise(n, 0.5, seed),
        "total_variation": 0.03 * noise(n, 0.3, seed + 1),
        "ratio_max": 1 + 0.5 * noise(n, 0.4, seed + 2),
        "ratio_p99": 1 + 0.25 * noise(n, 0.3, seed + 3),
        "ratio_outside": 0.05 * noise(n, 0.7, seed + 4),
        "effective_sample_size": 1 - 0.012 * noise(n, 0.5, seed + 5),
        "entropy": 0.55 * noise(n, 0.03, seed + 6),
        "gradient_norm_policy_max": 0.9 * noise(n, 0.3, seed + 7),
        "gradient_norm_value_max": 60 * noise(n, 0.8, seed + 8),
        "value_scale": 50 * noise(n, 0.05, seed + 9),
        "return_scale": 52 * noise(n, 0.05, seed + 10),
        "advantage_scale": 7 * noise(n, 0.3, seed + 11),
        "explained_variance": np.full(n, 0.7),
        "paid_max": np.ones(n),
        "paid_inside_max": np.ones(n),
        "paid_scale": np.ones(n),
        "observation_scale": 0.5 * noise(n, 0.2, seed + 12),
        "observation_outside": -0.3 * noise(n, 0.3, seed + 16),
        "observation_jump": 0.6 * noise(n, 0.2, seed + 17),
        "first_ratio_error": 5e-7 * noise(n, 0.4, seed + 13),
        "first_kl": np.full(n, 1e-14),
        "weight_norm": 25 + 0.02 * np.arange(n),
        "return_mean": 400 * noise(n, 0.1, seed + 14),
        "return_smooth": 400 * noise(n, 0.02, seed + 15),
        "return_stderr": np.full(n, 20.0),
        "episodes": 100 + 6 * np.arange(n),
    }
    columns |= {name: np.asarray(values) for name, values in changed.items() if values is not None}
    for name in (name for name, values in changed.items() if values is None):
        columns.pop(name)
    return [
        {"update": i + 1, "env_steps": 2048 * (i + 1), **{k: _plain(v[i]) for k, v in columns.items()}}
        for i in range(n)
    ]


def _plain(value):
    return None if value is None else float(value)


def found(table, event, limits=CLIPPED, random=RANDOM):
    """Updates at which an event of this name was found."""
    return [update for update, finding in judge(table, random, limits) if finding.event == event]


def then(n, at, before, after):
    """`before` in the updates before number `at`, `after` from it on."""
    values = np.where(np.arange(1, n + 1) < at, before, after)
    return values.astype(float)


def only(n, at, usually, once):
    values = np.full(n, float(usually))
    values[at - 1] = once
    return values


def test_a_healthy_run_has_no_events():
    for seed in range(0, 200, 20):
        assert judge(rows(seed=seed), RANDOM, CLIPPED) == []


def test_every_detector_has_nothing_to_say_of_an_algorithm_without_columns():
    assert judge([{"update": n, "env_steps": n} for n in range(1, 40)], RANDOM, CLIPPED) == []


def test_every_finding_has_a_value_a_threshold_and_one_clause_with_numbers():
    broken = {
        "kl_mean": only(60, 40, 0.004, 3.0),
        "total_variation": only(60, 40, 0.03, 0.6),
        "entropy": then(60, 40, 0.55, 0.001),
        "gradient_norm_policy_max": only(60, 40, 0.9, 900),
        "value_scale": then(60, 40, 50, 0.0),
        "paid_inside_max": only(60, 40, 1, 1e5),
        "observation_outside": only(60, 42, -0.3, 5.0),
        "first_ratio_error": then(60, 40, 5e-7, 0.5),
        "weight_norm": 25 * np.exp(0.1 * np.arange(60)),
        "feature_rank": then(60, 40, 9.0, 1.5),
        "return_smooth": then(60, 42, 400, 30),
    }
    events = judge(rows(**broken), RANDOM, CLIPPED)
    assert {finding.event for _, finding in events} == {d.name for d in new_detectors()} - {"nonfinite"}
    for _, finding in events:
        assert math.isfinite(finding.value)
        assert finding.threshold is not None
        assert any(c.isdigit() for c in finding.message)
        assert not finding.message.endswith(".")


# kl_spike


def test_a_kl_within_the_rules_own_bound_is_no_spike():
    kl = only(60, 40, 0.004, 0.12)
    assert found(rows(kl_mean=kl), "kl_spike", Limits()) == [40]
    assert found(rows(kl_mean=kl), "kl_spike", Limits(kl=0.15)) == []
    assert found(rows(kl_mean=only(60, 40, 0.004, 1.2)), "kl_spike", Limits(kl=2.0)) == [40], (
        "1 nat is too much for any rule"
    )


def test_off_policy_the_held_out_states_are_judged():
    assert found(rows(kl_mean=None, probe_kl_mean=only(60, 40, 0.004, 3.0)), "kl_spike") == [40]


def test_every_spike_is_announced():
    kl = np.full(60, 0.004)
    kl[[29, 34, 35]] = 2.0
    assert found(rows(kl_mean=kl), "kl_spike") == [30, 35, 36]


def test_off_policy_no_number_of_nats_is_too_much_for_a_thousand_steps():
    steady = 2.0 * noise(60, 0.3, 0)
    assert found(rows(kl_mean=None, probe_kl_mean=steady), "kl_spike") == []
    steady[39] = 60.0
    assert found(rows(kl_mean=None, probe_kl_mean=steady), "kl_spike") == [40]


def test_parameters_that_are_thrown_make_a_spike_of_a_kl_that_would_be_usual():
    """KL is an average over states that were visited: it may end where it often was."""
    kl, steps = 0.05 * noise(60, 0.6, 0), 0.4 * noise(60, 0.3, 1)
    kl[39:41], steps[39:41] = 0.25, 20.0
    assert found(rows(kl_mean=kl, step_norm=steps), "kl_spike") == [40, 41]
    assert found(rows(kl_mean=kl, step_norm=np.minimum(steps, 3)), "kl_spike") == [], (
        "a long step, not a throw"
    )
    assert found(rows(kl_mean=kl), "kl_spike") == []
    assert found(rows(kl_mean=kl, step_norm=steps), "kl_spike", Limits(kl=0.3)) == [], "the rule allows it"
    kl[39:41] = 0.04
    assert found(rows(kl_mean=kl, step_norm=steps), "kl_spike") == [], "the policy has hardly moved"
    kl[39:41], steps[:19] = 0.25, np.nan
    assert found(rows(kl_mean=kl, step_norm=steps), "kl_spike") == [40, 41]
    steps[:21] = np.nan
    assert found(rows(kl_mean=kl, step_norm=steps), "kl_spike") == [], "not yet twenty steps to compare with"


# ratio_break


def test_ratios_beyond_what_clipping_promises_are_a_break_with_a_small_kl_too():
    table = rows(ratio_p99=only(60, 40, 1.25, 3.5))
    assert found(table, "ratio_break") == [40]
    assert found(rows(effective_sample_size=only(60, 40, 0.99, 0.3)), "ratio_break") == [40]
    assert found(rows(total_variation=only(60, 40, 0.03, 0.14)), "ratio_break") == [40]


def test_many_clipped_samples_and_a_large_maximum_are_no_break():
    """github.com/openai/baselines/issues/456: clip_fraction says nothing of the tails, nor they of it."""
    often = {"ratio_outside": np.full(60, 0.45), "train/clip_fraction": np.full(60, 0.5)}
    assert found(rows(**often), "ratio_break") == []
    assert found(rows(ratio_max=np.full(60, 20.0)), "ratio_break") == [], (
        "Engstrom et al. saw 17 to 30 in sound runs"
    )


def test_a_rule_that_does_not_clip_breaks_no_promise():
    assert found(rows(ratio_p99=only(60, 40, 1.25, 30.0)), "ratio_break", Limits(kl=0.01)) == []


def test_the_break_is_measured_in_clip_ranges():
    assert found(rows(ratio_p99=only(60, 40, 1.25, 3.5)), "ratio_break", Limits(clip_range=0.5)) == []
    assert widths(1.2**3, 0.2) == pytest.approx(3)
    assert widths(0.5, 0.2) == 0
    assert widths(math.inf, 0.2) == math.inf


def test_spread_is_the_coefficient_of_variation_of_the_ratios():
    ratio = np.random.default_rng(0).lognormal(0, 0.4, size=500)
    ess = ratio.sum() ** 2 / (500 * (ratio**2).sum())
    assert spread(ess) == pytest.approx(ratio.std() / ratio.mean())


def test_a_clip_range_annealed_towards_zero_makes_no_break_of_a_usual_step():
    calm = {"ratio_p99": 1 + 0.01 * noise(60, 0.3, 0), "effective_sample_size": np.full(60, 0.9999)}
    table = rows(**calm, total_variation=only(60, 40, 0.002, 0.004))
    assert found(table, "ratio_break", Limits(clip_range=0.001)) == []
    wild = judge(rows(**calm, total_variation=only(60, 40, 0.002, 0.1)), RANDOM, Limits(clip_range=0.001))
    (finding,) = (f for _, f in wild if f.event == "ratio_break")
    assert "clips at 1 ± 0.001" in finding.message


# invariant_break


def test_stale_log_probabilities_break_the_invariant_once_until_it_holds_again():
    broken = np.full(60, 5e-7)
    broken[29:40] = 0.4
    broken[50:] = 0.4
    assert found(rows(first_ratio_error=broken), "invariant_break") == [30, 51]


def test_a_rollout_that_is_learned_from_ten_times_as_often_breaks_an_invariant():
    assert found(rows(gradient_steps=then(60, 40, 20, 200)), "invariant_break") == [40]
    stops_early = np.random.default_rng(0).integers(1, 20, size=60)
    stops_early[39] = 320
    assert found(rows(gradient_steps=stops_early), "invariant_break") == [], (
        "a rule that may stop early has no number"
    )
    assert found(rows(gradient_steps=then(60, 40, 20, 3)), "invariant_break") == [], "fewer: it stopped early"


def test_rounding_is_no_break_neither_in_float32_nor_of_a_narrow_gaussian():
    assert found(rows(first_ratio_error=np.full(60, 2e-3)), "invariant_break") == []
    narrow = {"log_std_min": np.full(60, -8.0), "entropy": None}
    assert found(rows(first_ratio_error=np.full(60, 0.05), **narrow), "invariant_break") == []
    assert found(rows(first_ratio_error=np.full(60, 0.05)), "invariant_break") == [1]


def test_the_tolerance_covers_what_float32_does_to_a_gaussians_log_probability():
    """One network in float32 and in float64, samples five deviations out: the difference is the rounding."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256), torch.nn.Tanh()
    )
    net.append(torch.nn.Linear(256, 1))
    x = torch.randn(2048, 64)
    with torch.no_grad():
        single = net(x).double()
        double = net.double()(x.double())
    for log_std in (0.0, -4.0, -8.0):
        std = math.exp(log_std)
        action = double + 5 * std
        log_ratio = ((action - double) ** 2 - (action - single) ** 2) / (2 * std**2)
        error = float(log_ratio.abs().max())
        assert error < tolerance(log_std)
    assert error > 1e-3, "this case is too easy to test anything"


def test_a_rule_that_may_stop_early_has_no_number_of_steps():
    steps = only(60, 40, 2, 5)
    assert found(rows(gradient_steps=steps), "invariant_break") == [40]
    assert found(rows(gradient_steps=steps), "invariant_break", Limits(kl=0.015)) == []
    stale = only(60, 40, 5e-7, 0.4)
    assert found(rows(first_ratio_error=stale), "invariant_break", Limits(kl=0.015)) == [40]


# gradient_explosion


def test_a_gradient_many_times_the_usual_is_an_explosion_of_the_part_that_exploded():
    policy = judge(rows(gradient_norm_policy_max=only(60, 40, 0.9, 90)), RANDOM, CLIPPED)
    assert [(n, f.event, f.details["quantity"]) for n, f in policy] == [
        (40, "gradient_explosion", "gradient_norm_policy_max")
    ]
    values = 60 * noise(60, 0.3, 1)
    values[39] = 30_000
    assert found(rows(gradient_norm_value_max=values), "gradient_explosion") == [40]


def test_gradients_that_grow_with_the_returns_have_not_exploded():
    """The first success on a task of rare rewards: everything the value function learns from is larger at once."""
    success = then(60, 40, 1.0, 300.0)
    grown = {"gradient_norm_value_max": 60 * success * noise(60, 0.3, 1), "return_scale": 52 * success}
    assert found(rows(gradient_norm_value_max=grown["gradient_norm_value_max"]), "gradient_explosion") == [40]
    assert found(rows(**grown), "gradient_explosion") == []


def test_heavy_tailed_gradients_are_no_explosion():
    assert all(
        found(rows(gradient_norm_value_max=60 * noise(60, 1.2, seed)), "gradient_explosion") == []
        for seed in range(8)
    )


# entropy_collapse


def test_entropy_lost_at_once_is_a_collapse_whatever_the_return():
    assert found(rows(entropy=then(60, 40, 0.55, 0.01)), "entropy_collapse") == [40]
    std = {"log_std_min": then(60, 40, -0.5, -8.0), "entropy": None}
    assert found(rows(**std), "entropy_collapse") == [40]


def test_entropy_lost_slowly_is_a_collapse_unless_the_task_is_learned():
    """A deterministic policy that balances the pole is converged; one that drops it has given up exploring."""
    slowly = 0.69 * np.exp(-0.12 * np.arange(60))
    assert slowly[-1] < 0.005 * slowly[0]
    assert found(rows(entropy=slowly), "entropy_collapse") == []
    at_chance = {"return_smooth": np.full(60, 21.0), "return_mean": np.full(60, 21.0)}
    assert len(found(rows(entropy=slowly, **at_chance), "entropy_collapse")) == 1
    lost = {"return_smooth": np.linspace(400, 100, 60)}
    assert len(found(rows(entropy=slowly, **lost), "entropy_collapse")) == 1


def test_a_gaussian_that_narrows_as_it_learns_is_healthy():
    narrowing = {"log_std_min": np.linspace(0, -3.5, 60), "entropy": None}
    assert found(rows(**narrowing, return_smooth=np.full(60, 21.0)), "entropy_collapse") == []


def test_entropy_that_falls_ever_faster_on_a_task_learned_fast_is_not_lost_at_once():
    fast = np.array([0.69, 0.68, 0.66, 0.6, 0.5, 0.35, 0.2, 0.01, *[0.01] * 52])
    assert found(rows(entropy=fast), "entropy_collapse") == []


def test_nothing_is_lost_slowly_where_nobody_can_say_how_good_the_policy_is():
    slowly = {"entropy": 0.69 * np.exp(-0.12 * np.arange(60)), "return_smooth": np.full(60, 21.0)}
    assert len(found(rows(**slowly), "entropy_collapse")) == 1
    assert found(rows(**slowly), "entropy_collapse", random=None) == []
    asleep = {"dormant_share": then(60, 40, 0.1, 0.7), "return_smooth": np.full(60, 25.0)}
    assert found(rows(**asleep), "rank_collapse", random=None) == []


# value_divergence


def test_values_that_outgrow_the_returns_for_three_updates_are_a_divergence():
    outgrown = {"value_scale": 50 * np.exp(np.maximum(0, np.arange(60) - 40) * 0.6)}
    (update,) = found(rows(**outgrown), "value_divergence")
    assert update == 45, "threefold after the second, three in a row"
    assert found(rows(value_scale=only(60, 40, 50, 500)), "value_divergence") == []


def test_a_value_function_that_dies_is_a_divergence():
    assert found(rows(value_scale=then(60, 40, 50, 0.0)), "value_divergence") == [42]


def test_values_that_fall_with_the_returns_or_have_not_learned_yet_are_healthy():
    lost = {"value_scale": then(60, 40, 50, 4.0), "return_scale": then(60, 40, 52, 4.0)}
    assert found(rows(**lost), "value_divergence") == []
    learning = 50 * (1 - np.exp(-np.arange(60) / 10)) + 0.1
    assert found(rows(value_scale=learning), "value_divergence") == []


def test_returns_that_are_all_alike_have_no_variance_to_explain():
    """CartPole balanced: returns of 100 +- 0.001, errors of 0.001, explained variance -4."""
    alike = {"explained_variance": np.full(60, -4.0), "advantage_scale": np.full(60, 0.002)}
    assert found(rows(**alike), "value_divergence") == []
    wrong = {"explained_variance": then(60, 40, 0.7, -4.0), "advantage_scale": then(60, 40, 7.0, 80.0)}
    assert found(rows(**wrong), "value_divergence") == [42]


# rank_collapse


def test_a_rank_that_falls_while_the_return_does_is_a_collapse():
    falling = {"feature_rank": np.concatenate([np.full(30, 12.0), np.full(30, 2.0)])}
    lost = {"return_smooth": np.linspace(400, 100, 60)}
    assert found(rows(**falling, **lost), "rank_collapse") == [35]
    assert found(rows(**falling), "rank_collapse") == [], "a good policy sees states that are all alike"


def test_units_that_fall_asleep_are_a_collapse_and_those_that_always_slept_are_not():
    lost = {"return_smooth": np.full(60, 25.0)}
    assert found(rows(dormant_share=then(60, 40, 0.1, 0.7), **lost), "rank_collapse") == [44]
    assert found(rows(dormant_share=np.full(60, 0.7), **lost), "rank_collapse") == []


def test_one_lucky_rank_does_not_raise_the_best():
    lost = {"return_smooth": np.full(60, 25.0)}
    assert found(rows(feature_rank=only(60, 20, 4.0, 30.0), **lost), "rank_collapse") == []


# reward_outlier


def paid(largest, scale=None, inside=None):
    """Columns of what was paid; by default the largest reward is inside an episode."""
    largest = np.asarray(largest, dtype=float)
    return {
        "paid_max": largest,
        "paid_inside_max": largest if inside is None else inside,
        "paid_scale": np.ones(len(largest)) if scale is None else scale,
    }


def test_one_reward_beyond_all_others_is_an_outlier():
    assert found(rows(**paid(only(60, 40, 1, 11))), "reward_outlier") == [40]
    assert found(rows(**paid(only(60, 40, 1, 9))), "reward_outlier") == []


def test_with_an_outlier_at_an_end_it_must_be_beyond_the_return_of_whole_episodes():
    """Whole episodes pay 400; a prize of 700 may be what the task is about."""
    for size, told in ((700, []), (3000, [40])):
        end = paid(only(60, 40, 1, size), inside=np.ones(60))
        assert found(rows(**end), "reward_outlier") == told


def test_prizes_at_ends_do_not_hide_what_is_paid_inside():
    prizes = paid(np.full(60, 300.0), inside=only(60, 40, 1, 50), scale=np.full(60, 12.0))
    assert found(rows(**prizes), "reward_outlier") == [40]


def test_all_rewards_on_another_scale_are_told_once():
    """That rewards shrink is told when they have for three updates: a part of an episode may pay little."""
    for factor, told in ((100, 40), (0.1, 42)):
        changed = then(60, 40, 1, factor)
        assert found(rows(**paid(changed, scale=changed)), "reward_outlier") == [told]


def test_another_scale_is_told_although_every_episode_has_paid_the_same():
    changed = then(60, 40, 1, 100)
    same = {"return_mean": 400 * changed}
    assert found(rows(**paid(changed, scale=changed), **same), "reward_outlier") == [40]


def test_a_few_much_larger_rewards_are_not_all_of_them():
    (finding,) = [
        finding
        for _, finding in judge(rows(**paid(only(60, 40, 1, 80), only(60, 40, 1, 9))), RANDOM, CLIPPED)
        if finding.event == "reward_outlier"
    ]
    assert finding.message.startswith("a reward is as large as 80")


def test_rewards_that_shrink_as_the_policy_gets_better_are_healthy():
    better = 1 / (1 + np.exp((np.arange(60) - 35) / 2)) + 0.02
    assert better[-1] < 0.03 * better[0]
    assert found(rows(**paid(3 * better, better)), "reward_outlier") == []


def test_the_first_success_on_a_task_of_rare_rewards_is_no_outlier():
    """Each step costs 0.05, an episode 50; after 40 updates one reaches the goal, worth 60, and is over."""
    rare = {
        **paid(then(60, 40, 0.1, 60.0), then(60, 40, 0.06, 1.4), inside=np.full(60, 0.1)),
        "return_mean": then(60, 40, -50.0, 10.0),
    }
    assert found(rows(**rare), "reward_outlier") == []


def test_an_outlier_does_not_hide_the_next_one_and_what_stays_is_usual():
    twice = only(60, 30, 1, 3000)
    twice[44] = 3000
    assert found(rows(**paid(twice)), "reward_outlier") == [30, 45]
    stays = then(60, 30, 1, 100)
    stays[44] = 3000
    assert found(rows(**paid(stays)), "reward_outlier") == [30, 45]


def test_the_first_success_where_every_episode_has_paid_the_same_is_no_outlier():
    """Also where an episode goes on after it."""
    rare = {
        **paid(then(60, 40, 0.001, 1.0), then(60, 40, 0.001, 0.02)),
        "return_mean": then(60, 40, -0.05, 0.05),
    }
    assert found(rows(**rare), "reward_outlier") == []
    known = {**rare, "return_mean": 0.02 * noise(60, 0.3, 0)}
    assert found(rows(**known), "reward_outlier") == [40]


def test_where_most_updates_pay_nothing_a_new_unit_needs_three_that_pay():
    """A prize at the end of every third update, at first worth 1 and then 3."""
    pays = np.arange(1, 61) % 3 == 0
    size = np.where(pays, then(60, 40, 1.0, 3.0), 0.0)
    table = rows(**paid(size, 0.1 * size, np.zeros(60)))
    ((update, finding),) = [(u, f) for u, f in judge(table, RANDOM, CLIPPED) if f.event == "reward_outlier"]
    assert update == 48
    assert finding.details["onset_update"] == 42
    assert "3 times as large" in finding.message


def test_one_enormous_reward_among_few_is_not_all_of_them():
    """512 rewards, three of which are not 0: their crest is that of a single one, too."""
    sparse = paid(only(60, 40, 1, 1000), only(60, 40, math.sqrt(3 / 512), 1000 / math.sqrt(512)))
    table = [{**row, "env_steps": 512 * row["update"]} for row in rows(**sparse)]
    (finding,) = [f for _, f in judge(table, RANDOM, CLIPPED) if f.event == "reward_outlier"]
    assert finding.message.startswith("a reward is")
    same = [{**row, "return_mean": 1.0} for row in table]
    assert found(same, "reward_outlier") == []


def test_inside_rewards_that_were_tiny_beside_all_others_may_grow():
    inside = then(60, 40, 1e-9, 1e-2)
    assert found(rows(**paid(np.ones(60), np.full(60, 0.1), inside)), "reward_outlier") == []


def test_nothing_is_known_of_rewards_before_twenty_episodes():
    early = {**paid(only(60, 10, 1, 50)), "episodes": 2 * np.arange(60)}
    assert found(rows(**early), "reward_outlier") == []
    uncounted = rows(**paid(only(60, 30, 1, 50)), episodes=None)
    assert found(uncounted, "reward_outlier") == [30]


# observation_shift


def test_all_environments_that_jump_at_once_are_a_shift_in_that_very_update():
    assert found(rows(observation_jump=only(60, 40, 0.8, 1.7)), "observation_shift") == [40]
    assert found(rows(observation_jump=only(60, 40, 0.8, 1.4)), "observation_shift") == [], "noise"
    assert found(rows(observation_jump=only(60, 40, 2.0, 2.9)), "observation_shift") == [], (
        "it has jumped before"
    )
    assert found(rows(observation_jump=only(60, 15, 0.8, 9.0)), "observation_shift") == [], "too early to say"
    few = {"observation_jump": only(60, 40, 0.8, 9.0), "episodes": np.arange(60) // 3}
    assert found(rows(**few), "observation_shift") == [], "13 episodes have not seen everything"


def test_an_hour_at_which_everything_changes_is_a_shift_once_in_a_run():
    hours = np.full(400, 0.8)
    hours[99::100] = 40.0
    assert found(rows(400, observation_jump=hours), "observation_shift") == [100]


def test_a_jump_and_the_states_that_are_elsewhere_after_it_are_one_shift():
    shift = {"observation_jump": only(60, 40, 0.8, 9.0), "observation_outside": only(60, 42, -0.3, 5.0)}
    assert found(rows(**shift), "observation_shift") == [40]


def test_states_far_outside_of_their_range_are_a_shift_told_once():
    shift = only(60, 42, -0.3, 1.2)
    assert found(rows(observation_outside=shift), "observation_shift") == [42]
    shift[42:44] = 1.5
    assert found(rows(observation_outside=shift), "observation_shift") == [42]
    assert found(rows(observation_outside=only(60, 42, -0.3, 0.9)), "observation_shift") == []


def test_a_part_of_an_episode_is_no_measure_of_what_states_look_like():
    """Updates of a few steps: one long episode swings up in a hundred of them."""
    for per_update, told in ((0.1, []), (1, [42])):
        swing = {"observation_outside": only(60, 42, -0.3, 3.0), "episodes": 100 + per_update * np.arange(60)}
        assert found(rows(**swing), "observation_shift") == told
    assert found(rows(observation_outside=only(60, 42, 0, 3.0), episodes=None), "observation_shift") == [42]


# An update that was taken back


def undone(table, *numbers):
    """The same rows, where a guard has taken back these updates: the row after each of them says so."""
    return [{**row, "taken_back": 1 if row["update"] - 1 in numbers else None} for row in table]


def test_what_an_update_that_was_taken_back_was_like_is_forgotten():
    """The most entropy there was, the best rank, the largest reward: each was only in what has never been."""
    most = rows(entropy=only(60, 20, 0.004, 0.69), return_smooth=np.full(60, 21.0))
    assert found(most, "entropy_collapse") != []
    assert found(undone(most, 20), "entropy_collapse") == []
    rank = np.full(60, 4.0)
    rank[19:25] = 30.0
    lucky = rows(feature_rank=rank, return_smooth=np.full(60, 25.0))
    assert found(lucky, "rank_collapse") != []
    assert found(undone(lucky, *range(20, 26)), "rank_collapse") == []
    prize = np.ones(60)
    prize[[9, 39]] = 5.0, 30.0
    hidden = rows(**paid(prize))
    assert found(hidden, "reward_outlier") == []
    assert found(undone(hidden, 10), "reward_outlier") == [40]


def test_what_comes_back_after_an_update_was_taken_back_is_announced_anew():
    broken = np.full(60, 0.03)
    broken[39:41] = 0.6
    table = rows(total_variation=broken)
    assert found(table, "ratio_break") == [40]
    assert found(undone(table, 40), "ratio_break") == [40, 41]
    nan = rows(value_scale=np.where(np.isin(np.arange(60), [39, 40]), math.nan, 50.0))
    assert found(nan, "nonfinite") == [40]
    assert found(undone(nan, 40), "nonfinite") == [40, 41]


def test_a_collapse_is_told_once_although_its_update_was_taken_back():
    table = rows(return_smooth=then(60, 40, 400, 30))
    (at,) = found(table, "performance_collapse")
    assert found(undone(table, at), "performance_collapse") == [at]


# What all share


def test_the_band_of_what_is_usual_is_scale_free_and_robust():
    values = np.exp(np.random.default_rng(1).normal(-4, 0.6, size=20))
    band, larger = usual(values), usual(7 * values)
    assert larger.above(4) == pytest.approx(7 * band.above(4))
    assert band.centre == pytest.approx(np.exp(np.median(np.log(values))))
    wild = values.copy()
    wild[:3] = 1e9
    assert usual(wild).above(4) < 20 * band.above(4)
    assert usual(values[:4]) is None


def test_a_lasting_state_begins_once_and_again_after_it_was_over():
    state = Lasting(begins=2, ends=3)
    course = [0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0]
    assert [state.begins(bool(holds)) for holds in course] == [
        False, False, True, False, False, False, False, False, False, False, False, True, False,
    ]  # fmt: skip


def test_numbers_that_are_none_do_not_count_as_usual():
    values = [0.01, math.nan, 0.02, 0.03, math.nan, 0.04, 0.05]
    assert median(values) == 0.03
    assert usual(values).centre == pytest.approx(0.03)
    assert usual([math.nan] * 20) is None


@pytest.mark.parametrize(
    ("space", "limit"),
    [
        (spaces.Box(-1, 1, (3,)), 0.03),
        (spaces.MultiBinary(4), 0.04),
        (spaces.MultiDiscrete([3, 3]), 0.01),
        (spaces.Discrete(5), 0.01),
    ],
)
def test_sb3_contribs_trpo_limits_a_mean_over_dimensions_except_of_multidiscrete_actions(space, limit):
    trpo = SimpleNamespace(action_space=space, target_kl=0.01, cg_max_steps=15)
    assert limits_of(trpo).kl == pytest.approx(limit)
