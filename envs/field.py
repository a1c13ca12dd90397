"""Fields: partial differential equations on a periodic grid, stepped in Fourier space.

A field states du/dt = linear(q) u + outer(q) local(u) + push: `linear` and `outer` are multipliers of the
wavenumbers q, `local` acts point by point, and beside it stands its derivative. Steps, exact tangents, the
jacobian and a torch batch follow from these, written once for numpy and torch.

The state is the field on the grid, flattened: all points of the first component, then the next. Lanes, and
the tangent vectors of a frame, are rows of one batched Fourier transform.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf, prod
from types import ModuleType
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from envs import etdrk4
from envs.system import Floats, System, vector

LARGEST_JACOBIAN = 2048
"""States up to which a dense jacobian is worth its memory."""


Structure = Annotated[float, "structure"]
"""A number that belongs to the grid or the actuators, not to the equation: no parameter."""


class Plan(NamedTuple):
    """What a step needs besides the fields, as arrays of one namespace, precision and device."""

    xp: ModuleType
    linear: Any
    outer: Any
    kept: Any
    bumps: Any
    step: etdrk4.Coefficients


@dataclass(frozen=True)
class Field(System):
    """Base of fields; a subclass states its equation, `components`, `points`, `L` and the rest of the face.

    Actuators are `actuators` Gaussian bumps exp(-d^2 / (2 width^2)), of height 1, at equal distances along
    the first axis from x = 0 on, d the periodic distance. A push is a constant forcing of the first component
    during a step. The Nyquist mode, which has no phase, and the modes that an equation removes are zero at
    every step. Perturbations live among the remaining modes, less the conserved ones: `dimension` counts them.
    """

    components: ClassVar[tuple[str, ...]] = ("u",)
    complex_valued: ClassVar[bool] = False
    """Whether the two components are the real and imaginary part of one field."""
    axes: ClassVar[int] = 1
    """Space dimensions."""
    coarsest: ClassVar[float]
    """Largest distance of grid points that resolves the equation."""
    settle: ClassVar[int]
    """Steps after which an orbit from `start` has reached the attractor."""
    sample_every: ClassVar[int]
    """Steps between samples of the attractor."""
    samples: ClassVar[int]
    """Samples that show the attractor."""

    kind = "field"
    law = "local"

    # Each subclass gives them values, and adds its parameters.
    dt: Structure  # type: ignore[misc]  # a class variable elsewhere, here a choice
    L: Structure
    points: int
    actuators: int
    actuator_width: Structure

    def __post_init__(self) -> None:
        """ValueError names what is wrong with the grid or the actuators."""
        name = type(self).__name__
        for size in ("dt", "L", "actuator_width"):
            if not 0 < getattr(self, size) < inf:
                raise ValueError(f"{name}: {size} must be positive and finite, got {getattr(self, size)!r}")
        if not _is_whole(self.points) or self.points < 4 or self.points % 2:
            raise ValueError(f"{name}: points must be an even number, at least 4, got {self.points!r}")
        if self.L / self.points > self.coarsest * (1 + 1e-9):
            needed = 2 * int(np.ceil(self.L / self.coarsest / 2))
            raise ValueError(
                f"{name}: points={self.points} is too coarse for L={self.L:g}: this equation needs a point "
                f"every {self.coarsest:g}, so at least {needed} of them"
            )
        if not _is_whole(self.actuators) or self.actuators < 1:
            raise ValueError(f"{name}: actuators must be a whole number, at least 1, got {self.actuators!r}")
        if self.actuator:
            raise ValueError(f"{name}: a field is pushed by its bumps; actuator must stay empty")

    # ---- the equation, stated by a subclass ----

    def linear(self, *q: Any, **more: Any) -> Any:
        """Multipliers of the linear part: wavenumbers per axis -> [fields, *modes] or what broadcasts to it."""
        raise NotImplementedError

    def outer(self, *q: Any, **more: Any) -> Any:
        """Multipliers of the transform of `local`, dealiasing included; the same shapes."""
        return 1.0

    def removed(self, *q: Any, **more: Any) -> Any:
        """Modes that are zero at every step, besides the Nyquist mode."""
        return False

    def conserved(self, *q: Any, **more: Any) -> Any:
        """Modes that the unpushed equation conserves: perturbations are taken without them."""
        return False

    def local(self, *fields: Any, **more: Any) -> tuple[Any, ...]:
        """The nonlinear term at every point, one array per field; arithmetic only, for numpy and torch."""
        raise NotImplementedError

    def local_tangent(self, fields: tuple[Any, ...], changes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Derivative of `local` at the fields, applied to changes."""
        raise NotImplementedError

    # ---- names and geometry ----

    @property
    def grid(self) -> tuple[int, ...]:
        """Points per axis."""
        return (self.points,) * self.axes

    @property
    def x(self) -> Floats:
        """Places of the grid points along an axis, [points]."""
        return np.asarray(self.L * np.arange(self.points) / self.points)

    @cached_property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]  # their number is a matter of structure
        """u1, u2, ... along the last axis first, then the next component."""
        return tuple(f"{name}{i + 1}" for name in self.components for i in range(prod(self.grid)))

    @cached_property
    def dimension(self) -> int:
        """Number of independent perturbations: the states less the removed modes."""
        modes = len(self._plan.linear) * self._free
        if self.complex_valued:
            return int(2 * modes.sum())
        # Real fields: modes at 0 along the last axis are each other's conjugates, the others lack theirs.
        return int(2 * modes.sum() - modes[..., 0].sum())

    @property
    def start(self) -> tuple[float, ...]:  # type: ignore[override]  # its length is, too
        """A field without symmetry, [D]."""
        raise NotImplementedError

    @property
    def arguments(self) -> tuple[str, ...]:
        """None: `local` is called with whole fields."""
        return ()

    @property
    def n_pushes(self) -> int:
        """One push per bump."""
        return self.actuators

    @cached_property
    def bumps(self) -> Floats:
        """Shapes of the actuators on the grid, [actuators, *grid]."""
        places = self.L * np.arange(self.actuators) / self.actuators
        distance = self._distance(self.x - places[:, None])
        along = np.exp(-0.5 * (distance / self.actuator_width) ** 2)
        if self.axes == 1:
            return np.asarray(along)
        across = np.exp(-0.5 * (self._distance(self.x - self.L / 2) / self.actuator_width) ** 2)
        return np.asarray(along[:, :, None] * across)

    def _distance(self, separation: Floats) -> Floats:
        """Periodic distance."""
        return np.abs((separation + self.L / 2) % self.L - self.L / 2)

    def _control(self) -> dict[str, Any]:
        names = ("actuator", "actuators", "actuator_width")
        return {name: getattr(self, name) for name in names}

    # ---- Fourier space ----

    @cached_property
    def wavenumbers(self) -> tuple[Floats, ...]:
        """q per axis, each of a shape that broadcasts over the modes of a transform."""
        spacing = self.L / self.points / (2 * np.pi)
        last = np.fft.fftfreq if self.complex_valued else np.fft.rfftfreq
        per_axis = [np.fft.fftfreq(self.points, spacing)] * (self.axes - 1) + [last(self.points, spacing)]
        return tuple(np.meshgrid(*per_axis, indexing="ij", sparse=True))

    def within(self, share: float) -> npt.NDArray[np.bool_]:
        """Modes below a share of the highest wavenumber along every axis, to remove what would alias."""
        top = np.pi * self.points / self.L
        return np.asarray(
            np.all(np.broadcast_arrays(*(np.abs(q) < share * top for q in self.wavenumbers)), axis=0)
        )

    @cached_property
    def _plan(self) -> Plan:
        kept = self.within(1.0 - 1e-9) & ~np.asarray(self.removed(*self.wavenumbers))
        shape = (1 if self.complex_valued else len(self.components), *kept.shape)
        linear = np.broadcast_to(self.linear(*self.wavenumbers), shape).astype(np.complex128)
        outer = np.broadcast_to(self.outer(*self.wavenumbers) * kept, shape).astype(np.complex128)
        forced = np.zeros((self.actuators, len(self.components), *self.grid))
        forced[:, 0] = self.bumps
        bumps = _to_modes(self, np, _fields(self, forced)) * kept
        return Plan(np, linear, outer, kept.astype(np.float64), bumps, etdrk4.coefficients(linear, self.dt))

    @cached_property
    def _free(self) -> Floats:
        """1 for the modes of perturbations, 0 for others."""
        return np.asarray(self._plan.kept * ~np.asarray(self.conserved(*self.wavenumbers)))

    def _modes(self, plan: Plan, states: Any) -> Any:
        """States [D, N] -> kept modes [N, fields, *modes]."""
        rows = states.T.reshape(-1, len(self.components), *self.grid)
        return _to_modes(self, plan.xp, _fields(self, rows)) * plan.kept

    def _states(self, plan: Plan, modes: Any) -> Any:
        """Modes [N, fields, *modes] -> states [D, N]."""
        fields = _to_fields(self, plan.xp, modes)
        if self.complex_valued:
            fields = plan.xp.stack((fields.real, fields.imag), 1)
        return fields.reshape(len(modes), -1).T

    def _rate(self, plan: Plan, push: Any | None) -> Callable[[Any], Any]:
        """The part of the equation that is not `linear`, on modes; push [n_pushes, N] or None."""
        bumps = (1,) * (plan.bumps.ndim - 1)
        forcing = 0.0 if push is None else (push.T.reshape(*push.T.shape, *bumps) * plan.bumps).sum(1)

        def rate(modes: Any) -> Any:
            fields = _to_fields(self, plan.xp, modes)
            moved = plan.xp.stack(self.local(*(fields[:, i] for i in range(fields.shape[1]))), 1)
            return plan.outer * _to_modes(self, plan.xp, moved) + forcing

        return rate

    def _joint_rate(self, plan: Plan) -> Callable[[Any], Any]:
        """The same for a state (row 0) together with perturbations of it (the other rows), unpushed."""

        def rate(modes: Any) -> Any:
            fields = _to_fields(self, plan.xp, modes)
            state = tuple(fields[:1, i] for i in range(fields.shape[1]))
            changes = tuple(fields[1:, i] for i in range(fields.shape[1]))
            rows = zip(self.local(*state), self.local_tangent(state, changes), strict=True)
            return plan.outer * _to_modes(self, plan.xp, np.stack([np.concatenate(row) for row in rows], 1))

        return rate

    # ---- the face of a system ----

    def law_at(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """The time derivative on the grid: [D] -> [D]."""
        return self.rates(vector(state)[:, None], self._push(push)[:, None])[:, 0]

    def rates(self, states: Floats, push: Floats) -> Floats:
        """The same for N states at once: [D, N], [n_pushes, N] -> [D, N]."""
        plan, modes = self._plan, self._modes(self._plan, states)
        return np.ascontiguousarray(self._states(plan, plan.linear * modes + self._rate(plan, push)(modes)))

    def jacobian(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """Exact derivative of `law_at` by the state: [D] -> [D, D]; the push does not matter to it."""
        size = len(self.states)
        if size > LARGEST_JACOBIAN:
            raise ValueError(
                f"{type(self).__name__}: a dense jacobian of {size} states would take "
                f"{8e-9 * size**2:.1g} GB; `stretch` carries single perturbations"
            )
        plan = self._plan
        modes = self._modes(plan, np.hstack([vector(state)[:, None], np.eye(size)]))
        moved = plan.linear * modes + self._joint_rate(plan)(modes)
        return np.ascontiguousarray(self._states(plan, moved[1:]))

    def step(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """One ETDRK4 step of length dt with the push held: [D] -> [D]."""
        return np.ascontiguousarray(self.advance(vector(state)[:, None], self._push(push)[:, None])[:, 0])

    def advance(self, states: Floats, push: Floats, steps: int = 1) -> Floats:
        """`steps` fixed steps of N states at once: [D, N], [n_pushes, N] -> new array [D, N]."""
        return self._advance(np.asarray(states, dtype=np.float64), np.asarray(push, dtype=np.float64), steps)

    def _advance(self, states: Floats, push: Floats | None, steps: int) -> Floats:
        plan = self._plan
        modes, rate = self._modes(plan, states), self._rate(plan, push)
        for _ in range(steps):
            modes = etdrk4.step(modes, rate, plan.step)
        return np.ascontiguousarray(self._states(plan, modes))

    def orbit(self, state: Floats, samples: int, every: int = 1) -> Floats:
        """The uncontrolled orbit after `state`, one sample each `every` steps: [samples, D]."""
        reached, orbit = vector(state)[:, None], np.empty((samples, len(self.states)))
        for row in orbit:
            reached = self._advance(reached, None, every)
            row[:] = reached[:, 0]
        return orbit

    def stretch(
        self, state: Floats, frame: Floats, steps: int, qr_every: int = 1
    ) -> tuple[Floats, Floats, Floats]:
        """Carry k tangent vectors along the uncontrolled orbit, orthonormalising them every `qr_every` steps.

        The tangent is the derivative of the ETDRK4 step itself: the linearised equation goes through the same
        four stages, in the same batched transform as the state. state [D], frame [D, k] -> (state [D],
        orthonormal frame [D, k], log growth [k] in nats over all steps). The frame is first projected on the
        kept modes; ValueError if it has more vectors than these have dimensions. A direction that shrinks by
        more than 1e-15 between two orthonormalisations drowns in rounding: ask for fewer vectors or a smaller
        `qr_every`.
        """
        frame = np.asarray(frame, dtype=np.float64)
        if frame.shape[1] > self.dimension:
            raise ValueError(
                f"{type(self).__name__}: {frame.shape[1]} tangent vectors asked for, but perturbations of this "
                f"field have {self.dimension} dimensions ({len(self.states)} states less the removed modes)"
            )
        plan, rate = self._plan, self._joint_rate(self._plan)
        moved, growth = np.hstack([vector(state)[:, None], frame]), np.zeros(frame.shape[1])
        for done in range(0, steps, qr_every):
            modes = self._modes(plan, moved)
            modes[1:] *= self._free
            for _ in range(min(qr_every, steps - done)):
                modes = etdrk4.step(modes, rate, plan.step)
            moved = np.array(self._states(plan, modes), order="C")
            turned, triangle = np.linalg.qr(moved[:, 1:])
            size = np.diag(triangle)
            moved[:, 1:] = turned * np.where(size < 0, -1.0, 1.0)
            growth += np.log(np.abs(size))
        return moved[:, 0].copy(), moved[:, 1:].copy(), growth

    def tensor_step(self, states: Any, push: Any) -> Any:
        """One fixed step of N states on any torch device and dtype: [D, N], [n_pushes, N] -> [D, N]."""
        plan = _tensors(self, states.dtype, states.device)
        return self._states(plan, etdrk4.step(self._modes(plan, states), self._rate(plan, push), plan.step))

    def equilibrium(self, guess: Floats, rounds: int = 50) -> Floats | None:
        """A state with law_at = 0 near the guess, or None: Newton's method with the shortest correction.

        Least squares, because symmetries (shifts, phases) and removed modes make the jacobian singular.
        """
        state = vector(guess)
        for _ in range(rounds):
            correction = np.linalg.lstsq(self.jacobian(state), self.law_at(state), rcond=1e-10)[0]
            state = state - correction
            if not np.isfinite(state).all():
                return None
            if np.all(np.abs(correction) <= 1e-11 * (1 + np.abs(state))):
                return state
        return None

    def __str__(self) -> str:
        shape = {"L": self.L, "points": self.points, "dt": self.dt}
        values = ", ".join(f"{name}={value:g}" for name, value in (shape | self.parameters).items())
        return f"{type(self).__name__}({values})"

    def smooth(self, generator: np.random.Generator, count: int, length: float) -> Floats:
        """Random fields of unit mean square with features of the given length, [D, count].

        White noise under a Gaussian filter exp(-(q length)^2 / 2), each component by itself; no symmetry.
        """
        plan, noise = self._plan, generator.normal(size=(len(self.states), count))
        damping = np.exp(-0.5 * length**2 * sum(q**2 for q in self.wavenumbers))
        fields = np.asarray(self._states(plan, self._modes(plan, noise) * damping))
        return np.asarray(fields / np.sqrt(np.mean(fields**2, axis=0)))


def _fields(system: Field, rows: Any) -> Any:
    """Components [N, C, *grid] -> fields [N, fields, *grid]."""
    return rows[:, :1] + 1j * rows[:, 1:] if system.complex_valued else rows


def _to_modes(system: Field, xp: ModuleType, fields: Any) -> Any:
    """Transform over the space axes."""
    if system.axes == 2:
        return xp.fft.rfft2(fields)
    return xp.fft.fft(fields) if system.complex_valued else xp.fft.rfft(fields)


def _to_fields(system: Field, xp: ModuleType, modes: Any) -> Any:
    """The inverse."""
    if system.axes == 2:
        return xp.fft.irfft2(modes)
    return xp.fft.ifft(modes) if system.complex_valued else xp.fft.irfft(modes)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@lru_cache(maxsize=32)
def _tensors(system: Field, dtype: Any, device: Any) -> Plan:
    """The plan of a system as torch tensors of one real precision."""
    import torch

    own, complex_dtype = system._plan, torch.complex64 if dtype == torch.float32 else torch.complex128

    def converted(values: npt.NDArray[Any]) -> Any:
        kind = complex_dtype if np.iscomplexobj(values) else dtype
        return torch.from_numpy(np.ascontiguousarray(values)).to(device=device, dtype=kind)

    step = etdrk4.Coefficients(*(converted(values) for values in own.step))
    return Plan(
        torch, converted(own.linear), converted(own.outer), converted(own.kept), converted(own.bumps), step
    )
