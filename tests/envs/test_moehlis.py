"""The shear flow's own sentence: viscosity alone changes the energy, and laminar flow waits beside the turbulence."""

from dataclasses import replace

import numpy as np
import pytest

import envs
from rl_lab.probes.escape import survive
from rl_lab.probes.lyapunov import spectrum

SHEAR = envs.systems()["NineModeShear"]
LAMINAR = np.eye(9)[0]


def test_the_quadratic_terms_keep_the_energy():
    """a · rate(a) = 0 without viscosity, in boxes of any shape: every triad of coefficients must match."""
    rng = np.random.default_rng(0)
    for lx, lz in ((12.566, 6.283), (5.5, 3.77), (3.0, 9.0)):
        system = replace(SHEAR(), re=1e300, lx=lx, lz=lz)
        for state in rng.normal(size=(5, 9)):
            terms = state * system.law_at(state)
            assert np.abs(terms).max() > 0.05
            assert terms.sum() == pytest.approx(0, abs=1e-13)


def test_laminar_flow_is_an_equilibrium_that_attracts():
    """Its slowest mode is the mean profile's own decay, beta^2 / Re with beta = pi / 2."""
    system = SHEAR()
    np.testing.assert_allclose(system.law_at(LAMINAR), 0, atol=1e-16)
    rates = np.sort(np.linalg.eigvals(system.jacobian(LAMINAR)).real)
    assert rates[-1] == pytest.approx(-(np.pi**2) / 4 / 400)
    assert system.decayed(LAMINAR[:, None]).all()
    assert not system.decayed(np.array(system.start)[:, None]).any()


@pytest.mark.nightly
@pytest.mark.parametrize("re", [400.0, 600.0])
def test_survivors_have_the_published_exponents(re):
    found = spectrum(SHEAR(re=re))
    assert found.survivors
    assert "transient" in found.note
    assert np.max(np.abs(found.deviations)) < 3, (found.exponents, found.stderr)
    if re == 400:
        lifetime = survive(SHEAR(), longest=6000.0).lifetime
        assert 5e3 < lifetime < 3e4
