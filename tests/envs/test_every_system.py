"""What holds for every system, present and future: mathematics of the equations, promises of the task."""

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import envs
from envs import derive
from envs.system import Floats, System, vector

SYSTEMS = list(envs.systems().values())
FLOWS = [system for system in SYSTEMS if system.kind == "flow"]
IDS = envs.ids()


def named(cls):
    return cls.__name__


def off_default(cls: type[System]) -> System:
    """Parameters a little away from the default, so that nothing generated can have swallowed one."""
    system = cls()
    shifted = {name: value * (1.001 + 0.001 * i) for i, (name, value) in enumerate(system.parameters.items())}
    return replace(system, **shifted)


def points(system: System, count: int = 7) -> Floats:
    return derive.attractor(system).points[:count]


def law(system: System, state, push=0.0):
    """The equations as their author wrote them, without any generated code."""
    return getattr(system, system.law)(*state, push)


# ---- equations and what is generated from them ----


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_generated_equations_are_the_written_ones(cls):
    system = off_default(cls)
    for state in points(system):
        written = law(system, state.tolist(), 0.7)
        np.testing.assert_allclose(system.law_at(state, 0.7), written, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_jacobian_is_the_complex_step_derivative_of_the_written_equations(cls):
    """Im f(x + i h e_j) / h has no cancellation: exact to rounding."""
    system, h = off_default(cls), 1e-30
    for state in points(system):
        columns = []
        for j in range(len(state)):
            shifted = [complex(value, h if i == j else 0.0) for i, value in enumerate(state)]
            columns.append([complex(value).imag / h for value in law(system, shifted, 0.7)])
        expected = np.array(columns).T
        np.testing.assert_allclose(system.jacobian(state, 0.7), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_batch_and_single_state_agree_to_the_last_bit(cls):
    system = off_default(cls)
    states = np.ascontiguousarray(points(system, 37).T)
    push = np.linspace(-1, 1, 37)[None]
    moved = system.advance(states, push, steps=3)
    for lane in range(37):
        state = states[:, lane]
        for _ in range(3):
            state = system.step(state, push[0, lane])
        assert moved[:, lane].tobytes() == state.tobytes()


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_torch_stepper_agrees_with_numba(cls):
    system = off_default(cls)
    states = np.ascontiguousarray(points(system, 37).T)
    push = np.linspace(-1, 1, 37)[None]
    tensor, held = torch.from_numpy(states), torch.from_numpy(push)
    for _ in range(3):
        tensor = system.tensor_step(tensor, held)
    np.testing.assert_allclose(tensor.numpy(), system.advance(states, push, steps=3), rtol=1e-12, atol=1e-13)
    single = system.tensor_step(torch.from_numpy(states).float(), held.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), system.advance(states, push, steps=1), rtol=3e-5, atol=3e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_torch_stepper_runs_on_a_gpu(cls):
    system = cls()
    states = torch.from_numpy(np.ascontiguousarray(points(system, 37).T)).cuda()
    moved = system.tensor_step(states, torch.zeros(1, 37, dtype=torch.float64, device="cuda"))
    assert moved.device.type == "cuda"
    expected = system.advance(states.cpu().numpy(), np.zeros((1, 37)))
    np.testing.assert_allclose(moved.cpu().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cls", FLOWS, ids=named)
def test_the_step_is_of_fourth_order(cls):
    """Error over a fixed time falls like h^4: the fitted slope of log error on log h."""
    system = cls()
    start = np.ascontiguousarray(points(system, 16).T)
    push, span = np.full((1, 16), 0.3), 16

    def after(refinement: int) -> Floats:
        states = start.copy()
        h = system.dt / refinement
        system.kernels.advance(states, push, h, span * refinement, system.parameter_vector)
        return states

    exact, refinements = after(64), np.array([1, 2, 4])
    errors = [np.abs(after(int(r)) - exact).max() for r in refinements]
    slope = np.polyfit(-np.log(refinements), np.log(errors), 1)[0]
    assert 3.7 < slope < 4.4, errors


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_the_tangent_is_the_derivative_of_the_step_itself(cls):
    """QR of a central difference of the step against one call of stretch; also with too few vectors."""
    system = off_default(cls)
    size, h = len(system.states), 1e-6
    state = points(system)[3]
    difference = np.array(
        [(system.step(state + h * e) - system.step(state - h * e)) / (2 * h) for e in np.eye(size)]
    )
    expected, triangle = np.linalg.qr(difference.T)
    sign = np.sign(np.diag(triangle))
    for vectors in range(1, size + 1):
        moved, frame, growth = system.stretch(state, np.eye(size)[:, :vectors], steps=1)
        np.testing.assert_allclose(moved, system.step(state), rtol=1e-14)
        np.testing.assert_allclose(frame, (expected * sign)[:, :vectors], atol=1e-6)
        np.testing.assert_allclose(growth, np.log(np.abs(np.diag(triangle)))[:vectors], atol=1e-6)


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_exponents_sum_to_the_mean_divergence(cls):
    """Flows: time average of trace J. Maps: average of log |det J|. Along the very same orbit."""
    system = off_default(cls)
    start, steps, size = points(system)[0], 4000, len(system.states)
    _, _, growth = system.stretch(start, np.eye(size), steps, qr_every=5 if system.kind == "flow" else 1)
    orbit = np.vstack([start, system.orbit(start, steps)])
    if system.kind == "map":
        expected = sum(np.log(abs(np.linalg.det(system.jacobian(state)))) for state in orbit[:-1])
    else:
        traces = np.array([np.trace(system.jacobian(state)) for state in orbit])
        expected = system.dt * (traces.sum() - (traces[0] + traces[-1]) / 2)
    assert growth.sum() == pytest.approx(expected, rel=2e-4, abs=2e-4 * steps * system.dt)


@pytest.mark.parametrize("cls", FLOWS, ids=named)
def test_a_flow_has_a_zero_exponent(cls):
    """The direction along the orbit neither grows nor shrinks, up to what the speed itself varies."""
    system, steps = cls(), 200_000
    start, size = points(system)[0], len(system.states)
    start, frame, _ = system.stretch(start, np.eye(size), 20_000, qr_every=10)
    _, _, growth = system.stretch(start, frame, steps, qr_every=10)
    rates = growth / (steps * system.dt)
    assert np.min(np.abs(rates)) < 5e-3 < np.max(np.abs(rates))


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_the_target_is_an_equilibrium_that_does_not_attract(cls):
    system = cls()
    target = derive.target(system)
    rest = target if system.kind == "map" else np.zeros_like(target)
    np.testing.assert_allclose(system.law_at(target), rest, atol=1e-9)
    growth = np.linalg.eigvals(system.jacobian(target))
    largest = np.log(np.abs(growth)).max() if system.kind == "map" else growth.real.max()
    assert largest > -1e-9, "a stable target would be reached by doing nothing"


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_latex_shows_every_state_and_the_push(cls):
    system = cls()
    rows = system.latex.count("&=")
    assert rows == len(system.states)
    assert "u" in system.latex


# ---- the task ----


@pytest.mark.parametrize("env_id", IDS)
def test_every_check_passes(env_id):
    for verdict in envs.check(env_id):
        assert verdict.passed, f"{verdict.name}: {verdict.sentence}"
        assert "remarks" not in verdict.sentence


@pytest.mark.parametrize("env_id", IDS)
def test_the_card_is_plain_and_complete(env_id):
    card = envs.card(env_id)
    assert json.loads(json.dumps(card)) == card
    assert card["source"]
    assert card["lyapunov_times"] == pytest.approx(
        card["steps"] * card["control_interval"] * max(card["reference"]["exponents"]), abs=0.01
    )
    parameter, value = next(iter(card["parameters"].items()))
    moved = envs.card(env_id, **{parameter: value * 1.01})
    assert moved["reference"] is None
    assert moved["lyapunov_times"] is None


@pytest.mark.parametrize("env_id", IDS)
def test_different_seeds_start_elsewhere_inside_the_box(env_id):
    env = gymnasium.make(env_id).unwrapped
    starts = np.array([env.reset(seed=seed)[0] for seed in range(50)])
    assert len(np.unique(starts, axis=0)) > 40
    assert all(env.observation_space.contains(start) for start in starts)


@pytest.mark.parametrize("env_id", IDS)
def test_letting_go_costs_about_one_per_step(env_id):
    """Rewards of all tasks have the same size, so settings carry over."""
    batch = gymnasium.make_vec(env_id, num_envs=64)
    batch.reset(seed=0)
    rewards = [batch.step(np.zeros((64, 1)))[1].mean() for _ in range(100)]
    assert -2 < np.mean(rewards) < -0.5


@pytest.mark.parametrize("env_id", IDS)
def test_the_reward_at_the_target_is_the_best_there_is(env_id):
    env = gymnasium.make(env_id).unwrapped
    env.reset(seed=0, options={"state": env.task.target})
    assert env.step(np.zeros(1))[1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("env_id", IDS)
def test_state_survives_json_and_the_next_reset(env_id):
    env, other = (gymnasium.make(env_id, steps=20).unwrapped for _ in range(2))
    env.reset(seed=3)
    for _ in range(15):
        env.step(np.array([0.2]))
    other.reset(seed=8)
    other.set_state(json.loads(json.dumps(env.get_state())))
    for _ in range(40):
        here, there = env.step(np.array([-0.3])), other.step(np.array([-0.3]))
        assert here[0].tobytes() == there[0].tobytes()
        assert here[1:4] == there[1:4]
        if here[2] or here[3]:
            assert env.reset()[0].tobytes() == other.reset()[0].tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_vector_state_is_restored_exactly(env_id):
    batch, other = (gymnasium.make_vec(env_id, num_envs=3, steps=10) for _ in range(2))
    batch.reset(seed=3)
    actions = np.full((3, 1), 0.3)
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
    first = [batch.reset(seed=0)[0], *batch.step(np.ones((4, 1)))[:4]]
    kept = [array.copy() for array in first]
    batch.step(-np.ones((4, 1)))
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
    env, other = (gymnasium.make(env_id).unwrapped for _ in range(2))
    env.reset(seed=0)
    other.reset(seed=0)
    assert env.step(np.array([-7.0]))[0].tobytes() == other.step(np.array([-1.0]))[0].tobytes()


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_and_nothing_moves(env_id, bad):
    env = gymnasium.make(env_id).unwrapped
    env.reset(seed=0)
    env.step(np.zeros(1))
    before = env.get_state()
    with pytest.raises(
        ValueError, match=rf"{env_id}: push must be finite and within ±.* at step 1 \(action 0\)"
    ):
        env.step(np.array([bad]))
    assert env.get_state() == before
    batch = gymnasium.make_vec(env_id, num_envs=3)
    batch.reset(seed=0)
    states = batch.states
    with pytest.raises(ValueError, match=r"at step 0 \(lane 2, action 0\)"):
        batch.step(np.array([[0.0], [0.0], [bad]]))
    assert batch.states.tobytes() == states.tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_escape_freezes_the_lane_and_pays_for_the_rest(env_id):
    """A push no actuator has throws one lane out; the reward is what the farthest state would have cost."""
    batch = gymnasium.make_vec(env_id, num_envs=2, push=1e6, steps=50)
    batch.reset(seed=0)
    actions = np.array([[1.0], [0.0]])
    batch.step(np.zeros((2, 1)))
    left, terminated = 49, np.zeros(2, dtype=bool)
    while not terminated.any():
        _, reward, terminated, truncated, infos = batch.step(actions)
        left -= 1
    assert (terminated.tolist(), truncated.any()) == ([True, False], False)
    assert reward[0] == pytest.approx(-(left + 1) * batch.task.worst)
    last = infos["final_obs"][0]
    assert batch.single_observation_space.contains(last)
    assert np.isfinite(last).all()


@pytest.mark.parametrize("env_id", IDS)
def test_no_state_inside_the_bounds_costs_more_than_leaving(env_id):
    env = gymnasium.make(env_id).unwrapped
    task, generator = env.task, np.random.default_rng(0)
    centre, scale = task.ruler
    for _ in range(200):
        corner = np.sign(generator.normal(size=len(centre)))
        state = centre + task.escape * 0.999 * scale * corner
        difference = state - task.target
        angle = np.isin(task.system.states, task.system.angles)
        length = np.where(angle, 2 * np.sin(difference / 2), difference) / task.reward_scale
        assert np.linalg.norm(length) <= task.worst


@pytest.mark.parametrize("env_id", IDS)
def test_a_start_can_be_chosen(env_id):
    env = gymnasium.make(env_id).unwrapped
    wanted = vector(env.task.initial_states[17])
    env.reset(seed=0, options={"state": wanted})
    assert env.state.tobytes() == wanted.tobytes()
