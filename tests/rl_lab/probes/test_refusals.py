"""What the estimators say where a number alone would mislead."""

from dataclasses import replace

import numpy as np
import pytest

import envs
from rl_lab.probes.escape import survive
from rl_lab.probes.finite_time import finite_time
from rl_lab.probes.lyapunov import spectrum
from rl_lab.probes.two_trajectory import largest

LORENZ, HENON, ROSSLER = (envs.systems()[name] for name in ("Lorenz", "Henon", "Rossler"))


def test_methods_that_follow_single_orbits_say_that_chaos_is_transient():
    transient = LORENZ(rho=20.0)
    assert "escape rate" in (largest(transient, renormalisations=40).note or "")
    assert "escape rate" in finite_time(transient, steps=50, starts=4).note
    assert "transient" not in (largest(LORENZ(), renormalisations=40).note or "")


def test_a_limit_cycle_has_dimension_one_and_no_entropy():
    """Its largest exponent is 0 up to noise, whose sign must not decide."""
    found = spectrum(replace(ROSSLER(), c=2.5), time=5000.0)
    assert abs(found.exponents[0]) < 1e-3
    assert found.kaplan_yorke == 1.0
    assert found.kaplan_yorke_stderr == 0.0
    assert found.entropy == (0.0, 0.0)


def test_survivors_are_not_asked_before_they_have_forgotten_their_start():
    with pytest.raises(ValueError, match="too short for orbits to forget"):
        survive(LORENZ(rho=20.0), starts=50, longest=1.0)
    for settings in ({"vectors": 99}, {"longest": 0.0}, {"settle": float("nan")}, {"settle": -1.0}):
        with pytest.raises(ValueError, match=rf"{next(iter(settings))} must be"):
            survive(LORENZ(rho=20.0), starts=50, **settings)


def test_windows_and_times_nobody_can_measure_are_refused():
    with pytest.raises(ValueError, match="tangents overflow within 3000 steps"), np.errstate(all="ignore"):
        finite_time(HENON(), steps=3000, starts=2)
    for time in (1e30, float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="time must be at least one step"):
            spectrum(HENON(), time=time)
    with pytest.raises(ValueError, match="starts must be at least 1"):
        spectrum(HENON(), time=1e3, starts=0)
