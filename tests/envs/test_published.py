"""Each published task against its publication: the reward and one interval, computed by hand."""

import gymnasium
import numpy as np
import pytest

import envs


def make(name, **settings):
    return gymnasium.make(f"chaos/{name}-v0", disable_env_checker=True, **settings).unwrapped


def waves(env):
    system = env.task.system
    return 2 * np.pi / system.L * np.arange(system.points // 2 + 1)


def test_restoring_chaos():
    """Actions (rho, sigma, beta) of a tenth, +10 at speed 40 and above, -100 if the last 2000 rewards average -2."""
    env = make("RestoringChaos")
    assert env.task.bounds == pytest.approx((2.0, 1.0, 8 / 30))
    assert (env.task.steps, env.task.control_interval) == (4000, 0.02)
    start = np.array([5.0, -3.0, 12.0])
    env.reset(seed=0, options={"state": start})
    seen, reward = env.step(np.array([1.0, -1.0, 0.5]))[:2]
    lorenz = envs.systems()["Lorenz"](rho=22.0, sigma=9.0, beta=8 / 3 + 4 / 30)
    after = lorenz.step(lorenz.step(start))
    speed = lorenz.law_at(after)
    np.testing.assert_allclose(seen, [*after, *speed], rtol=1e-5)
    assert reward == (10.0 if np.linalg.norm(speed) >= 40 else -10.0)
    still = envs.systems()["Lorenz"](rho=20.0).target
    env.reset(seed=0, options={"state": still})
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(np.zeros(3))
        rewards.append(reward)
        over = terminated or truncated
    assert (len(rewards), terminated, rewards[0], rewards[-1]) == (4000, True, -10.0, -100.0)


@pytest.mark.parametrize(("name", "right"), [("LorenzLeftLobe", 0.0), ("LorenzSign", -1.0)])
def test_lorenz_left_lobe(name, right):
    env = make(name)
    assert env.action_space == gymnasium.spaces.Discrete(3)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.state, [10.0, 10.0, 10.0])
    seen, reward, *_ = env.step(2)
    lorenz, state = envs.systems()["Lorenz"](), np.full(3, 10.0)
    for _ in range(5):
        state = lorenz.step(state, 1.0)
    np.testing.assert_allclose(seen, [*state, *lorenz.law_at(state, 1.0)], rtol=1e-5)
    assert reward == (1.0 if state[0] < 0 else right)
    env.reset(seed=0, options={"state": [-8.0, -8.0, 20.0]})
    assert env.step(1)[1] == 1.0


@pytest.mark.parametrize(
    ("name", "start", "target", "power"),
    [
        ("LorenzOrigin", [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], 1),
        ("HenonParameters", [0.1, 0.1], [0.6313544770895047, 0.1894063431268514], 1),
        ("LogisticParameter", [0.3], [2.8 / 3.8], 2),
    ],
)
def test_distances_to_fixed_points_by_parameter_pushes(name, start, target, power):
    env = make(name)
    env.reset(seed=0, options={"state": start})
    reward, terminated = env.step(np.full(env.task.system.n_pushes, 0.5))[1:3]
    assert reward == pytest.approx(-(np.linalg.norm(env.state - target) ** power), rel=1e-9)
    assert not terminated
    env.reset(seed=0, options={"state": np.array(target) + 1e-5})
    assert env.step(np.zeros(env.task.system.n_pushes))[2], "inside the ball the episode ends"


def test_henon_and_logistic_parameters_are_what_is_pushed():
    env = make("HenonParameters")
    env.reset(seed=0, options={"state": [0.2, 0.1]})
    env.step(np.array([1.0, -1.0]))
    np.testing.assert_allclose(env.state, [1 - 1.5 * 0.04 + 0.1, 0.2 * 0.2], rtol=1e-12)
    env = make("LogisticParameter")
    env.reset(seed=0, options={"state": [0.2]})
    env.step(np.array([1.0]))
    assert env.state[0] == pytest.approx(3.9 * 0.2 * 0.8)


def test_kuramoto_sivashinsky_bucci():
    """Four bumps of sigma 0.4 and height 1, eight sensors, -|u - E2|; equal pushes move the mean."""
    env = make("KuramotoSivashinskyBucci")
    env.reset(seed=0)
    assert np.mean(env.state) == pytest.approx(0.0, abs=1e-12)
    seen, reward = env.step(np.ones(4))[:2]
    np.testing.assert_allclose(seen, env.state[5::8], rtol=1e-5)
    e2 = np.array(env.task.system.equilibria["E2"])
    assert reward == pytest.approx(-np.linalg.norm(env.state - e2), rel=1e-9)
    width = 0.4 * np.sqrt(2 * np.pi) / 22
    assert np.mean(env.state) == pytest.approx(0.25 * 0.5 * 4 * width, rel=1e-6)


def test_kuramoto_sivashinsky_quiet():
    """-(<u_xx^2> + <u_x^2> + <u f>), by Fourier coefficients."""
    env = make("KuramotoSivashinskyQuiet")
    env.reset(seed=0)
    action = np.array([1.0, -0.5, 0.2, 0.0])
    reward = env.step(action)[1]
    u, q = env.state, waves(env)
    power = np.abs(np.fft.rfft(u) / 64) ** 2
    power[1:-1] *= 2
    forcing = 0.5 * action @ env.task.system.bumps
    assert env.task.system.bumps.max() == pytest.approx(1.0)
    assert reward == pytest.approx(-np.sum((q**4 + q**2) * power) - np.mean(u * forcing), rel=1e-9)
    assert env.task.worst > -reward > 0


def test_kuramoto_sivashinsky_sensors():
    """-|u - u*| / sqrt(64) - 0.2 |a| with |a_i| <= 1 and bumps of height 1."""
    env = make("KuramotoSivashinskySensors")
    env.reset(seed=0)
    action = np.linspace(-1, 1, 8)
    seen, reward = env.step(action)[:2]
    np.testing.assert_allclose(seen, env.state[::16], rtol=1e-5)
    expected = -np.linalg.norm(env.state) / 8 - 0.2 * np.linalg.norm(action)
    assert reward == pytest.approx(expected, rel=1e-6)
    assert pytest.approx(22.2144, abs=1e-3) == env.task.system.L
    assert env.task.bounds == (1.0,) * 8


def test_kuramoto_sivashinsky_long():
    """-(|u|^2 + |a|^2)."""
    env = make("KuramotoSivashinskyLong")
    env.reset(seed=0)
    action = np.linspace(-1, 1, 8)
    reward = env.step(action)[1]
    assert reward == pytest.approx(-np.sum(env.state**2) - np.sum(action**2), rel=1e-6)
    assert env.observation_space.shape == (10,)


def test_settings_of_the_source_give_way_to_what_is_asked_for():
    assert make("KuramotoSivashinskyBucci", lyapunov_times=5).task.steps == round(5 / 0.0494 / 0.25)
    assert make("HenonParameters", goal="orbit", period=2).task.aim.name == "orbit"


def test_escaping_never_pays_even_where_failure_has_a_price():
    env = make("RestoringChaos", rho=20.0, steps=20, window=10)
    assert env.task.aim.forfeit(env.task) == 90.0
    assert envs.card("chaos/RestoringChaos-v0")["reward_worst"] == -100.0
