"""What holds for every lattice, on two that have everything: open end, ring, profile, totals, push in a product."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from envs.functions import exp
from envs.lattice import LatticeFlow, LatticeMap, total
from envs.system import ContractError


@dataclass(frozen=True)
class Everything(LatticeFlow):
    """Source: made up."""

    a: float = 0.3
    b: float = 0.7

    components = ("x", "y")
    periodic = False
    dt = 0.05

    def profiles(self):
        return {"w": 1 + 0.1 * self.b * np.arange(self.sites) ** 2 % 1}

    def rate(self, x, y, push, w):
        mean = total(w[0] * x[1] * y[0]) / self.sites
        spread = x[2] - 2 * x[0] + x[-1] * w[-1]
        return (
            self.a * spread - x[0] ** 3 + y[0] * mean + x[0] * push,
            -y[0] + exp(-(x[0] ** 2)) * w[1] + total(x[0] ** 2) / self.sites,
        )


@dataclass(frozen=True)
class Ring(LatticeMap):
    """Source: made up."""

    a: float = 0.4

    def image(self, x, push):
        return (self.a * (x[3] - x[-2]) + exp(-(x[0] ** 2)) + push + 0.1 * total(x[0] * x[1]) / self.sites,)


LATTICES = [Everything, Ring]


def built(cls, sites=17, **fields):
    return cls(**({"sites": sites, "actuators": min(3, sites)} | fields))


def some(system, count, seed=0):
    generator = np.random.default_rng(seed)
    states = generator.normal(scale=0.7, size=(len(system.states), count))
    return states, generator.normal(size=(system.n_pushes, count))


@pytest.mark.parametrize("sites", [1, 3, 4, 17, 200])
@pytest.mark.parametrize("cls", LATTICES)
def test_any_number_of_sites_has_the_written_law_and_its_complex_step_derivative(cls, sites):
    system, h = built(cls, sites, a=0.37), 1e-30
    states, pushes = some(system, 1, sites)
    state, push = states[:, 0], pushes[:, 0]
    np.testing.assert_allclose(
        system.law_at(state, push), system.written(state, push), rtol=1e-13, atol=1e-13
    )
    columns = [system.written(state + 1j * h * e, push).imag / h for e in np.eye(len(state))]
    np.testing.assert_allclose(system.jacobian(state, push), np.transpose(columns), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cls", LATTICES)
def test_a_lane_of_many_blocks_and_a_single_state_agree_to_the_last_bit(cls):
    system = built(cls)
    states, push = some(system, 301)
    moved = system.advance(states, push, steps=3)
    for lane in (0, 1, 59, 60, 119, 120, 121, 240, 300):
        state = states[:, lane]
        for _ in range(3):
            state = system.step(state, push[:, lane])
        assert moved[:, lane].tobytes() == state.tobytes()


@pytest.mark.parametrize("cls", LATTICES)
def test_torch_agrees_and_so_does_runge_kutta_by_hand(cls):
    system = built(cls)
    states, push = some(system, 5)
    moved = system.advance(states, push)
    tensor = system.tensor_step(torch.from_numpy(states), torch.from_numpy(push))
    np.testing.assert_allclose(tensor.numpy(), moved, rtol=1e-12, atol=1e-13)
    h, y, u = system.dt, states[:, 2], push[:, 2]
    a = system.written(y, u)
    if system.kind == "flow":
        b = system.written(y + h / 2 * a, u)
        c = system.written(y + h / 2 * b, u)
        a = y + h / 6 * (a + 2 * b + 2 * c + system.written(y + h * c, u))
    np.testing.assert_allclose(moved[:, 2], a, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        system.rates(states, push)[:, 2],
        system.law_at(y, u) - (y if system.kind == "map" else 0),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("vectors", [1, 4, None])
@pytest.mark.parametrize("cls", LATTICES)
def test_the_tangent_is_the_derivative_of_the_step_itself(cls, vectors):
    """Two steps with one orthonormalisation against QR of a central difference; totals are part of it."""
    system, h = built(cls, 7), 1e-6
    states, _ = some(system, 1)
    start = states[:, :1]
    vectors = vectors or len(start)
    offsets = start + h * np.eye(len(start))
    free = np.zeros((system.n_pushes, len(start)))
    difference = system.advance(offsets, free, 2) - system.advance(2 * start - offsets, free, 2)
    expected, triangle = np.linalg.qr(difference[:, :vectors] / (2 * h))
    sign = np.sign(np.diag(triangle))
    moved, frame, growth = system.stretch(start[:, 0], np.eye(len(start))[:, :vectors], steps=2, qr_every=2)
    assert moved.tobytes() == system.orbit(start[:, 0], 1, 2)[0].tobytes()
    np.testing.assert_allclose(growth, np.log(np.abs(np.diag(triangle))), atol=1e-7)
    np.testing.assert_allclose(frame, expected * sign, atol=1e-6)


@pytest.mark.parametrize("cls", LATTICES)
def test_who_leaves_the_bounds_stays_where_he_was(cls):
    system = built(cls, actuators=17)
    states, push = some(system, 200)
    states[4, 7], push[3, 9], push[2, 11] = 0.0, 1e200, np.nan
    reach = 1.6 if cls is Everything else 2.6
    low, high = np.full(len(states), -reach), np.full(len(states), reach)
    alive = np.ones(200)
    alive[5] = 0.0
    moved = states.copy()
    system.carry(moved, push, alive, 6, low, high)
    assert 0 < alive.sum() < 195, "this case is too easy to test anything"
    for lane in range(200):
        state, going = states[:, lane], lane != 5
        for _ in range(6):
            following = system.step(state, push[:, lane])
            going = going and bool(np.all((following >= low) & (following <= high)))
            state = following if going else state
        assert moved[:, lane].tobytes() == state.tobytes()
        assert alive[lane] == going


def test_pushes_act_on_evenly_spaced_sites_or_on_the_states_that_were_named():
    even = Ring(sites=10, actuators=3)
    state = np.zeros(10)
    effect = even.law_at(state, [1.0, 2.0, 3.0]) - even.law_at(state)
    np.testing.assert_allclose(effect, [1, 0, 0, 2, 0, 0, 3, 0, 0, 0], atol=1e-15)
    named = Everything(sites=4, actuators=1, actuator=("y3", "x1"))
    state = np.linspace(0.1, 0.8, 8)
    effect = named.law_at(state, [1.0, 2.0]) - named.law_at(state)
    np.testing.assert_allclose(effect, [2, 0, 0, 0, 0, 0, 1, 0], atol=1e-14)
    np.testing.assert_allclose(named.written(state, [1.0, 2.0]), named.law_at(state, [1.0, 2.0]), rtol=1e-14)
    assert r"\dot{y}_{3} &\mathrel{+}= u_{1}" in named.latex
    assert "u_{i}" not in named.latex


def test_all_sizes_share_one_compilation():
    assert Ring(sites=3, actuators=1).kernels is Ring(sites=90, actuator=("x5",)).kernels


def test_latex_shows_neighbours_profiles_totals_and_push():
    text = Everything().latex
    assert text.count("&=") == 2
    for part in (
        r"\dot{x}_{i}",
        "x_{i+2}",
        "x_{i-1}",
        "w_{i+1}",
        r"\sum_{j} \left(w_{j} x_{j+1} y_{j}\right)",
        "u_{i}",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"sites": 0}, "sites must be a whole number, at least 1, got 0"),
        ({"sites": "x"}, "sites must be a whole number, at least 1, got 'x'"),
        ({"sites": True}, "sites must be a whole number"),
        (
            {"sites": 5, "actuators": 6},
            "actuators must be a whole number, from 1 to 5, the number of sites, got 6",
        ),
        ({"actuators": 0}, "actuators must be a whole number"),
        ({"actuator": ("a",)}, r"the actuators of a lattice are states \(x1 ... x40\), got 'a'"),
    ],
)
def test_wrong_structure_is_one_clear_error(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Ring(**fields)


@dataclass(frozen=True)
class Wrong(LatticeMap):
    """Source: made up."""

    fault: int = 0

    def image(self, x, push):
        nested = total(x[0] * total(x[0])) if self.fault == 1 else x[0]
        return (x[0.5],) if self.fault == 0 else (nested + push,) * self.fault if self.fault < 3 else (x,)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (0, "needs a whole number k"),
        (1, "total inside a total"),
        (2, "2 values for 1 comp"),
        (3, "cannot be called"),
    ],
)
def test_a_law_that_cannot_be_compiled_names_file_and_fault(fault, sentence):
    with pytest.raises(ContractError, match=sentence) as error:
        _ = replace(Wrong(), fault=fault).kernels
    assert "test_lattice.py: Wrong" in str(error.value)
