"""What holds for every task, present and future: Gymnasium's contract, exact states, escape, the vector environment.

The mathematics of the systems behind them is in test_every_system.py.
"""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import envs
from envs.goals import goals
from envs.published import published
from envs.system import vector

IDS = [i for i in envs.ids() if i.split("/")[1].rpartition("-v")[0] in envs.systems()]
PUBLISHED = [i for i in envs.ids() if i not in IDS]
EVERY = [*IDS, *PUBLISHED]
STEERING = [i for i in IDS if goals()[envs.system_of(i).task.aim].steers]
BOUNDED = [i for i in IDS if set(envs.system_of(i).states) - set(envs.system_of(i).angles)]
"""Not the tasks themselves are asked: every worker collects, and making a task derives its scales."""


def make(env_id, **settings):
    return gymnasium.make(env_id, disable_env_checker=True, **settings).unwrapped


def steady(env, value):
    """The same action for every push."""
    return np.full(env.unwrapped.task.system.n_pushes, value)


def lanes(batch, value):
    return np.full((batch.num_envs, batch.unwrapped.task.system.n_pushes), value)


@pytest.mark.parametrize("env_id", IDS)
def test_the_lists_of_these_tests_are_what_the_tasks_say(env_id):
    task = make(env_id).task
    assert (env_id in STEERING, env_id in BOUNDED) == (task.aim.steers, not task.turning.all())


@pytest.mark.parametrize("env_id", EVERY)
def test_every_check_passes(env_id):
    for verdict in envs.check(env_id):
        assert verdict.passed, f"{verdict.name}: {verdict.sentence}"
        if not make(env_id).task.observe_rates:  # rates have no bound, which Gymnasium's checker remarks
            assert "remarks" not in verdict.sentence


@pytest.mark.parametrize("env_id", EVERY)
def test_the_card_is_plain_and_complete(env_id):
    card = envs.card(env_id)
    assert json.loads(json.dumps(card)) == card
    assert card["source"]
    if card["reference"]:
        largest = max(card["reference"]["exponents"])
        assert card["lyapunov_times"] == pytest.approx(
            card["steps"] * card["control_interval"] * largest, abs=0.01
        )
    else:
        assert env_id in PUBLISHED, "a system without a single known exponent is no part of the catalogue"


@pytest.mark.parametrize("env_id", IDS)
def test_other_parameters_have_no_reference(env_id):
    system = make(env_id).task.system
    name, value = next(iter(system.parameters.items()), ("L", getattr(system, "L", None)))
    moved = envs.card(env_id, **{name: value * 1.001})
    assert moved["reference"] is None
    assert moved["lyapunov_times"] is None


@pytest.mark.parametrize("env_id", PUBLISHED)
def test_a_published_task_names_its_source_and_is_made_as_published(env_id):
    entry = published()[env_id.split("/")[1].rpartition("-v")[0]]
    task = make(env_id).task
    assert entry.source
    assert entry.remarks
    for name, value in entry.settings.items():
        if hasattr(task, name) and name not in ("goal", "start_box"):
            assert getattr(task, name) == value, name


@pytest.mark.parametrize("env_id", IDS)
def test_different_seeds_start_elsewhere_inside_the_box(env_id):
    env = make(env_id)
    starts = np.array([env.reset(seed=seed)[0] for seed in range(50)])
    assert len(np.unique(starts, axis=0)) > 30
    assert all(env.observation_space.contains(start) for start in starts)


@pytest.mark.parametrize("env_id", STEERING)
def test_letting_go_costs_about_one_per_step(env_id):
    """Rewards of all tasks have the same size, so settings carry over."""
    count = 64 if len(make(env_id).state) <= 64 else 4
    batch = gymnasium.make_vec(env_id, num_envs=count)
    batch.reset(seed=0)
    rewards = [batch.step(lanes(batch, 0.0))[1].mean() for _ in range(50)]
    assert -2.2 < np.mean(rewards) < -0.4


@pytest.mark.parametrize("env_id", STEERING)
def test_the_reward_at_the_target_is_the_best_there_is(env_id):
    env = make(env_id)
    system, target = env.task.system, env.task.target
    env.reset(seed=0, options={"state": target})
    reward = env.step(steady(env, 0.0))[1]
    if system.kind == "flow" and np.abs(system.law_at(target)).max() > 1e-6:
        assert -1.0 < reward <= 0.0  # a forced system has no equilibrium to stay at
    else:
        assert reward == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("env_id", STEERING)
def test_the_target_does_not_attract(env_id):
    """A stable target would be reached by doing nothing."""
    task = make(env_id).task
    system, target = task.system, task.target
    if len(target) > 64:
        pytest.skip("its own test looks at the linear growth of a field")
    vectors = np.random.default_rng(1).normal(size=(len(target), min(len(target), 6)))
    _, _, growth = system.stretch(target, np.linalg.qr(vectors)[0], 2000)
    assert growth.max() > -1e-3 * 2000 * system.dt


@pytest.mark.parametrize("env_id", IDS)
def test_state_survives_json_and_the_next_reset(env_id):
    env, other = (make(env_id, steps=20) for _ in range(2))
    env.reset(seed=3)
    for _ in range(15):
        if any(env.step(steady(env, 0.2))[2:4]):
            env.reset()
    other.reset(seed=8)
    other.set_state(json.loads(json.dumps(env.get_state())))
    for _ in range(40):
        here, there = env.step(steady(env, -0.3)), other.step(steady(env, -0.3))
        assert here[0].tobytes() == there[0].tobytes()
        assert here[1:4] == there[1:4]
        if here[2] or here[3]:
            assert env.reset()[0].tobytes() == other.reset()[0].tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_vector_state_is_restored_exactly(env_id):
    batch, other = (gymnasium.make_vec(env_id, num_envs=3, steps=10) for _ in range(2))
    batch.reset(seed=3)
    actions = lanes(batch, 0.3)
    for _ in range(7):
        batch.step(actions)
    other.set_state(json.loads(json.dumps(batch.get_state())))
    for _ in range(25):
        for here, there in zip(batch.step(actions)[:4], other.step(actions)[:4], strict=True):
            assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_the_vector_environment_is_gymnasiums_own_with_autoreset_in_the_same_step(env_id):
    """Against SyncVectorEnv around single environments: every array and every info, through many resets."""
    native = gymnasium.make_vec(env_id, num_envs=3, steps=7)
    mode = {"vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}
    sync = gymnasium.make_vec(env_id, num_envs=3, steps=7, vectorization_mode="sync", **mode)
    assert native.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert native.reset(seed=5)[0].tobytes() == sync.reset(seed=5)[0].tobytes()
    sync.action_space.seed(1)
    endings = 0
    for _ in range(30):
        actions = sync.action_space.sample()
        ours, theirs = native.step(actions), sync.step(actions)
        for mine, yours in zip(ours[:4], theirs[:4], strict=True):
            assert mine.dtype == yours.dtype
            assert mine.tobytes() == yours.tobytes()
        assert ours[4].keys() == theirs[4].keys()
        if ours[4]:
            endings += 1
            assert ours[4]["_final_obs"].tolist() == theirs[4]["_final_obs"].tolist()
            for mine, yours in zip(ours[4]["final_obs"], theirs[4]["final_obs"], strict=True):
                assert (mine is None) == (yours is None)
                assert mine is None or mine.tobytes() == yours.tobytes()
    assert endings >= 4


@pytest.mark.parametrize("env_id", IDS)
def test_arrays_returned_by_the_vector_environment_are_the_callers(env_id):
    batch = gymnasium.make_vec(env_id, num_envs=4)
    first = [batch.reset(seed=0)[0], *batch.step(lanes(batch, 1.0))[:4]]
    kept = [array.copy() for array in first]
    batch.step(lanes(batch, -1.0))
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("env_id", IDS)
def test_float64_observations_on_request(env_id):
    """They carry digits that float32 has lost: float32 observations can flip the sign of an exponent."""
    fine, coarse = gymnasium.make(env_id, dtype="float64"), gymnasium.make(env_id)
    a, b = fine.reset(seed=0)[0], coarse.reset(seed=0)[0]
    assert (a.dtype, b.dtype) == (np.float64, np.float32)
    assert fine.observation_space.dtype == np.float64
    np.testing.assert_array_equal(a.astype(np.float32), b)
    assert not np.array_equal(a, b.astype(np.float64))


@pytest.mark.parametrize("env_id", IDS)
def test_an_action_outside_the_box_is_clipped(env_id):
    env, other = (make(env_id) for _ in range(2))
    env.reset(seed=0)
    other.reset(seed=0)
    assert env.step(steady(env, -7.0))[0].tobytes() == other.step(steady(env, -1.0))[0].tobytes()


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_and_nothing_moves(env_id, bad):
    env = make(env_id)
    env.reset(seed=0)
    env.step(steady(env, 0.0))
    before = env.get_state()
    with pytest.raises(
        ValueError, match=rf"{env_id}: push must be finite and within ±.* at step 1 \(action 0\)"
    ):
        env.step(steady(env, bad))
    assert env.get_state() == before
    batch = gymnasium.make_vec(env_id, num_envs=3)
    batch.reset(seed=0)
    states = batch.states
    actions = lanes(batch, 0.0)
    actions[2] = bad
    with pytest.raises(ValueError, match=r"at step 0 \(lane 2, action 0\)"):
        batch.step(actions)
    assert batch.states.tobytes() == states.tobytes()


@pytest.mark.parametrize("env_id", BOUNDED)
def test_escape_freezes_the_lane_and_pays_for_the_rest(env_id):
    """A push no actuator has throws one lane out; the reward is what the farthest state would have cost."""
    batch = gymnasium.make_vec(env_id, num_envs=2, push=1e6, steps=50)
    batch.reset(seed=0)
    actions = lanes(batch, 0.0)
    batch.step(actions)
    actions[0] = 1.0
    left, terminated = 49, np.zeros(2, dtype=bool)
    while not terminated.any() and left:
        _, reward, terminated, truncated, infos = batch.step(actions)
        left -= 1
    assert (terminated.tolist(), truncated.any()) == ([True, False], False)
    assert reward[0] == pytest.approx(-(left + 1) * batch.task.worst)
    last = infos["final_obs"][0]
    assert batch.single_observation_space.contains(last)
    assert np.isfinite(last).all()


@pytest.mark.parametrize("env_id", STEERING)
def test_no_state_inside_the_bounds_costs_more_than_leaving(env_id):
    env = make(env_id)
    task, generator = env.task, np.random.default_rng(0)
    centre, scale = task.ruler
    for _ in range(200):
        corner = np.sign(generator.normal(size=len(centre)))
        state = centre + task.escape * 0.999 * scale * corner
        difference = state - task.target
        angle = np.isin(task.system.states, task.system.angles)
        length = np.where(angle, 2 * np.sin(difference / 2), difference) * np.sqrt(task.weights)
        assert np.linalg.norm(length) <= task.worst


@pytest.mark.parametrize("env_id", IDS)
def test_a_start_can_be_chosen(env_id):
    env = make(env_id)
    wanted = vector(env.task.initial_states[17])
    env.reset(seed=0, options={"state": wanted})
    assert env.state.tobytes() == wanted.tobytes()
