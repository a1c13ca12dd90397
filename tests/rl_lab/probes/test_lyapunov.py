"""The spectrum against references, eigenvalues and closed forms."""

import numpy as np
import pytest

import envs
from rl_lab.probes.blocks import block_stderr
from rl_lab.probes.dimension import kaplan_yorke
from rl_lab.probes.lyapunov import Spectrum, spectrum


def within(found: Spectrum, exponents, stderr, sigmas=3.0):
    allowed = sigmas * np.hypot(found.stderr, stderr)
    assert np.all(np.abs(np.subtract(found.exponents, exponents)) <= allowed), (found.exponents, found.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "exponents", "stderr", "dimension"),
    [
        ("Lorenz", (0.90581, 0.0, -14.57248), 0.00026, 2.0622),
        ("Rossler", (0.07119, 0.0, -5.3942), 0.00025, 2.0132),
        ("Henon", (0.41929, -1.62326), 0.00005, 1.25830),
        ("DoublePendulum", (0.911, 0.0, 0.0, -0.911), 0.015, 4.0),
    ],
)
def test_published_spectra_within_three_standard_errors(name, exponents, stderr, dimension):
    """Values of the project's facts, written here again: a slip in a system's file must not move the test."""
    found = spectrum(envs.systems()[name]())
    within(found, exponents, stderr)
    assert found.stderr[0] < 0.01, "too uncertain to test anything"
    assert found.kaplan_yorke == pytest.approx(dimension, abs=2e-3)
    assert found.note is None
    assert np.max(np.abs(found.deviations)) <= 3


def test_at_a_stable_fixed_point_the_exponents_are_the_eigenvalues():
    """rho = 20: the orbit ends in C+ or C-, where linear algebra knows the answer. Adaptive solvers say 0."""
    system = envs.system_of("chaos/Lorenz-v0", rho=20.0)
    found = spectrum(system, time=5000, settle=2000)
    eigenvalues = np.sort(np.linalg.eigvals(system.jacobian(np.array(system.target))).real)[::-1]
    np.testing.assert_allclose(found.exponents, eigenvalues, atol=2e-3, rtol=2e-5)
    assert np.mean(found.exponents[:2]) == pytest.approx(-0.15479177, abs=1e-5)
    assert "fixed point" in found.note
    assert found.kaplan_yorke == 0.0


def test_the_spectrum_does_not_depend_on_the_first_frame():
    system = envs.systems()["Henon"]()
    one, other = (spectrum(system, time=20_000, seed=seed) for seed in (0, 1))
    np.testing.assert_allclose(one.exponents, other.exponents, rtol=1e-9)


def test_block_errors_shrink_like_the_square_root_of_time():
    """And on independent numbers they are the textbook standard error."""
    system = envs.systems()["Henon"]()
    long, short = spectrum(system, time=1_600_000), spectrum(system, time=100_000)
    assert 2.5 < short.stderr[0] / long.stderr[0] < 6.5
    rng = np.random.default_rng(0)
    claimed = [block_stderr(rng.normal(size=(20, 1)))[0] for _ in range(500)]
    assert np.mean(claimed) == pytest.approx(1 / np.sqrt(20), rel=0.05)


def test_an_orbit_that_runs_away_is_said_in_a_sentence():
    with pytest.raises(ValueError, match=r"Henon\(a=2, b=0\.3\): the uncontrolled orbit .* runs away"):
        spectrum(envs.system_of("chaos/Henon-v0", a=2.0))


@pytest.mark.parametrize("wrong", [{"blocks": 1}, {"time": -1.0}, {"time": float("nan")}, {"settle": 0.0}])
def test_wrong_input_is_refused_with_its_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        spectrum(envs.systems()["Henon"](), **wrong)


def test_the_document_has_the_agreed_keys():
    system = envs.systems()["Henon"]()
    document = spectrum(system, time=1000).document("chaos/Henon-v0")
    assert list(document)[:7] == ["env", "exponents", "stderr", "unit", "kaplan_yorke", "time", "reference"]
    assert document["unit"] == "nats per iteration"
    assert document["time"] == 1000
    assert document["reference"]["exponents"] == [0.41929, -1.62326]
    other = spectrum(envs.system_of("chaos/Henon-v0", a=1.39), time=1000)
    assert other.document("x")["reference"] is None
    assert other.deviations is None


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ((-0.1, -2.0), 0.0),
        ((0.0, -1.0), 1.0),
        ((0.41929, -1.62326), 1.25830),
        ((0.905, 0.0, -14.57), 2 + 0.905 / 14.57),
        ((-14.57, 0.905, 0.0), 2 + 0.905 / 14.57),
        ((0.1143, 0.0194, 0.0, -25.5), 3.00524),
        ((0.9, 0.0, 0.0, -0.9), 4.0),
        ((0.5, 0.1), 2.0),
    ],
)
def test_kaplan_yorke_dimension(exponents, dimension):
    assert kaplan_yorke(exponents) == pytest.approx(dimension, abs=1e-5)
