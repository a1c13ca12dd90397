"""Each goal's own sentence: what is paid where, and when an episode ends."""

import gymnasium
import numpy as np
import pytest

from envs.goals import goals


def make(env_id, **settings):
    return gymnasium.make(env_id, **settings).unwrapped


def test_every_goal_is_found_and_checks_its_settings():
    assert {"hold", "orbit", "region", "sustain", "swing_up", "synchronise"} <= set(goals())
    for name, goal in goals().items():
        assert goal.name == name
        goal().check()


def test_hold_as_the_kernel_pays_it_and_as_numpy_pays_it_are_the_same():
    """process_noise of nothing visible forces the long way; rewards, ends and observations must agree."""
    kernel = make("chaos/Lorenz-v0", dtype="float64", push=150.0, escape=1.5, steps=40)
    numpy = make("chaos/Lorenz-v0", dtype="float64", push=150.0, escape=1.5, steps=40, process_noise=1e-300)
    assert kernel.task.compiled
    assert not numpy.task.compiled
    ends = 0
    for seed in range(20):
        for env in (kernel, numpy):
            env.reset(seed=seed)
            env.action_space.seed(seed)
        over = False
        while not over:
            action = np.sign(kernel.action_space.sample())
            ours, theirs = kernel.step(action), numpy.step(action)
            np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12, atol=1e-12)
            assert ours[1] == pytest.approx(theirs[1], rel=1e-12)
            assert ours[2:4] == theirs[2:4]
            over = ours[2] or ours[3]
        ends += ours[2]
    assert 0 < ends < 20, "the case must have escapes and full episodes"


def test_hold_with_power_cost_and_ball():
    settings = {"goal": "hold", "power": 2, "action_cost": 0.5, "reward_scale": 2.0}
    env = make("chaos/Lorenz-v0", **settings)
    env.reset(seed=0)
    reward = env.step(np.array([-0.5]))[1]
    distance = np.linalg.norm(env.state - env.task.target)
    assert reward == pytest.approx(-((distance / 2) ** 2) - 0.5 * 0.5**2, rel=1e-9)
    env = make("chaos/Lorenz-v0", goal="hold", ball=0.5)
    env.reset(seed=0, options={"state": env.task.target + 0.1})
    assert env.step(np.zeros(1))[2], "inside the ball the episode ends"
    env.reset(seed=0, options={"state": env.task.target + 3.0})
    assert not env.step(np.zeros(1))[2]


def test_hold_another_state():
    env = make("chaos/Lorenz-v0", target_state=(0.0, 0.0, 0.0))
    env.reset(seed=0, options={"state": [1e-9, 0.0, 0.0]})
    assert env.step(np.zeros(1))[1] == pytest.approx(0.0, abs=1e-8)


def test_sustain_pays_for_speed_and_judges_the_end():
    quiet = {"goal": "sustain", "speed": 40.0, "bonus": 2.0, "rho": 20.0, "steps": 30, "escape": 5.0}
    env = make("chaos/Lorenz-v0", **quiet, window=10, floor=-0.4, penalty=50.0)
    still = env.task.system.target
    env.reset(seed=0, options={"state": still})
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(np.zeros(1))
        rewards.append(reward)
        over = terminated or truncated
    assert (terminated, truncated) == (True, False)
    assert rewards == [-2.0] * 29 + [-50.0]
    env.reset(seed=0, options={"state": [-30.0, -30.0, 5.0]})
    assert env.step(np.zeros(1))[1] == 2.0
    speed = np.linalg.norm(env.task.system.law_at(env.state))
    assert speed > 40


def test_region_pays_inside():
    env = make("chaos/Lorenz-v0", goal="region", state="x", high=0.0, outside=-1.0)
    for start, paid in (([-5.0, -5.0, 20.0], 1.0), ([5.0, 5.0, 20.0], -1.0)):
        env.reset(seed=0, options={"state": start})
        assert env.step(np.zeros(1))[1] == paid
        assert np.sign(env.state[0]) == -paid


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"goal": "hodl"}, r"'hodl' is no goal. Did you mean hold\?"),
        ({"goal": "swing_up"}, r"swing_up is not for Lorenz: it states no upright position \(goals for it: "),
        ({"goal": "synchronise"}, r"synchronise is not for Lorenz: it has no leader and follower"),
        ({"target_state": "C-"}, "C- is no equilibrium with a name"),
        ({"target_state": (1.0, 2.0)}, "target_state must give 3 numbers"),
        ({"target_state": (1.0, 2.0, float("nan"))}, "target_state must be finite"),
        ({"power": 3}, "power must be 1 or 2"),
        ({"ball": -1.0}, "ball must be a number, at least 0"),
        ({"goal": "sustain", "speed": 0.0}, "speed must be a positive number"),
        ({"goal": "sustain", "speeed": 1.0}, r"speeed is not a setting of this task. Did you mean speed\?"),
        ({"goal": "region", "state": "w"}, "it has no state 'w'"),
        ({"goal": "region", "low": 1.0, "high": 0.0}, "low must be below high"),
        ({"goal": "orbit", "period": -1}, "period must be a positive number"),
        ({"period": 2}, "period is not a setting of this task"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=rf"^chaos/Lorenz-v0: .*{sentence}"):
        make("chaos/Lorenz-v0", **settings)


def test_a_shortest_route_around_the_circle():
    """The distance of angles is the chord: 2 pi away is no distance at all."""
    env = make("chaos/DoublePendulum-v0")
    near, far = np.zeros((4, 2)), np.zeros((4, 2))
    far[0] = [2 * np.pi, np.pi]
    assert env.task.length(near - far) == pytest.approx([0.0, 2 / 3])
