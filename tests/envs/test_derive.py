"""What a file need not state: derived numbers come out as an expert would have chosen them."""

import doctest
from dataclasses import replace

import numpy as np
import pytest

import envs
from envs import derive
from envs.goals.hold import Hold

LORENZ = envs.systems()["Lorenz"]


def test_for_lorenz_the_rules_find_what_was_chosen_by_hand():
    """Its file states push 10, control interval 0.05, reward scale 20; the rules would have said the same."""
    system = LORENZ()
    assert derive.push(system) == system.task.push
    assert derive.reward_scale(system, Hold()) == system.task.reward_scale
    assert derive.control_interval(system) == pytest.approx(system.task.control_interval, rel=0.3)


def test_the_ruler_does_not_move_with_the_parameters_but_the_target_does():
    one, other = LORENZ(), replace(LORENZ(), rho=35.0)
    for mine, yours in zip(derive.ruler(one), derive.ruler(other), strict=True):
        np.testing.assert_array_equal(mine, yours)
    assert derive.push(one) == derive.push(other)
    assert not np.allclose(derive.target(one), derive.target(other))


def test_the_attractor_is_where_everybody_says_it_is():
    """Both lobes, and inside the sphere around (0, 0, s + r) of radius b (s + r) / (2 sqrt(b - 1))."""
    points = derive.attractor(LORENZ()).points
    assert (np.abs(points).max(axis=0) < [20, 28, 50]).all()
    assert (points[:, 2] > 0).all()
    assert 0.3 < np.mean(points[:, 0] > 0) < 0.7
    radius = 8 / 3 * 38 / (2 * np.sqrt(8 / 3 - 1))
    assert 0.7 * radius < np.linalg.norm(points - [0, 0, 38], axis=1).max() < radius


def test_newton_finds_all_three_fixed_points_of_lorenz_and_says_no_elsewhere():
    system = LORENZ()
    r = np.sqrt(8 / 3 * 27)
    for guess, fixed in [((1, 1, 1), (0, 0, 0)), ((8, 9, 26), (r, r, 27)), ((-8, -9, 26), (-r, -r, 27))]:
        found = derive.newton(system, np.array(guess, dtype=float))
        np.testing.assert_allclose(found, fixed, atol=1e-9)
    assert derive.newton(replace(system, sigma=0.0), np.ones(3)) is None


def test_examples_in_the_docstrings():
    assert doctest.testmod(derive).failed == 0
