"""Rössler's own sentence: nothing but equations in its file, and everything else follows from them."""

import gymnasium
import numpy as np
import pytest

import envs
from envs import derive

ROSSLER = envs.systems()["Rossler"]


def test_the_derived_target_is_the_inner_fixed_point():
    """z = (c - sqrt(c^2 - 4 a b)) / (2 a), x = a z, y = -z; the other root is far outside the band."""
    system = ROSSLER(a=0.21, b=0.19, c=5.8)
    z = (system.c - np.sqrt(system.c**2 - 4 * system.a * system.b)) / (2 * system.a)
    np.testing.assert_allclose(derive.target(system), [system.a * z, -z, z], rtol=1e-10)


def test_eigenvalues_at_the_inner_fixed_point():
    """Roots of the characteristic polynomial det(l - J) written out by hand."""
    system = ROSSLER()
    x, _, z = derive.target(system)
    a, m = system.a, x - system.c
    roots = np.roots([1, -(a + m), a * m + 1 + z, -(m + a * z)])
    found = np.linalg.eigvals(system.jacobian(derive.target(system)))
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(roots), rtol=1e-9)
    assert found.real.max() == pytest.approx(0.0970, abs=1e-4)


def test_a_push_of_a_fifth_is_enough_to_hold_it():
    batch = gymnasium.make_vec("chaos/Rossler-v0", num_envs=64)
    batch.reset(seed=0)
    total = np.zeros(64)
    for _ in range(batch.task.steps):
        error = batch.states[:, 1] - batch.task.target[1]
        total += batch.step(np.clip(-error, -1, 1)[:, None])[1]
    assert np.median(total) > -90
