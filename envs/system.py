"""What a chaotic system is: equations, parameters, a start, a step and its published exponents.

A system file states `rate` (a flow's time derivative) or `image` (a map's next state) once. Compiled
steppers, the exact tangent, a torch batch and LaTeX are generated from it (envs.codegen) the first time they
are needed.
"""

import inspect
from dataclasses import dataclass, fields
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from envs import cache

Floats = npt.NDArray[np.float64]


class ContractError(TypeError):
    """A system file that breaks the contract: names the file and the fault."""

    @classmethod
    def of(cls, system: type, fault: str) -> "ContractError":
        """The error about a class, found in its own file."""
        return cls(f"{inspect.getfile(system)}: {system.__name__}: {fault}")


@dataclass(frozen=True)
class Reference:
    """Lyapunov exponents somebody else can check: nats per time unit (flow) or per iteration (map).

    `stderr` is one standard error, the same for all exponents, or one for each.
    """

    exponents: tuple[float, ...]
    stderr: float | tuple[float, ...]
    source: str

    @property
    def stderrs(self) -> tuple[float, ...]:
        """One standard error per exponent."""
        return self.stderr if isinstance(self.stderr, tuple) else (self.stderr,) * len(self.exponents)


@dataclass(frozen=True)
class TaskDefaults:
    """How a system wants to be posed as a task; None means: derive it (envs.derive says how)."""

    push: float | None = None
    """Bound of the actuator, in the unit the equations give `push`."""
    control_interval: float | None = None
    """Time for which a push is held."""
    steps: int | None = None
    """Length of an episode in control intervals."""
    reward_scale: float | tuple[float, ...] | None = None
    """Distance that costs 1 per step: one number, or one per state when the states have different units."""
    escape: float = 3.0
    """The episode ends when a state leaves its centre by this many half-ranges of the attractor."""
    goal: str | None = None
    """One phrase for listings."""


@dataclass(frozen=True)
class System:
    """Base of `Flow` and `Map`; its float fields are the parameters, other fields are structure."""

    states: ClassVar[tuple[str, ...]] = ()
    start: ClassVar[tuple[float, ...]] = ()
    dt: ClassVar[float]
    kind: ClassVar[Literal["flow", "map"]]
    law: ClassVar[str]
    """Name of the method that holds the equations."""
    reference: ClassVar[Reference | None] = None
    """Published exponents at the default parameters."""
    angles: ClassVar[tuple[str, ...]] = ()
    """States of period 2 pi: observed as cosine and sine, their distance is the chord 2 - 2 cos."""
    pushes: ClassVar[int] = 1
    """Number of actuators; with more than one, the equations receive `push` as a tuple."""
    task: ClassVar[TaskDefaults] = TaskDefaults()
    version: ClassVar[int] = 0
    """Of the task: goes up whenever a change moves its numbers."""

    @property
    def target(self) -> tuple[float, ...] | None:
        """The state to hold, or None: the fixed point nearest to the attractor."""
        return None

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Fields annotated `float`, in order."""
        return tuple(f.name for f in fields(cls) if f.type in (float, "float"))

    @property
    def parameters(self) -> dict[str, float]:
        """Parameter values by name."""
        return {name: float(getattr(self, name)) for name in self.parameter_names()}

    @property
    def is_default(self) -> bool:
        """Whether the published exponents are about these parameters."""
        return self == type(self)()

    @cached_property
    def parameter_vector(self) -> Floats:
        """Parameter values in the order the compiled functions take them."""
        return np.array(list(self.parameters.values()), dtype=np.float64)

    @property
    def kernels(self) -> ModuleType:
        """The generated numba functions (envs/templates.py shows them before generation)."""
        return cache.module(self, "kernels")

    @property
    def latex(self) -> str:
        """The equations as an aligned block."""
        return cache.text(self, "latex")

    def law_at(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """The time derivative of a flow, the next state of a map: [D] -> [D]."""
        return np.asarray(self.kernels.law_at(vector(state), self._push(push), self.parameter_vector))

    def jacobian(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """Exact derivative of the equations by the state: [D] -> [D, D]."""
        return np.asarray(self.kernels.jacobian(vector(state), self._push(push), self.parameter_vector))

    def step(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """One fixed step of length dt (RK4, push held) or one iteration: [D] -> [D]."""
        return np.asarray(self.kernels.step(vector(state), self._push(push), self.dt, self.parameter_vector))

    def advance(self, states: Floats, push: Floats, steps: int = 1) -> Floats:
        """`steps` fixed steps of N states at once: [D, N], [pushes, N] -> new array [D, N]."""
        moved = np.array(states, dtype=np.float64, order="C")
        held = np.ascontiguousarray(push, dtype=np.float64)
        self.kernels.advance(moved, held, self.dt, steps, self.parameter_vector)
        return moved

    def orbit(self, state: Floats, samples: int, every: int = 1) -> Floats:
        """The uncontrolled orbit after `state`, one sample each `every` steps: [samples, D]."""
        orbit = self.kernels.orbit(vector(state), samples, every, self.dt, self.parameter_vector)
        return np.asarray(orbit)

    def stretch(
        self, state: Floats, frame: Floats, steps: int, qr_every: int = 1
    ) -> tuple[Floats, Floats, Floats]:
        """Carry k tangent vectors along the uncontrolled orbit, orthonormalising them every `qr_every` steps.

        The tangent is the exact derivative of the fixed step itself, so what is measured is the exponent of
        the map the environment iterates. state [D], frame [D, k] -> (state [D], orthonormal frame [D, k], log
        growth [k] in nats over all steps). The arguments are left as they are.
        """
        moved, turned = vector(state), np.array(frame, dtype=np.float64, order="C")
        growth = self.kernels.stretch(moved, turned, steps, qr_every, self.dt, self.parameter_vector)
        return moved, turned, np.asarray(growth)

    def tensor_step(self, states: Any, push: Any) -> Any:
        """One fixed step of N states on any torch device and dtype: [D, N], [pushes, N] -> [D, N]."""
        return cache.module(self, "tensors").step(states, push, self.dt, *self.parameters.values())

    def _push(self, push: Floats | float) -> Floats:
        return np.full(self.pushes, push, dtype=np.float64)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True)
class Flow(System):
    """A differential equation; override `rate` and state `dt`, the fixed RK4 step."""

    kind = "flow"
    law = "rate"

    def rate(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Time derivative of every state, called as `rate(*states, push)`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Map(System):
    """An iteration; override `image`."""

    kind = "map"
    law = "image"
    dt = 1.0

    def image(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Next value of every state, called as `image(*states, push)`."""
        raise NotImplementedError


def vector(values: Any) -> Floats:
    """One state as a fresh float64 vector: the kernels are compiled for arrays one may write to."""
    return np.array(values, dtype=np.float64)
