"""Every column of updates.jsonl against somebody else's computation of it: torch, scipy, linear algebra, a loop."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from rl_lab.monitor.detectors.observation_shift import JUMP
from rl_lab.monitor.measure.activations import Activations, listening
from rl_lab.monitor.measure.course import Courses
from rl_lab.monitor.measure.distributions import Categorical, Gaussian, Step
from rl_lab.monitor.measure.gradients import Gradients
from rl_lab.monitor.measure.limits import Limits
from rl_lab.monitor.measure.numbers import length, percentile, rms, variance
from rl_lab.monitor.measure.paid import Payments
from rl_lab.monitor.measure.path import KLPath
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.update import Update, all_quantities, measure
from rl_lab.monitor.measure.visited import AT_ONCE, Visits
from rl_lab.monitor.quantities import NotApplicable, ranks

N, A = 300, 3
RNG = np.random.default_rng(0)


def gaussian(n=N, spread=0.3):
    return Gaussian(RNG.normal(size=(n, A)), spread * RNG.normal(size=(n, A)))


OLD, HELD_OUT = gaussian(), gaussian(50)
NEW = Gaussian(OLD.mean + 0.2 * RNG.normal(size=(N, A)) * [1, 2, 3], OLD.log_std + 0.1)
HELD_OUT_NEW = Gaussian(HELD_OUT.mean * 1.1, HELD_OUT.log_std - 0.05)
LOG_RATIO, FIRST = 0.3 * RNG.normal(size=N), 1e-3 * RNG.normal(size=N)
REWARDS, VALUES, RETURNS, ADVANTAGES = (s * RNG.normal(size=(N,)).astype(np.float32) for s in (2, 5, 7, 3))
OBSERVATIONS = torch.as_tensor(RNG.normal(size=(N, 4)), dtype=torch.float32) * 11
NAMES = (
    "mlp_extractor.policy_net.0.weight",
    "mlp_extractor.value_net.0.weight",
    "action_net.weight",
    "log_std",
)
NORMS = RNG.lognormal(size=(20, 4))
BEFORE, AFTER, MOMENTS = (torch.as_tensor(RNG.normal(size=70), dtype=torch.float32) for _ in range(3))
PATH = np.array([0.001, 0.02, 0.05, 0.03, 0.04])
POLICY, PREACTIVATIONS, VALUE = (torch.as_tensor(RNG.normal(size=(N, k))).float() for k in (8, 8, 5))
POLICY[:, 3], POLICY[:, 4] = (
    1e-4,
    1.0,
)  # a unit that is dormant, and one that is not but says the same of all states

PAYMENTS, PAID, ENDS = Payments(), 6 * RNG.normal(size=(700, 3)), RNG.random(size=(700, 3)) < 0.1
PAID[np.unravel_index(np.abs(PAID).argmax(), PAID.shape)] *= 2
ENDS[np.unravel_index(np.abs(PAID).argmax(), PAID.shape)] = True
for rewards, dones in zip(PAID, ENDS, strict=True):
    PAYMENTS.step(rewards, dones)
WALK = [RNG.normal(size=(N, 4)) * RNG.lognormal(size=4) + RNG.normal(size=4) for _ in range(49)]
WALK += [RNG.normal(size=(N, 4)) * [1, 1, 40 + i, 1] + [0, 9, 0, i] for i in range(3)]


def visiting(rollouts):
    """What is known after these rollouts."""
    visits = Visits()
    return [visits.follow(Rollout(torch.as_tensor(s), torch.zeros(len(s), A), 100)) for s in rollouts][-1]


def following(*rollouts, starts=()):
    """What is known after rollouts [steps, envs, entries]; starts: (step, env) of the last where an episode begins."""
    courses = Courses()
    for states in rollouts:
        steps, envs = states.shape[:2]
        begins = np.zeros((envs, steps), dtype=np.float32)
        if states is rollouts[-1]:
            for step, env in starts:
                begins[env, step] = 1
        flat = torch.as_tensor(states.swapaxes(0, 1).reshape(steps * envs, -1))
        course = courses.follow(Rollout(flat, torch.zeros(steps * envs, A), steps, starts=begins.ravel()))
    return course


SERIES = [np.cumsum(RNG.normal(size=(30, 9, 4)), axis=0) for _ in range(2)]
BEGUN = [(7, e) for e in range(7)] + [(19, 2), (19, 5), (0, 1)]
SERIES[1][12, :, 2] += 80 * RNG.choice([-1, 1], 9)
SERIES[1][12:, :, 1] += 25
SERIES[1][7:, :, 3] -= 1e3  # new episodes in seven of nine


UPDATE = Update(
    step=Step(OLD, NEW, LOG_RATIO),
    rollout=Rollout(
        OBSERVATIONS, torch.zeros(N, A), 100,
        log_probs=FIRST, rewards=REWARDS, values=VALUES, returns=RETURNS, advantages=ADVANTAGES,
    ),
    paid=PAYMENTS.take(),
    visited=visiting(WALK),
    course=following(*SERIES, starts=BEGUN),
    behaviour_log_ratio=FIRST,
    probe=Step(HELD_OUT, HELD_OUT_NEW, np.zeros(50)),
    gradients=Gradients(NORMS, NAMES),
    path=KLPath(range(1, 6), 5, lambda i: PATH[i], steps_per_epoch=2),
    activations=Activations(
        layers={"policy": POLICY, "value": VALUE},
        features=POLICY, preactivations=PREACTIVATIONS, value_features=VALUE,
    ),
    old_parameters=BEFORE, new_parameters=AFTER, optimizer=MOMENTS,
    limits=Limits(max_grad_norm=2.0),
    logged={"train/approx_kl": 0.125},
)  # fmt: skip


def normal(policy):
    """The same policy, as torch's."""
    return torch.distributions.Normal(torch.tensor(policy.mean), torch.tensor(policy.log_std).exp())


def kl(old, new):
    return torch.distributions.kl_divergence(normal(old), normal(new)).numpy()


def order(values, q):
    """The order statistic, by its definition."""
    return sorted(values)[math.ceil(q / 100 * (len(values) - 1))]


def effective_rank(matrix):
    s = np.linalg.svd(matrix.numpy().astype(float), compute_uv=False)
    return math.exp(stats.entropy(s / s.sum()))


def energies(matrix):
    return np.linalg.svd(matrix.numpy().astype(float), compute_uv=False) ** 2


def highest_jump():
    """By its definition, a step, an entry and an environment at a time."""
    series, offset = np.concatenate([SERIES[0][-5:], SERIES[1]]), 5
    begun = {(step + offset, env) for step, env in BEGUN}
    low, high = {}, {}
    for t, d in itertools.product(range(1, len(series) - 1), range(4)):
        x = series[:, :, d]
        bends = sorted(
            abs(x[t + 1, e] - x[t, e] - (x[t, e] - x[t - 1, e]))
            for e in range(9)
            if not {(t, e), (t + 1, e)} & begun
        )
        if len(bends) >= 4:
            many = len(bends) >= 8
            low[t, d] = bends[len(bends) // 4 if many else 0]
            high[t, d] = bends[math.ceil(0.75 * len(bends)) - 1 if many else -1]
    found = []
    for t, d in low:
        if {(t - 1, d), (t + 1, d), (t + 2, d)} <= low.keys():
            beside = max(high[t - 1, d], high[t + 2, d], series[:, :, d].std() / 100)
            found.append(min(low[t, d], low[t + 1, d]) / beside)
    return max(found)


def outside(series, least):
    """Of one number per rollout: by how much of its width the last three are outside of the 40 before."""
    before, last = series[-43:-3], series[-3:]
    width = max(max(before) - min(before), max(last) - min(last), least)
    return max((x for x in (min(last) - max(before), min(before) - max(last))), default=0) / width


def furthest():
    found = []
    for entry in range(4):
        spreads = [math.log(statistics.pstdev(s[:, entry])) for s in WALK]
        half = math.exp(statistics.median(spreads[-43:-3])) / 2
        found += [outside(spreads, math.log(1.4)), outside([s[:, entry].mean() for s in WALK], half)]
    assert len({round(x, 6) for x in found}) == 8
    return max(found)


def mean_shift():
    same_spread = Gaussian(OLD.mean, NEW.log_std)
    return kl(same_spread, NEW).sum(1).mean()


EACH, HELD, RATIO = kl(OLD, NEW), kl(HELD_OUT, HELD_OUT_NEW).sum(1), np.exp(LOG_RATIO)
WHOLE, OF_VALUE, OF_POLICY = NORMS, NORMS[:, [1]], NORMS[:, [0, 2, 3]]
LENGTHS = {
    name: [math.hypot(*row) for row in part]
    for name, part in [("all", WHOLE), ("v", OF_VALUE), ("p", OF_POLICY)]
}
CHANGE = math.dist(AFTER.tolist(), BEFORE.tolist())
STDS = normal(NEW).stddev.log()
EXPECTED = {
    "kl_mean": EACH.sum(1).mean(),
    "kl_p95": order(EACH.sum(1), 95),
    "kl_p99": order(EACH.sum(1), 99),
    "kl_max": EACH.sum(1).max(),
    "reverse_kl_mean": kl(NEW, OLD).sum(1).mean(),
    "kl_mean_shift": mean_shift(),
    "kl_covariance": EACH.sum(1).mean() - mean_shift(),
    "kl_worst_dimension": EACH[:, 2].mean() / EACH.sum(1).mean(),
    "total_variation": sum(abs(r - 1) for r in RATIO) / N / 2,
    "kl_k1": -math.log(stats.gmean(RATIO)),
    "kl_k3": RATIO.mean() - 1 - math.log(stats.gmean(RATIO)),
    "kl_k1_error": -math.log(stats.gmean(RATIO)) - EACH.sum(1).mean(),
    "kl_k3_error": RATIO.mean() - 1 - math.log(stats.gmean(RATIO)) - EACH.sum(1).mean(),
    "approx_kl_error": 0.125 - EACH.sum(1).mean(),
    "probe_kl_mean": HELD.mean(),
    "probe_kl_p95": order(HELD, 95),
    "probe_kl_max": HELD.max(),
    "ratio_max": RATIO.max(),
    "ratio_min": RATIO.min(),
    "ratio_p99": order(RATIO, 99),
    "ratio_outside": sum(not 0.8 <= r <= 1.2 for r in RATIO) / N,
    "effective_sample_size": RATIO.sum() ** 2 / (RATIO**2).sum() / N,
    "first_ratio_error": max(abs(FIRST)),
    "first_kl": sum(math.expm1(x) - x for x in FIRST) / N,
    "entropy": normal(NEW).entropy().sum(1).mean().item(),
    "log_std_min": STDS.min().item(),
    "log_std_max": STDS.max().item(),
    "log_std_mean": STDS.mean().item(),
    "explained_variance": 1 - np.var(RETURNS.astype(float) - VALUES) / np.var(RETURNS.astype(float)),
    "value_scale": math.hypot(*VALUES) / math.sqrt(N),
    "return_scale": math.hypot(*RETURNS) / math.sqrt(N),
    "advantage_scale": np.std(ADVANTAGES.astype(float)),
    "reward_scale": math.hypot(*REWARDS) / math.sqrt(N),
    "reward_max": max(abs(REWARDS)),
    "paid_scale": math.sqrt(sum(r * r for step in PAID for r in step) / 2100),
    "paid_max": max(abs(r) for step in PAID for r in step),
    "paid_inside_max": max(abs(r) for r, is_end in zip(PAID.flat, ENDS.flat, strict=True) if not is_end),
    "observation_outside": furthest(),
    "observation_jump": highest_jump(),
    "observation_scale": math.hypot(*OBSERVATIONS.flatten().tolist()) / math.sqrt(4 * N),
    "observation_max": OBSERVATIONS.abs().max().item(),
    "weight_norm": math.hypot(*AFTER.tolist()),
    "optimizer_norm": math.hypot(*MOMENTS.tolist()),
    "gradient_norm": np.mean(LENGTHS["all"]),
    "gradient_norm_max": max(LENGTHS["all"]),
    "gradient_norm_policy": np.mean(LENGTHS["p"]),
    "gradient_norm_policy_max": max(LENGTHS["p"]),
    "gradient_norm_value": np.mean(LENGTHS["v"]),
    "gradient_norm_value_max": max(LENGTHS["v"]),
    "gradient_clipped_share": sum(x > 2 for x in LENGTHS["all"]) / 20,
    "minibatches": 20,
    "gradient_steps": 5,
    "epochs": 2.5,
    "step_norm": CHANGE,
    "relative_step": CHANGE / math.hypot(*BEFORE.tolist()),
    "kl_path_first": 0.001,
    "kl_path_max": 0.05,
    "kl_path_overshoot": 0.05 / 0.04,
    "kl_path_jump": 0.03,
    "feature_rank": effective_rank(POLICY),
    "feature_rank_99": 1 + int(np.searchsorted(np.cumsum(energies(POLICY)) / energies(POLICY).sum(), 0.99)),
    "stable_rank": np.linalg.norm(POLICY) ** 2 / np.linalg.norm(POLICY, 2) ** 2,
    "feature_norm": np.linalg.norm(POLICY) / math.sqrt(N),
    "preactivation_norm": np.linalg.norm(PREACTIVATIONS) / math.sqrt(N),
    "value_feature_rank": effective_rank(VALUE),
    "dormant_share": 1 / 13,
    "saturated_share": 2 / 13,
}  # fmt: skip
OF_OFF_POLICY = {
    "action_drift",
    "greedy_changed",
    "probe_entropy",
    "q_scale",
}  # tests/rl_lab/monitor/test_off_policy.py


@pytest.mark.parametrize("name", sorted(all_quantities().keys() - OF_OFF_POLICY))
def test_a_quantity_is_what_somebody_else_computes(name):
    assert name in EXPECTED, "a new quantity needs an independent computation here"
    assert all_quantities()[name](UPDATE) == pytest.approx(EXPECTED[name], rel=1e-6)


def test_the_example_is_hard():
    """A mix-up of parts, axes, directions or percentiles must show."""
    assert len({round(value, 9) for value in EXPECTED.values()}) > len(EXPECTED) - 4
    assert 0 < EXPECTED["gradient_clipped_share"] < 1
    assert 0 < EXPECTED["ratio_outside"] < 1
    assert EXPECTED["feature_rank_99"] < 8


def test_what_was_paid_is_counted_once_and_nothing_paid_is_missing():
    assert PAYMENTS.take() is None
    PAYMENTS.step(np.array([3.0, np.nan]), np.array([True, True]))
    paid = PAYMENTS.take()
    assert math.isnan(paid.scale)
    assert math.isnan(paid.largest)
    assert paid.largest_inside is None
    PAYMENTS.step(np.array([np.nan]), np.array([False]))
    assert math.isnan(PAYMENTS.take().largest_inside)
    PAYMENTS.step(np.array([-4.0, 3.0]), np.array([False, True]))
    assert PAYMENTS.take().largest_inside == 4


def test_a_step_that_cuts_an_episode_off_is_like_any_other_once_there_have_been_some():
    payments, found = Payments(), []
    for _ in range(2):
        for cut in ((), (1,)):
            payments.step(np.array([1.0, 7.0, 9.0]), np.array([False, True, True]), cut)
        found.append(payments.take().largest_inside)
    assert found == [1, 7]


def test_another_unit_is_outside_and_a_policy_that_gets_better_is_not():
    measured = all_quantities()["observation_outside"]
    rollouts = [RNG.normal(size=(N, 3)) for _ in range(40)]
    unit = [s * [1, 0.2, 1] for s in (rollouts[0], rollouts[1], rollouts[2])]
    assert measured(Update(visited=visiting(rollouts + unit))) > 3
    assert measured(Update(visited=visiting(rollouts + unit[:2]))) < 0, "not for three rollouts yet"
    better = [RNG.normal(size=(N, 3)) * math.exp(-0.3 * i) for i in range(43)]
    assert 0 < measured(Update(visited=visiting(better))) < 0.2
    sudden = rollouts + [s * 0.5**i for i, s in enumerate(rollouts[:3], start=1)]
    assert measured(Update(visited=visiting(sudden))) < 1, "it goes on changing"


def test_a_range_is_never_narrower_than_a_factor_of_1_4_and_half_a_deviation():
    measured, state = all_quantities()["observation_outside"], RNG.normal(size=(N, 2))
    state = (state - state.mean(0)) / state.std(0)
    steady = [state] * 40
    for factor in (1.3, 1.5):
        outside = measured(Update(visited=visiting(steady + [factor * state] * 3)))
        assert outside == pytest.approx(math.log(factor) / math.log(1.4))
    for shift in (0.4, 0.6):
        outside = measured(Update(visited=visiting(steady + [state + shift] * 3)))
        assert outside == pytest.approx(2 * shift)


def test_states_need_rollouts_before_them_and_finite_numbers():
    states = [RNG.normal(size=(N, 2)) for _ in range(23)]
    assert visiting(states[1:]) is None
    assert visiting(states).means.shape == (23, 2)
    assert visiting([*states, np.full((N, 2), np.nan)]) is None
    assert visiting([np.arange(N)] * 30) is None, "numbers of choices have no unit"
    assert visiting([*states, RNG.normal(size=(N, 3))]) is None, "other observations than before"
    assert visiting([*states, *(RNG.normal(size=(N, 3)) for _ in range(23))]).means.shape == (23, 3)


def test_a_flag_that_is_up_for_the_first_time_is_no_shift():
    states = [RNG.normal(size=(N, 2)) for _ in range(43)]
    for state in states[-3:]:
        state[:, 1] = np.arange(N) % 20 == 0
    for state in states[:-3]:
        state[:, 1] = 0.0
    measured = all_quantities()["observation_outside"]
    assert measured(Update(visited=visiting(states))) < 0
    with pytest.raises(NotApplicable):
        measured(Update(visited=visiting([np.full((N, 2), 7.0)] * 30)))


def test_an_image_counts_as_one_entry():
    pixels = [RNG.integers(0, 255, size=(70, 130, 130)).astype(np.uint8) for _ in range(23)]
    assert pixels[0].size > AT_ONCE, "several pieces"
    visited = visiting(pixels)
    assert visited.means.shape == (23, 1)
    assert visited.means[-1, 0] == pytest.approx(pixels[-1].mean(), rel=1e-12)
    assert visited.variances[-1, 0] == pytest.approx(pixels[-1].var(), rel=1e-12)
    darker = pixels + [image // 4 for image in pixels[:3]]
    assert all_quantities()["observation_outside"](Update(visited=visiting(darker))) > 1


def smooth(rng, steps):
    """Sixteen slow pendulums that nobody pushes: [steps, envs, entries]."""
    angle = 0.02 * np.arange(steps)[:, None] + rng.uniform(0, 7, size=16)
    return np.stack([np.cos(angle), np.sin(angle)], axis=2)


def test_another_unit_is_a_jump_wherever_it_begins_and_another_speed_is_none():
    measured = all_quantities()["observation_jump"]
    first, second = np.split(smooth(np.random.default_rng(0), 60), 2)
    assert measured(Update(course=following(first, second))) < 1.1
    for begins in (0, 11, 27):
        changed, turned = second.copy(), second.copy()
        changed[begins:, :, 0] *= 3
        turned[begins:] += np.arange(30 - begins)[:, None, None]
        assert measured(Update(course=following(first, changed))) > 3
        assert measured(Update(course=following(first, turned))) < 1.1, "a speed changes, a place does not"


def test_a_jump_in_the_last_step_is_seen_with_the_next_rollout():
    measured = all_quantities()["observation_jump"]
    first, second = np.split(smooth(np.random.default_rng(0), 60), 2)
    first[-1] += 9
    second += 9
    assert measured(Update(course=following(first))) < 1.1
    assert measured(Update(course=following(first, second))) > 10


def test_jumps_between_episodes_and_of_few_environments_do_not_count():
    measured = all_quantities()["observation_jump"]
    states = smooth(np.random.default_rng(0), 40)
    begun = states.copy()
    begun[20:] += 50
    everywhere = [(20, env) for env in range(16)]
    assert measured(Update(course=following(begun, starts=everywhere))) < 1.1
    assert measured(Update(course=following(begun, starts=everywhere[:-4]))) > 10, "four say it"
    assert measured(Update(course=following(begun, starts=everywhere[:-3]))) < 1.1
    beside = states.copy()
    beside[20:, :12] += 50
    beside[22:] += 9
    assert measured(Update(course=following(beside, starts=everywhere[:12]))) > 10, (
        "a reset beside it hides nothing"
    )
    some = states.copy()
    some[20:, :4] += 50
    assert measured(Update(course=following(some))) < 1.1, "twelve of sixteen saw nothing"
    assert following(states[:, :3]) is None
    with pytest.raises(NotApplicable):
        measured(Update(course=following(np.ones((40, 16, 2)))))
    with pytest.raises(NotApplicable):
        measured(Update(course=following(np.full((40, 16, 2), np.nan))))


def test_few_environments_are_judged_by_their_least_and_their_largest():
    """Of four, the second and the third say too little: random policies would jump all the time."""
    measured = all_quantities()["observation_jump"]
    rng = np.random.default_rng(1)
    for envs in (4, 6, 8):
        noise = rng.random(size=(2000, envs, 3))
        assert 0.2 < measured(Update(course=following(noise))) < JUMP
    shifted = smooth(rng, 40)[:, :4]
    shifted[20:] += 9
    assert measured(Update(course=following(shifted))) > 10


def test_rollouts_of_a_single_step_have_the_steps_before_them_beside():
    measured = all_quantities()["observation_jump"]
    states = smooth(np.random.default_rng(0), 12)
    states[7:] += 9
    seen = [following(*(states[i : i + 1] for i in range(n))) for n in range(1, 13)]
    with pytest.raises(NotApplicable):
        measured(Update(course=seen[4]))
    assert [n for n in range(6, 13) if measured(Update(course=seen[n - 1])) > 5] == [10]


def test_flags_and_clocks_have_no_course_to_leave():
    measured = all_quantities()["observation_jump"]
    states = smooth(np.random.default_rng(0), 40)
    states[:, :, 1] = (np.arange(40) > 12)[:, None]
    assert measured(Update(course=following(states))) < 1.1
    states[:, :, 1] = (np.arange(40) % 20)[:, None]
    assert measured(Update(course=following(states))) < 1.1


def test_of_many_entries_some_are_looked_at_and_images_are_not():
    states = np.repeat(smooth(np.random.default_rng(0), 40), 100, axis=2)
    assert following(states).observations.shape == (40, 64, 16)
    assert following(np.repeat(states, 6, axis=2)) is None, "an image of floats"
    assert following((100 + 100 * states).astype(np.uint8)) is None
    assert following(states, states[:, :, :3]).observations.shape == (40, 3, 16), (
        "other observations than before"
    )


def test_without_its_parts_a_quantity_is_missing():
    assert set(measure(Update(), level=2).values()) == {None}


def test_broken_numbers_are_measured_without_a_word(recwarn):
    """A NaN is a finding; it must break neither the measuring nor the training that is measured."""
    bad = Gaussian(np.full((N, A), np.nan), np.full((N, A), np.inf))
    nan = np.full(N, np.nan, np.float32)
    row = measure(
        Update(
            step=Step(OLD, bad, nan.astype(float)),
            rollout=Rollout(
                OBSERVATIONS * np.nan, torch.zeros(N, A), 100,
                rewards=nan, values=nan, returns=np.full(N, np.inf, np.float32), advantages=nan,
            ),
            behaviour_log_ratio=nan,
            probe=Step(OLD, bad, nan.astype(float)),
            gradients=Gradients(np.full((20, 4), np.nan), NAMES),
            path=KLPath(range(1, 6), 5, lambda i: math.nan),
            activations=Activations(
                layers={"policy": POLICY * np.nan}, features=POLICY * np.inf, preactivations=POLICY * np.nan,
                value_features=VALUE * np.nan,
            ),
            old_parameters=BEFORE, new_parameters=AFTER * np.nan, optimizer=MOMENTS * np.inf,
            limits=Limits(max_grad_norm=2.0), logged={"train/approx_kl": math.nan},
        ),
        level=2,
    )  # fmt: skip
    finite = {name for name, value in row.items() if value is not None and math.isfinite(value)}
    assert finite == {"minibatches", "gradient_steps", "gradient_clipped_share", "ratio_outside"}, (
        "they count"
    )
    assert row["gradient_clipped_share"] == row["ratio_outside"] == 1, "a NaN is within no limit"
    assert not recwarn.list


def test_one_nan_among_many_does_not_hide():
    one = LOG_RATIO.copy()
    one[17] = np.nan
    row = measure(Update(step=Step(OLD, NEW, one)))
    assert all(
        math.isnan(row[name]) for name in ("ratio_max", "ratio_p99", "kl_k1", "kl_k3", "total_variation")
    )
    assert row["kl_mean"] == pytest.approx(EXPECTED["kl_mean"]), "which needs no ratio"


@pytest.mark.parametrize("size", [1, 2, 5, 20, 21, 40, 100, 101, 2048])
@pytest.mark.parametrize("q", [95, 99])
def test_percentiles_are_numpys(size, q):
    values = RNG.normal(size=size)
    assert percentile(values, q) == np.percentile(values, q, method="higher")
    values[size // 2] = np.inf
    assert percentile(values, q) == np.percentile(values, q, method="higher")
    values[0] = np.nan
    assert math.isnan(percentile(values, q))


def test_lengths_and_variances_are_numpys_and_do_not_overflow():
    values = RNG.normal(size=77).astype(np.float32) * 3 + 1e3
    assert rms(values) == pytest.approx(np.sqrt(np.mean(values.astype(float) ** 2)))
    assert variance(values) == pytest.approx(np.var(values.astype(float)))
    assert length(torch.full((4,), 1e30)) == pytest.approx(2e30), "whose squares are no float32"
    assert length(torch.tensor([3, 4], dtype=torch.uint8)) == 5


# The estimators of the KL, where everything is known.


def test_both_estimators_are_right_in_the_mean_and_k1_can_be_negative():
    n, shift = 400_000, 0.5
    old, new = (Gaussian(np.full((n, 1), m), np.zeros((n, 1))) for m in (0.0, shift))
    actions = RNG.normal(size=n)
    row = measure(
        Update(step=Step(old, new, shift * actions - shift**2 / 2), logged={"train/approx_kl": 0.1})
    )
    assert row["kl_mean"] == pytest.approx(shift**2 / 2)
    assert row["kl_k1"] == pytest.approx(row["kl_mean"], rel=0.02)
    assert row["kl_k3"] == pytest.approx(row["kl_mean"], rel=0.02)
    assert row["approx_kl_error"] == pytest.approx(-0.025)
    few = Step(
        Gaussian(old.mean[:8], old.log_std[:8]), Gaussian(new.mean[:8], new.log_std[:8]), np.full(8, 0.2)
    )
    row = measure(Update(step=few))
    assert row["kl_k1"] < 0 < row["kl_k3"]
    assert row["kl_k1_error"] == pytest.approx(-0.2 - shift**2 / 2)


def test_shares_of_dimensions_need_two_of_them_and_a_kl():
    one = Gaussian(OLD.mean[:, :1], OLD.log_std[:, :1])
    moved = Gaussian(one.mean + 1, one.log_std)
    assert measure(Update(step=Step(one, moved, LOG_RATIO)))["kl_worst_dimension"] is None
    assert measure(Update(step=Step(OLD, OLD, LOG_RATIO)))["kl_worst_dimension"] is None


def test_choices_have_no_spread_but_a_worst_dimension():
    old = Categorical((np.log([[0.5, 0.5]]), np.log([[0.2, 0.3, 0.5]])))
    new = Categorical((np.log([[0.5, 0.5]]), np.log([[0.5, 0.3, 0.2]])))
    row = measure(Update(step=Step(old, new, np.zeros(1))))
    assert row["kl_worst_dimension"] == 1
    assert row["kl_mean"] == pytest.approx(special.rel_entr([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]).sum())
    assert row["log_std_min"] is row["log_std_mean"] is row["kl_covariance"] is None


# Observations.


def scales(observations):
    row = measure(Update(rollout=Rollout(observations, torch.zeros(8), 8)))
    return row["observation_scale"], row["observation_max"]


def test_images_and_dictionaries_have_a_scale_and_numbers_of_choices_have_none():
    image = torch.full((8, 3, 4, 4), 200, dtype=torch.uint8)
    assert scales(image) == (pytest.approx(200), 200), "of bytes, whose squares are no bytes"
    both = {"a": torch.full((8, 2), -3.0), "b": torch.full((8, 6), 1.0), "choice": torch.full((8, 1), 1000)}
    assert scales(both) == (pytest.approx(math.sqrt((2 * 9 + 6) / 8)), 3)
    assert scales(torch.full((8, 1), 1000)) == (None, None)


def test_rollouts_longer_than_a_piece_are_seen_whole():
    long = torch.cat([torch.zeros(5000, 2), torch.full((5000, 2), 2.0)])
    assert scales(long) == (pytest.approx(math.sqrt(2)), 2)


# Ranks of matrices that are known.


def features(matrix):
    return Update(activations=Activations(features=torch.as_tensor(matrix, dtype=torch.float32)))


def orthogonal(n):
    return np.linalg.qr(RNG.normal(size=(n, n)))[0]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shape", [(400, 16), (16, 16), (10, 16)])
def test_ranks_of_a_matrix_with_chosen_singular_values(shape, scale):
    s = np.zeros(min(shape))
    s[:4] = [8, 4, 2, 0.1]
    u, v = orthogonal(shape[0]), orthogonal(shape[1])
    phi = scale * u[:, : len(s)] @ np.diag(s) @ v[: len(s)]
    assert ranks.feature_rank(features(phi)) == pytest.approx(math.exp(stats.entropy(s)), rel=1e-4)
    assert ranks.feature_rank_99(features(phi)) == 3, "(64 + 16) / 84.01 is less than 0.99"
    assert ranks.stable_rank(features(phi)) == pytest.approx(84.01 / 64, rel=1e-5)


def test_ranks_at_their_ends():
    everything, one = np.tile(np.eye(6), (50, 1)), np.outer(RNG.normal(size=300), np.ones(6))
    for rank in (ranks.feature_rank, ranks.feature_rank_99, ranks.stable_rank):
        assert rank(features(everything)) == pytest.approx(6)
        assert rank(features(one)) == pytest.approx(1, abs=1e-5)
    assert measure(features(np.zeros((300, 6))), level=2)["feature_rank"] is None, "nothing has no rank"


def layers(*matrices):
    named = {str(i): torch.as_tensor(m, dtype=torch.float32) for i, m in enumerate(matrices)}
    row = measure(Update(activations=Activations(layers=named)), level=2)
    return row["dormant_share"], row["saturated_share"]


def test_a_unit_is_dormant_by_the_measure_of_its_own_layer():
    loud, quiet = 100 * np.abs(RNG.normal(size=(500, 4))), 0.01 * np.abs(RNG.normal(size=(500, 4)))
    assert layers(loud, quiet)[0] == 0, "a quiet layer is not dormant"
    assert layers(np.hstack([loud, quiet]))[0] == 0.5
    assert layers(loud, np.zeros((500, 4))) == (0.5, 0.5), "a layer that is 0 is dormant, all of it"


def test_a_saturated_tanh_is_not_dormant():
    working, stuck = np.tanh(RNG.normal(size=(500, 3))), np.tanh(50 + RNG.normal(size=(500, 1)))
    assert layers(np.hstack([working, stuck])) == (0, 0.25)
    flipping = np.sign(RNG.normal(size=(500, 1)))
    assert layers(np.hstack([working, flipping])) == (0, 0), "at both ends of its range it says something"


# What is heard of a network.


class Branches(nn.Module):
    """A shared trunk, a way around a layer, a bare last matrix after the head, and a value function."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 6), nn.ReLU())
        self.around = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.critic = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
        self.actor = nn.Linear(6, 2)  # registered after the value function, called before it

    def act(self, x):
        shared = self.trunk(x)
        return self.actor(shared + self.around(shared))

    def value(self, x):
        return self.critic(self.trunk(x))


def test_the_features_are_what_enters_the_last_map_whatever_stands_around_it():
    network, x = Branches(), torch.randn(7, 3)
    with listening(network) as of_policy:
        network.act(x)
    with listening(network) as of_value:
        network.value(x)
    heard = of_policy.with_value(of_value)
    shared = network.trunk(x)
    torch.testing.assert_close(heard.features, (shared + network.around(shared)).detach())
    torch.testing.assert_close(heard.preactivations, network.around[0](shared).detach())
    torch.testing.assert_close(heard.value_features, torch.tanh(network.critic[0](shared)).detach())
    assert sorted(heard.layers) == ["around.1", "critic.1", "trunk.1"], "the trunk counts once"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert not any(t.requires_grad for t in (heard.features, *heard.layers.values()))


def test_a_value_function_that_is_asked_in_the_same_pass_is_not_taken_for_the_policy():
    """As in a plain PyTorch loop, where one call may give both."""
    network, x = Branches(), torch.randn(7, 3)
    with listening(network) as heard:
        shared = network.trunk(x)
        network.actor(shared + network.around(shared))
        network.critic(shared)  # its last map is called last of all
    assert heard.features.shape == (7, 6)
    assert heard.value_features.shape == (7, 5)
    assert heard.preactivations.shape == (7, 6)


def test_pieces_of_a_rollout_are_put_together():
    network, x = Branches(), torch.randn(10, 3)
    with listening(network) as whole:
        network.act(x)
    with listening(network) as pieces:
        network.act(x[:6])
        network.act(x[6:])
    torch.testing.assert_close(pieces.features, whole.features)
    torch.testing.assert_close(pieces.preactivations, whole.preactivations)
    torch.testing.assert_close(pieces.layers["around.1"], whole.layers["around.1"])


def test_the_units_of_a_convolution_are_its_channels():
    network = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1] = 0.0, -1.0  # a channel that is 0 everywhere
    x = torch.rand(9, 1, 4, 4)
    with listening(network) as heard:
        network(x)
    assert heard.layers["1"].shape == (9 * 3 * 3, 4)
    assert heard.layers["1"][:, 1].abs().max() == 0
    torch.testing.assert_close(heard.layers["1"].mean(0), network[:2](x).mean((0, 2, 3)).detach())
    assert heard.features.shape == (9, 36)


def test_what_works_in_place_shows_no_preactivations_rather_than_wrong_ones():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    with listening(network) as heard:
        network(torch.randn(5, 3))
    assert heard.preactivations is None
    assert (heard.features >= 0).all()


def test_hooks_are_gone_after_an_error_too():
    network = Branches()
    with pytest.raises(RuntimeError), listening(network):
        network.act(torch.randn(7, 99))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
