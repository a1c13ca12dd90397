"""Ten ways to measure a wrong exponent (P1 to P10): each test falls into the trap first, then shows ours does not."""

import inspect

import gymnasium
import numpy as np
import pytest
from numba import njit
from scipy.integrate import solve_ivp
from written_maps import Ikeda

import envs
from rl_lab.probes import blocks
from rl_lab.probes.finite_time import finite_time
from rl_lab.probes.lyapunov import spectrum
from rl_lab.probes.two_trajectory import largest

LORENZ = envs.systems()["Lorenz"]
FOCUS = -0.15479177
"""Real part of the leading eigenvalues of C+ and C- at rho = 20."""
CHAOS = 0.9058
"""Largest exponent at rho = 28."""


def naive(step, state, d0, renormalisations, time):
    """Benettin 1976 with nothing to protect it: rate per unit of `time`, the duration of one `step`."""
    here, there, total, kept = state, state + d0 / np.sqrt(len(state)), 0.0, 0
    for n in range(renormalisations):
        here, there = step(here), step(there)
        here, there = np.asarray(here, dtype=float), np.asarray(there, dtype=float)
        distance = np.linalg.norm(there - here) or d0
        if n >= renormalisations // 5:
            total, kept = total + np.log(distance / d0), kept + 1
        there = here + (there - here) * (d0 / distance)
    return total / kept / time


def adaptive(system, rtol):
    """Five time units by a solver that chooses its own steps; d0 is as small as its tolerance or smaller."""

    def step(state):
        return solve_ivp(lambda _, s: system.law_at(s), (0, 5), state, "RK45", rtol=rtol, atol=rtol).y[:, -1]

    return step


def test_p1_an_adaptive_solver_calls_a_stable_focus_neutral_and_cannot_be_used_here():
    system = LORENZ(rho=20.0)
    near = np.array(system.target) + 0.01
    faked = naive(adaptive(system, 1e-6), near, 1e-9, 20, 5.0)
    assert abs(faked - FOCUS) > 0.1, "the trap: not even half of the true rate"
    found = largest(system, state=near, settle=20_000, renormalisations=2000)
    assert found.exponent == pytest.approx(FOCUS, abs=max(3 * found.stderr, 1e-4))
    for probe in (spectrum, largest, finite_time):
        assert not {"rtol", "atol", "method", "solver"} & set(inspect.signature(probe).parameters)


def closed_loop(dtype):
    """One control interval of chaos/Lorenz-v0 under push = -(y - y*), through the Env and its observation."""
    env = gymnasium.make("chaos/Lorenz-v0", dtype=dtype, escape=3.0).unwrapped
    centre, scale = env.task.ruler

    def step(state):
        seen = env.reset(options={"state": state})[0]
        error = centre[1] + scale[1] * float(seen[1]) - env.task.target[1]
        env.step(np.array([-error / env.task.push]))
        return env.state.copy()

    env.reset(seed=0)
    return step, np.array(env.task.target) + 0.1, env.task.control_interval


def test_p2_float32_observations_flip_the_verdict_and_are_found_out():
    """log spectral radius of the closed loop: -.3103 per time unit."""
    step, near, interval = closed_loop("float32")
    assert naive(step, near, 1e-8, 300, interval) > 0, "the trap: a stable loop called chaotic"
    with pytest.raises(ValueError, match="not answer in proportion"):
        largest(step, state=near, dt=interval, d0=1e-8, settle=200)
    found = largest(
        step,
        state=near,
        dt=interval,
        tau=1,
        settle=200,
        renormalisations=400,
        scan=[1e-8, 1e-6, 1e-4, 1e-3, 1e-2],
    )
    assert found.plateau[0] >= 1e-6
    assert found.plateau[1] == 1e-2
    assert found.exponent == pytest.approx(-0.3103, abs=1e-2)
    exact, near, interval = closed_loop("float64")
    found = largest(exact, state=near, dt=interval, tau=1, settle=200, renormalisations=400, d0=1e-8)
    assert found.exponent == pytest.approx(-0.3103, abs=1e-2)
    assert found.note is None


@njit
def single(state):
    """Ten RK4 steps of 0.01 of Lorenz's flow in float32."""
    one = np.float32
    s, r, b, h = one(10), one(28), one(8) / one(3), one(0.01)
    x, y, z = state[0], state[1], state[2]
    for _ in range(10):
        sx, sy, sz, ax, ay, az = x, y, z, one(0), one(0), one(0)
        for weight, ahead in ((one(1), one(0.5)), (one(2), one(0.5)), (one(2), one(1)), (one(1), one(0))):
            dx, dy, dz = s * (sy - sx), sx * (r - sz) - sy, sx * sy - b * sz
            ax, ay, az = ax + weight * dx, ay + weight * dy, az + weight * dz
            sx, sy, sz = x + ahead * h * dx, y + ahead * h * dy, z + ahead * h * dz
        x, y, z = x + h / one(6) * ax, y + h / one(6) * ay, z + h / one(6) * az
    return np.array([x, y, z], dtype=np.float32)


def step_in_float32(state):
    return single(np.asarray(state, dtype=np.float32))


def test_p3_float32_dynamics_are_refused_or_scanned_for_a_plateau():
    start = np.array([1.0, 1.0, 20.0], dtype=np.float32)
    assert naive(step_in_float32, start, 1e-5, 3000, 0.1) > 1.5 * CHAOS, "the trap"
    with pytest.raises(ValueError, match="float32"):
        largest(step_in_float32, state=start, dt=0.1, d0=1e-6)
    found = largest(step_in_float32, state=start, dt=0.1, tau=2, renormalisations=3000, scan=True)
    assert found.plateau[0] >= 1e-5
    assert len(found.scan) == 11
    assert found.exponent == pytest.approx(CHAOS, abs=0.03 + 3 * found.stderr)


def test_p4_a_distance_that_has_grown_to_the_size_of_the_attractor_is_noticed():
    system = LORENZ()
    too_long = largest(system, d0=1e-8, tau=4000, renormalisations=120)
    assert too_long.exponent < 0.8 * CHAOS, "the trap: 36 Lyapunov times between renormalisations"
    assert "saturated" in too_long.note
    nine = largest(system, d0=1e-8, tau=1000, renormalisations=480)
    assert nine.note is None
    assert nine.exponent == pytest.approx(CHAOS, abs=3 * np.hypot(nine.stderr, 0.0003))


def test_p5_growth_over_a_short_window_is_not_an_exponent():
    """At a stable focus neighbours grow before they shrink: the tangent is not normal."""
    system = LORENZ(rho=20.0)
    short = finite_time(system, steps=5, starts=50, settle=400.0)
    assert short.sigma_max.mean > 1.0, "the trap: a stable focus that looks unstable"
    assert "never below" in short.note
    long = finite_time(system, steps=4000, starts=50, settle=400.0)
    assert FOCUS <= long.sigma_max.mean < FOCUS + 0.1
    assert long.leading.mean == pytest.approx(FOCUS, abs=0.01)


def test_p6_transient_chaos_is_reported_with_its_escape_rate():
    """The spectrum of Lorenz's flow at rho = 20 is that of a focus; the chaos before it has another."""
    system = LORENZ(rho=20.0)
    sink = spectrum(system, time=2000, settle=2000, survivors=False)
    assert max(sink.exponents) < 0, "the trap: an hour of chaos and not a trace of it"
    assert "transient" in sink.note
    assert f"{sink.escape.rate:.4g}" in sink.note
    saddle = spectrum(system, survivors=True)
    assert saddle.exponents[0] > 5 * saddle.stderr[0]
    assert abs(saddle.exponents[1]) < 0.03, "zero but for the ends of a finite window"
    assert sum(saddle.exponents) == pytest.approx(-41 / 3, abs=1e-3)
    assert "still on the saddle" in saddle.note
    assert saddle.escape.rate == pytest.approx(0.0965, abs=4 * saddle.escape.rate_stderr)
    assert saddle.document("x")["escape"]["rate"] == saddle.escape.rate


def test_p7_several_attractors_are_noticed_when_several_starts_are_asked_for():
    """Ikeda at u = 0.9: chaos (.5076) beside a sink (-.1054 = ln .9, twice); at 0.918 the sink takes all."""
    sink = spectrum(Ikeda(u=0.918), time=1000, settle=2000)
    assert sink.exponents[0] == pytest.approx(-0.0856, abs=1e-3)
    assert "fixed point" in sink.note
    one = spectrum(Ikeda(u=0.9), time=2000, settle=500)
    assert one.exponents[0] == pytest.approx(0.50759, abs=4 * one.stderr[0]), (
        "the trap: one start, one attractor"
    )
    assert one.note is None
    several = spectrum(Ikeda(u=0.9), time=4000, settle=500, starts=4, blocks=10)
    assert "do not agree" in several.note
    firsts = sorted(row[0] for row in several.by_start)
    np.testing.assert_allclose((firsts[0], firsts[-1]), (np.log(0.9), 0.50759), atol=0.05)
    assert several.stderr[0] > 0.1, "the error of a mean over two attractors is their distance"
    agreeing = spectrum(envs.systems()["Henon"](), time=40_000, starts=4)
    assert agreeing.note is None
    assert agreeing.exponents[0] == pytest.approx(0.41929, abs=3.5 * agreeing.stderr[0])


def test_p8_a_nearly_symmetric_start_needs_a_long_beginning_and_a_short_one_is_noticed(monkeypatch):
    """Next to the z axis, which the flow keeps, the orbit first goes to the origin, whose exponent is 11.8."""

    monkeypatch.setattr(LORENZ, "start", (1e-150, 1e-150, 20.0))
    hasty = spectrum(LORENZ(), time=120, settle=0.01)
    assert hasty.exponents[0] > 3 * CHAOS, "the trap"
    assert "discard a longer beginning" in hasty.note
    patient = spectrum(LORENZ(), time=4000)
    assert patient.note is None
    assert patient.exponents[0] == pytest.approx(CHAOS, abs=3.5 * patient.stderr[0])


def test_p9_errors_come_from_blocks_and_blocks_that_are_too_short_are_noticed():
    """Sums of correlated numbers: x' = .95 x + noise has a mean with 6.2 times the error of independent ones."""
    noise = np.random.default_rng(0).normal(size=(300, 4000))
    series, last = np.empty_like(noise), np.zeros(300)
    for n in range(noise.shape[1]):
        series[:, n] = last = 0.95 * last + noise[:, n]
    truth = series.mean(axis=1).std(ddof=1)
    single = series.std(axis=1, ddof=1).mean() / np.sqrt(series.shape[1])
    assert single < truth / 4, "the trap"
    means = series.reshape(300, 20, 200).mean(axis=2)
    assert np.mean([blocks.block_stderr(row[:, None])[0] for row in means]) == pytest.approx(truth, rel=0.15)
    short = series.reshape(300, 400, 10).mean(axis=2)
    noticed = [sum(blocks.correlation_note(row) is not None for row in rows) for rows in (means, short)]
    assert noticed[0] < 6
    assert noticed[1] > 290


def test_p10_every_rate_says_per_what():
    """Wolf's Lorenz in bits: 2.16, 0, -32.4; the same numbers per time unit and per step."""
    found = spectrum(LORENZ(sigma=16.0, rho=45.92, beta=4.0), time=3000)
    assert found.exponents[0] > 1.4, "the trap: 1.50 and 2.16 are the same exponent"
    np.testing.assert_allclose(found.rates.bits, (2.16, 0.0, -32.4), atol=0.08)
    assert found.unit == "nats per time unit"
    document = found.document("x")
    np.testing.assert_allclose(document["per_step"], np.multiply(document["exponents"], document["dt"]))
    assert spectrum(envs.systems()["Henon"](), time=1000).unit == "nats per iteration"
