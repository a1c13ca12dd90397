"""Pictures: what is drawn is where it is; time runs downwards; the same states are the same bytes."""

from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest

import envs
from envs import render
from envs.goals.hold import Hold
from envs.goals.region import Region
from envs.render import pendulum, trail
from envs.render.canvas import PRESENT, diverging, ticks
from envs.render.scene import PLOT
from envs.render.spacetime import MAP, ROWS
from envs.system import Flow, System


@dataclass(frozen=True)
class Plane(Flow):
    states = ("x", "y")
    dt = 0.1


@dataclass(frozen=True)
class Forced(Flow):
    states = ("phase", "x", "v")
    angles = ("phase",)
    dt = 0.1


@dataclass(frozen=True)
class Rods(Flow):
    l1: float = 1.0
    l2: float = 3.0
    states = ("theta1", "theta2", "omega1", "omega2")
    angles = ("theta1", "theta2")
    dt = 0.1


@dataclass(frozen=True)
class Ring(System):
    kind = "field"
    dt = 0.1
    components = ("u", "v")
    states = tuple(f"{c}{i}" for c in "uv" for i in range(1, 33))
    pushes = 3


@dataclass(frozen=True)
class Sheet(System):
    kind = "field"
    dt = 0.1
    components = ("u",)
    grid = (8, 8)
    states = tuple(f"u{i}" for i in range(1, 65))


@dataclass(frozen=True, eq=False)
class Scene:
    """A task as far as pictures are concerned."""

    system: System
    initial_states: np.ndarray
    aim: object = Region()
    target: object = None
    id: str = "chaos/Toy-v0"
    bounds: tuple[float, ...] = (2.0,)
    control_interval: float = 0.5
    steps: int = 200


def corners(system, size=1.0):
    return np.array([np.full(len(system.states), -size), np.full(len(system.states), size)])


def centroid(picture, colour, box=(0, 0, 512, 480)):
    """Mean place (x, y) of the pixels of a colour inside a box."""
    left, top, right, bottom = box
    rows, columns = np.nonzero((picture[top:bottom, left:right] == colour).all(axis=2))
    assert len(rows), f"no pixel of {colour}"
    return columns.mean() + left, rows.mean() + top


def test_a_picture_is_an_array_of_bytes_and_the_same_states_give_the_same_bytes():
    scene = Scene(Plane(), corners(Plane()))
    states = np.array([[0.0, 0.0], [0.2, 0.1], [0.4, 0.5]])
    first = render.frame(scene, states, np.array([1.0]), 3)
    assert (first.shape, first.dtype) == ((480, 512, 3), np.uint8)
    again = render.frame(Scene(Plane(), corners(Plane())), states, np.array([1.0]), 3)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != render.frame(scene, states, np.array([1.0]), 4).tobytes(), "the clock"
    assert first.tobytes() != render.frame(scene, states + 0.05, np.array([1.0]), 3).tobytes(), "the state"


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.5, -0.25), (-1.0, 1.0)])
def test_the_present_state_is_drawn_where_it_is(x, y):
    """The plot spans the attractor and 8 % of its range on each side; up is up."""
    scene = Scene(Plane(), corners(Plane()))
    found = centroid(render.frame(scene, np.array([[0.9, 0.9], [x, y]]), [0.0]), PRESENT, PLOT)
    width, height = PLOT[2] - PLOT[0], PLOT[3] - PLOT[1]
    expected = PLOT[0] + (x / 1.16 + 1) / 2 * width, PLOT[1] + (1 - y / 1.16) / 2 * height
    assert found == pytest.approx(expected, abs=1.0)


def test_a_state_beyond_the_plot_is_held_at_its_edge():
    scene = Scene(Plane(), corners(Plane()))
    x, y = centroid(render.frame(scene, np.array([[0.0, 0.0], [50.0, -50.0]]), [0.0]), PRESENT, PLOT)
    assert PLOT[2] - 12 < x < PLOT[2]
    assert PLOT[3] - 12 < y < PLOT[3]


def test_the_target_is_marked_and_a_task_without_one_marks_nothing():
    green = (0, 158, 115)
    marked = Scene(Plane(), corners(Plane()), Hold(), np.array([0.5, 0.5]))
    x, y = centroid(render.frame(marked, np.zeros((1, 2)), [0.0]), green, (250, 60, 496, 392))
    assert (x - PLOT[0]) / (PLOT[2] - PLOT[0]) == pytest.approx((0.5 / 1.16 + 1) / 2, abs=0.01)
    assert (PLOT[3] - y) / (PLOT[3] - PLOT[1]) == pytest.approx((0.5 / 1.16 + 1) / 2, abs=0.01)
    free = render.frame(Scene(Plane(), corners(Plane())), np.zeros((1, 2)), [0.0])
    assert not (free == green).all(axis=2).any()


@pytest.mark.parametrize("push", [0.0, 0.5, -1.0, 2.0, 3.0])
def test_the_push_bar_is_as_long_as_the_push_and_full_at_the_bound(push):
    scene = Scene(Plane(), corners(Plane()))
    picture = render.frame(scene, np.zeros((1, 2)), [push])
    lit = np.flatnonzero((picture[455, PLOT[0] : PLOT[2]] == PRESENT).all(axis=1))
    assert len(lit) == (picture[455] == PRESENT).all(axis=1).sum(), "nothing beyond the bound"
    half = (PLOT[2] - PLOT[0]) / 2
    assert len(lit) == pytest.approx(half * min(abs(push) / 2, 1), abs=2)
    assert push == 0 or np.all(lit >= half - 1 if push > 0 else lit <= half)


def test_a_map_of_space_and_time_runs_downwards_and_shows_the_first_component():
    """u rises from left to right, and changes its sign after half of the time; v is large and not drawn."""
    ramp = np.linspace(-1, 1, 32)
    early, late = np.append(ramp, np.full(32, 9.0)), np.append(-ramp, np.full(32, 9.0))
    scene = Scene(Ring(), np.array([early, late]), bounds=(1.0,) * 3)
    states = np.vstack([np.tile(early, (ROWS // 2, 1)), np.tile(late, (ROWS // 2, 1))])
    picture = render.frame(scene, states, np.zeros(3), 500)[MAP[1] : MAP[3], MAP[0] : MAP[2]].astype(int)
    warmth = picture[..., 0] - picture[..., 2]
    height = len(warmth)
    upper_left, upper_right = warmth[: height // 2 - 2, :60].mean(), warmth[: height // 2 - 2, -60:].mean()
    lower_left, lower_right = warmth[height // 2 + 2 :, :60].mean(), warmth[height // 2 + 2 :, -60:].mean()
    assert upper_left < -90 < 90 < upper_right
    assert lower_right < -90 < 90 < lower_left
    short = render.frame(scene, states[:10], np.zeros(3), 10)[
        MAP[3] - 40 : MAP[3] - 4, MAP[0] + 4 : MAP[2] - 4
    ]
    assert (short == 255).all(), "rows still to come are paper"


def test_a_field_in_the_plane_is_an_image_with_its_first_row_on_top():
    field = np.full((8, 8), -1.0)
    field[0, :] = 1.0
    field[:, 7] = 1.0
    scene = Scene(Sheet(), np.array([field.ravel(), -field.ravel()]))
    picture = render.frame(scene, field.ravel()[None], [0.0]).astype(int)
    warmth = (picture[..., 0] - picture[..., 2])[44:376, 82:414]
    assert warmth[:30].mean() > 90
    assert warmth[:, -30:].mean() > 90
    assert warmth[60:, :-60].mean() < -90


def test_a_pendulum_hangs_downwards_and_its_rods_have_their_lengths():
    pivot, first, second = pendulum.joints(Rods(), np.array([0.0, np.pi / 2, 0.0, 0.0]))
    assert first - pivot == pytest.approx((0, np.hypot(*(second - first)) / 3))
    assert second - first == pytest.approx((np.hypot(*(second - first)), 0), abs=1e-9), (
        "a quarter turn is to the right"
    )
    scene = Scene(Rods(), corners(Rods()), Hold(), np.zeros(4))
    picture = render.frame(scene, np.array([[0.0, np.pi / 2, 0.0, 0.0]]), [0.0])
    assert centroid(picture, PRESENT, PLOT) == pytest.approx(tuple(second), abs=1.0)


def test_three_states_are_seen_along_an_orthonormal_frame():
    eye = np.column_stack([trail._EYE, trail._TOWARDS])
    assert eye.T @ eye == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(eye) == pytest.approx(1.0), "not mirrored"


@pytest.mark.parametrize(
    ("system", "kind", "drawn"),
    [
        (Plane(), "trail", (0, 1)),
        (Forced(), "trail", (1, 2)),
        (Rods(), "pendulum", None),
        (Ring(), "field", None),
    ],
)
def test_a_system_is_drawn_by_its_kind(system, kind, drawn):
    assert render.drawing(system) == kind
    if drawn:
        assert trail.view(system) == drawn


def test_an_angle_that_comes_round_draws_no_line_across_the_picture():
    @dataclass(frozen=True)
    class Turning(Plane):
        angles = ("x",)

    blue = (0, 114, 178)
    scene = Scene(Turning(), np.array([[-np.pi, -1.0], [np.pi, 1.0]]))
    picture = render.frame(scene, np.array([[3.0, 0.0], [3.3, 0.0]]), [0.0])
    middle = picture[:, (PLOT[0] + PLOT[2]) // 2 - 60 : (PLOT[0] + PLOT[2]) // 2 + 60]
    assert not (middle == blue).all(axis=2).any()


def test_states_of_another_system_are_refused():
    with pytest.raises(ValueError, match=r"needs states \[T, 2\], got \(1, 3\)"):
        render.frame(Scene(Plane(), corners(Plane())), np.zeros((1, 3)), [0.0])


def test_the_colours_of_a_field_are_white_at_zero_and_darker_outwards():
    colours = diverging(np.array([-1.0, -0.5, 0.0, 0.5, 1.0])).astype(int)
    assert colours[2].min() > 240
    light = colours.sum(axis=1)
    assert light[0] < light[1] < light[2] > light[3] > light[4]
    assert colours[0, 2] > colours[0, 0]
    assert colours[4, 0] > colours[4, 2]


@pytest.mark.parametrize(("low", "high"), [(-0.3, 1.1), (1e-6, 3e-6), (-40.0, 55.0), (99.0, 100.0)])
def test_ticks_are_round_evenly_spaced_and_inside(low, high):
    found = ticks(low, high)
    gaps = np.diff(found)
    assert 3 <= len(found) <= 7
    assert low - 1e-12 <= found[0]
    assert found[-1] <= high + 1e-12
    assert np.allclose(gaps, gaps[0])
    assert f"{gaps[0]:.0e}"[0] in "125"


@pytest.mark.parametrize("env_id", envs.ids())
def test_every_task_draws_itself(env_id):
    env = gymnasium.make(env_id, render_mode="rgb_array", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    picture = env.render()
    assert picture.shape == (480, 512, 3)
    assert picture.dtype == np.uint8
    colours = picture.reshape(-1, 3) @ np.array([1, 256, 65536])
    assert len(np.unique(colours)) > 10, "an empty picture"
