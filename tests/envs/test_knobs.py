"""Knobs common to all tasks: actuator, push, sensors, noise, delay, units, levels, starts, horizon."""

import json

import gymnasium
import numpy as np
import pytest

import envs


def make(env_id="chaos/Lorenz-v0", **settings):
    return gymnasium.make(env_id, **settings).unwrapped


def play(env, actions, seed=0):
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        seen.append(env.step(action)[0])
    return np.array(seen)


ZEROS = [np.zeros(1)] * 30


def test_a_push_on_another_state_or_a_parameter_acts_there():
    lorenz = envs.systems()["Lorenz"]
    state, plain = np.array([1.0, 2.0, 3.0]), lorenz()
    moved = lorenz(actuator=("z",)).law_at(state, 5.0) - plain.law_at(state)
    np.testing.assert_allclose(moved, [0, 0, 5], atol=1e-12)
    both = lorenz(actuator=("rho", "x")).law_at(state, np.array([2.0, -1.0])) - plain.law_at(state)
    np.testing.assert_allclose(both, [-1, 2 * state[0], 0], atol=1e-12)
    env = make(actuator=("rho", "sigma", "beta"), push=(2.0, 1.0, 0.25))
    assert env.action_space.shape == (3,)
    env.reset(seed=0, options={"state": state})
    env.step(np.array([1.0, -1.0, 0.0]))
    expected = lorenz(rho=30.0, sigma=9.0).advance(state[:, None], np.zeros((1, 1)), env.task.substeps)
    np.testing.assert_allclose(env.state, expected[:, 0], rtol=1e-12)
    assert envs.card("chaos/Lorenz-v0", actuator=("z",))["reference"] is not None


def test_sensors_choose_what_is_seen():
    full, one = make(), make(sensors=("z",))
    assert one.observation_space.shape == (1,)
    np.testing.assert_array_equal(play(full, ZEROS)[:, [2]], play(one, ZEROS))
    pendulum = make("chaos/DoublePendulum-v0", sensors=("theta2", "omega1"))
    everything = make("chaos/DoublePendulum-v0")
    np.testing.assert_array_equal(play(everything, ZEROS)[:, [2, 3, 4]], play(pendulum, ZEROS))


def test_observations_arrive_late():
    now, late = make(), make(observation_delay=3)
    prompt, delayed = play(now, ZEROS), play(late, ZEROS)
    np.testing.assert_array_equal(delayed[:3], np.tile(prompt[0], (3, 1)))
    np.testing.assert_array_equal(delayed[3:], prompt[:-3])


def test_sensor_noise_has_its_size_and_leaves_the_state_alone():
    clean, noisy = make(dtype="float64"), make(dtype="float64", observation_noise=0.05)
    actions = [np.zeros(1)] * 150
    difference = play(noisy, actions) - play(clean, actions)
    assert np.array_equal(clean.state, noisy.state)
    assert np.std(difference) == pytest.approx(0.05, rel=0.1)
    assert abs(np.mean(difference)) < 0.01


def test_process_noise_is_a_random_walk_of_its_size():
    """At an equilibrium that hardly moves on its own, the variance grows as (noise half-range)^2 time."""
    noise, count = 0.02, 400
    batch = gymnasium.make_vec("chaos/Lorenz-v0", num_envs=count, process_noise=noise, steps=50)
    target = batch.unwrapped.task.target
    batch.reset(seed=0, options={"state": target})
    batch.step(np.zeros((count, 1)))
    spread = np.std(batch.unwrapped.states - target, axis=0)
    expected = noise * batch.unwrapped.task.ruler[1] * np.sqrt(0.05)
    np.testing.assert_allclose(spread, expected, rtol=0.15)


@pytest.mark.parametrize(
    "settings",
    [
        {"observation_noise": 0.1, "observation_delay": 2, "process_noise": 0.02, "sensors": ("x", "z")},
        {"goal": "sustain", "window": 5, "speed": 60.0, "levels": 3, "observe_rates": True, "units": "raw"},
        {"start_box": ((-5.0,) * 3, (5.0, 5.0, 30.0)), "observation_noise": 0.2},
    ],
)
def test_lanes_equal_single_environments_and_states_are_restored_exactly(settings):
    for verdict in envs.check("chaos/Lorenz-v0", steps=11, **settings):
        assert verdict.passed, f"{verdict.name}: {verdict.sentence}"
    batch, other = (gymnasium.make_vec("chaos/Lorenz-v0", num_envs=3, steps=10, **settings) for _ in range(2))
    batch.reset(seed=3)
    batch.action_space.seed(0)
    for _ in range(7):
        batch.step(batch.action_space.sample())
    other.unwrapped.set_state(json.loads(json.dumps(batch.unwrapped.get_state())))
    for _ in range(25):
        actions = batch.action_space.sample()
        for here, there in zip(batch.step(actions)[:4], other.step(actions)[:4], strict=True):
            assert here.tobytes() == there.tobytes()


def test_a_partial_reset_leaves_the_other_lanes_alone():
    batch = gymnasium.make_vec("chaos/Lorenz-v0", num_envs=3, observation_noise=0.1, observation_delay=1)
    batch.reset(seed=0)
    before = batch.step(np.zeros((3, 1)))[0]
    after = batch.reset(options={"reset_mask": np.array([False, True, False])})[0]
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])


def test_levels_are_evenly_spaced_pushes():
    single, several = make(levels=3, push=4.0), make(levels=5, actuator=("x", "y"), push=(1.0, 2.0))
    assert single.action_space == gymnasium.spaces.Discrete(3)
    assert several.action_space == gymnasium.spaces.MultiDiscrete([5, 5])
    smooth = make(push=4.0)
    for level, push in ((0, -1.0), (1, 0.0), (2, 1.0)):
        for env, action in ((single, level), (smooth, np.array([push]))):
            env.reset(seed=0)
            env.step(action)
        assert single.state.tobytes() == smooth.state.tobytes()
    single.reset(seed=0)
    for bad in (3, -1, 0.5):
        with pytest.raises(ValueError, match="actions are whole numbers"):
            single.step(bad)


def test_raw_units_and_rates():
    env = make(units="raw", observe_rates=True, dtype="float64")
    seen = env.reset(seed=0)[0]
    np.testing.assert_allclose(seen, [*env.state, *env.task.system.law_at(env.state)])
    seen = env.step(np.array([0.5]))[0]
    np.testing.assert_allclose(seen, [*env.state, *env.task.system.law_at(env.state, 0.5 * env.task.push)])
    assert env.observation_space.contains(seen)


def test_starts_fill_their_box():
    env = make(start_box=((-1.0, -1.0, 10.0), (1.0, 1.0, 10.0)))
    starts = np.array([(env.reset(seed=s), env.state)[1] for s in range(200)])
    assert starts[:, :2].min() < -0.9
    assert starts[:, :2].max() > 0.9
    assert (starts[:, 2] == 10.0).all()


def test_the_horizon_can_be_said_in_lyapunov_times():
    task = make(lyapunov_times=9.0581).task
    assert task.steps == 200
    assert make("chaos/Henon-v0", lyapunov_times=10).task.steps == round(10 / 0.41929)


def test_weights_of_inf_leave_a_state_out():
    env = make("chaos/Lorenz-v0", reward_scale=(float("inf"), float("inf"), 2.0))
    env.reset(seed=0)
    reward = env.step(np.zeros(1))[1]
    assert reward == pytest.approx(-abs(env.state[2] - env.task.target[2]) / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"actuator": ("w",)}, "actuator: w is no state or parameter"),
        ({"actuator": ("x", "x")}, "actuator must name different states"),
        ({"push": (1.0, 2.0)}, r"push must be one number or one per actuator \(1\)"),
        ({"push": 0.0}, "push must be positive"),
        ({"push": float("nan")}, "push must be a finite number"),
        ({"push": float("inf")}, "push must be a finite number"),
        ({"sensors": ("q",)}, "sensors: q is no state"),
        ({"sensors": 3}, "sensors must name states"),
        ({"units": "SI"}, "units must be 'scaled' or 'raw'"),
        ({"levels": 1}, "levels must be 0"),
        ({"levels": 2.5}, "levels must be a whole number"),
        ({"observation_delay": -1}, "observation_delay must be a whole number, at least 0"),
        ({"observation_noise": -0.1}, "observation_noise must be at least 0"),
        ({"process_noise": float("nan")}, "process_noise must be a finite number"),
        ({"observe_rates": 1}, "observe_rates must be true or false"),
        ({"lyapunov_times": 5, "steps": 10}, "give steps or lyapunov_times, not both"),
        ({"lyapunov_times": 5, "rho": 27.0}, "lyapunov_times needs a published positive exponent"),
        ({"lyapunov_times": -5}, "lyapunov_times must be positive"),
        ({"start_box": ((0.0,), (1.0,))}, "start_box must be"),
        ({"start_box": ((1.0,) * 3, (0.0,) * 3)}, "start_box must be"),
        ({"start_box": ((0.0,) * 3, (1e6,) * 3)}, "start_box reaches outside the escape bounds"),
        ({"control_interval": 0.0}, "control_interval must be positive"),
        ({"control_interval": -0.05}, "control_interval must be positive"),
        ({"control_interval": 0.013}, "control_interval must be a multiple of dt"),
        ({"dt": -0.01}, "dt is not a setting"),
        ({"rho": float("nan")}, "rho must be a finite number"),
        ({"rho": "28"}, "rho must be a finite number"),
        ({"reward_scale": float("inf")}, "reward_scale must be finite for one state at least"),
        ({"reward_scale": -1.0}, "reward_scale must be positive"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=rf"^chaos/Lorenz-v0: .*{sentence}"):
        make(**settings)


def test_a_field_that_runs_away_ends_the_episode_and_never_shows_a_nan():
    env = make("chaos/Henon-v0", push=1e200)
    env.reset(seed=0)
    seen, reward, terminated, _, _ = env.step(np.ones(1))
    assert terminated
    assert np.isfinite(seen).all()
    assert np.isfinite(reward)


def test_sensors_come_in_the_order_asked_for_and_once():
    full, turned = make(dtype="float64"), make(dtype="float64", sensors=("z", "x"), observe_rates=True)
    first, second = play(full, ZEROS), play(turned, ZEROS)
    np.testing.assert_array_equal(first[:, [2, 0]], second[:, :2])
    rates = turned.task.system.law_at(turned.state)[[2, 0]] / turned.task.ruler[1][[2, 0]]
    np.testing.assert_allclose(second[-1, 2:], rates)
    with pytest.raises(ValueError, match="sensors must name different states"):
        make(sensors=("x", "x"))


def test_seeds_of_lanes_may_come_in_any_sequence():
    batch = gymnasium.make_vec("chaos/Lorenz-v0", num_envs=3)
    expected = batch.reset(seed=[5, 6, 7])[0]
    for seeds in ((5, 6, 7), np.array([5, 6, 7]), np.int64(5), 5):
        np.testing.assert_array_equal(batch.reset(seed=seeds)[0], expected)


def test_a_restored_vector_environment_answers_a_partial_reset_with_what_was_seen():
    batch, other = (gymnasium.make_vec("chaos/Lorenz-v0", num_envs=3) for _ in range(2))
    batch.reset(seed=0)
    seen = batch.step(np.zeros((3, 1)))[0]
    other.unwrapped.set_state(json.loads(json.dumps(batch.unwrapped.get_state())))
    after = other.reset(options={"reset_mask": np.array([True, False, False])})[0]
    np.testing.assert_array_equal(after[1:], seen[1:])


def test_environments_can_be_copied():
    import copy

    env = make()
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    assert env.step(np.ones(1))[0].tobytes() == twin.step(np.ones(1))[0].tobytes()


@pytest.mark.parametrize(
    ("env_id", "settings", "sentence"),
    [
        ("chaos/KuramotoSivashinsky-v0", {"drift": "false"}, "drift must be true or false, got 'false'"),
        ("chaos/KuramotoSivashinsky-v0", {"dt": 0.0}, "dt must be positive"),
        ("chaos/KuramotoSivashinsky-v0", {"L": "22"}, "L must be a finite number"),
        ("chaos/PredatorPrey-v0", {"gamma": 0.0}, "these parameters make no sense together"),
        ("chaos/Lorenz-v0", {"goal": ["hold"]}, "is no goal"),
        ("chaos/Lorenz-v0", {"goal": "region", "high": "0"}, "high must be a finite number"),
        ("chaos/Lorenz-v0", {"goal": "orbit", "period": 1e6}, "no periodic orbit with a period near 1e"),
        ("chaos/MackeyGlass-v0", {"process_noise": 0.1}, "process_noise is not for delay systems"),
        ("chaos/MackeyGlass-v0", {"actuator": ("beta", "x0")}, "actuator x0 does nothing"),
        ("chaos/DoublePendulum-v0", {"actuator": ("m1", "release1")}, "actuator release1 does nothing"),
        ("chaos/Lorenz96-v0", {"sites": 0}, "sites must be a whole number"),
    ],
)
def test_nonsense_of_other_systems_is_refused_in_one_sentence(env_id, settings, sentence):
    with pytest.raises(ValueError, match=rf"^{env_id}: .*{sentence}"):
        make(env_id, **settings)
