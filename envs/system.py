"""What a chaotic system is: equations, parameters, a start, a step and its published exponents.

A system file states `rate` (a flow's time derivative) or `image` (a map's next state) once; a field its linear
and its local part (envs.field). Compiled
steppers, the exact tangent, a torch batch and LaTeX are generated from it (envs.codegen) the first time they
are needed.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
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
    """Lyapunov exponents somebody else can check: nats per time unit, or per iteration of a map.

    `exponents` are the largest of the spectrum, in falling order; all of them, where the source gives all.
    `stderr` is one standard error, the same for all exponents, or one for each. `at` names the parameters
    that differ from the defaults. `survivors`: the mean over orbits that have not yet left the chaotic saddle,
    for systems whose chaos is transient.
    """

    exponents: tuple[float, ...]
    stderr: float | tuple[float, ...]
    source: str
    at: Mapping[str, Any] = field(default_factory=dict)
    survivors: bool = False

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
    aim: str = "hold"
    """The goal, by its name in envs/goals."""


@dataclass(frozen=True)
class System:
    """Base of every kind of system; its float fields are the parameters, other fields are structure.

    What the rest of the room asks of a system is what this class defines: names, scales and references, and
    `advance`, `orbit`, `stretch`, `step`, `law_at`, `jacobian`, `tensor_step`, `latex`. `Flow` and `Map` have
    them generated from their equations; fields and delay equations override them.
    """

    actuator: tuple[str, ...] = field(default=(), kw_only=True)
    """States (the push is added to their rate or image) or parameters (it is added to their value) to act on,
    in place of where the equations put `push`."""

    states: ClassVar[tuple[str, ...]] = ()
    """Names; a property where their number is a matter of structure."""
    start: ClassVar[tuple[float, ...]] = ()
    dt: ClassVar[float]
    kind: ClassVar[Literal["flow", "map", "delay", "field"]]
    law: ClassVar[str]
    """Name of the method that holds the equations."""
    reference: ClassVar[Reference | None] = None
    """Published exponents at the default parameters."""
    other_references: ClassVar[tuple[Reference, ...]] = ()
    """Published exponents at other parameters, each with its `at`."""
    kinked: ClassVar[bool] = False
    """Whether the equations have corners: then RK4 is not of fourth order where an orbit crosses one."""
    middling: ClassVar[bool] = False
    """Whether the middle of the attractor is the target where no fixed point is found."""
    hamiltonian: ClassVar[bool] = False
    """Whether the uncontrolled flow keeps an energy: its exponents come in pairs of opposite sign."""
    components: ClassVar[tuple[str, ...]] = ()
    """For lattices and fields: what there is at every site; `states` has all sites of the first, then of the
    next. They share one scale."""
    pairs: ClassVar[tuple[tuple[str, str], ...]] = ()
    """States of a leader and of its follower."""
    upright: ClassVar[tuple[float, ...]] = ()
    """The state of standing, for pendulums."""
    hanging: ClassVar[tuple[float, ...]] = ()
    """The state of hanging at rest."""
    ensemble: ClassVar[int] = 1
    """Orbits that are sampled for the attractor side by side; 1 stands for 256 where chaos is transient."""
    settle: ClassVar[int] = 20_000
    """Steps until an orbit from `start` counts as settled; a twentieth of them where chaos is transient."""
    samples: ClassVar[int] = 4096
    """Points that stand for the attractor."""
    sample_every: ClassVar[int] = 20
    """Steps between them."""
    angles: ClassVar[tuple[str, ...]] = ()
    """States of period 2 pi: observed as cosine and sine, their distance is the chord 2 - 2 cos."""
    view: ClassVar[tuple[str, ...]] = ()
    """Two or three states that pictures show; empty: envs.render.trail chooses."""
    drawing: ClassVar[Literal["trail", "field", "image", "pendulum"] | None] = None
    """How pictures show it; None: envs.render chooses."""
    versions: ClassVar[Mapping[int, str]] = {}
    """What changed in each version of the task from 1 on; 0 is the initial one."""
    pushes: ClassVar[int] = 1
    """Number of pushes in the equations; with more than one they receive `push` as a tuple."""
    task: ClassVar[TaskDefaults] = TaskDefaults()
    compiled: ClassVar[bool] = False
    """Whether its kernels know a whole control interval, reward and observation included."""
    namespace: ClassVar[str] = "chaos"
    """First part of the task's id; adapters have their own."""
    version: ClassVar[int] = 0
    """Of the task: goes up whenever a change moves its numbers."""

    @property
    def target(self) -> tuple[float, ...] | None:
        """The state to hold, or None: the fixed point nearest to the attractor."""
        return None

    @property
    def equilibria(self) -> Mapping[str, tuple[float, ...]]:
        """Unstable equilibria by name, for the setting `target_state`."""
        return {}

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of what the law takes; () for kinds that see to it themselves."""
        return (*self.states, "push")

    @property
    def n_pushes(self) -> int:
        """Number of pushes an agent has."""
        return len(self.actuator) or self.pushes

    @property
    def transient(self) -> bool:
        """Whether the chaos of these parameters ends by itself: orbits leave the saddle, see `decayed`."""
        return False

    def decayed(self, states: Floats) -> npt.NDArray[np.bool_]:
        """Which of the states [D, N] have left the chaotic saddle for good, [N]."""
        return np.zeros(states.shape[1], dtype=np.bool_)

    def scatter(self, generator: np.random.Generator, count: int) -> Floats:
        """Unsettled initial states around `start`, [D, count], for ensembles of orbits."""
        start = vector(self.start)[:, None]
        return np.asarray(start + 1e-3 * (1 + np.abs(start)) * generator.normal(size=(len(start), count)))

    @property
    def published(self) -> Reference | None:
        """The reference about these parameters, or None; where a push may act does not matter to it."""
        known = (self.reference, *self.other_references)
        plain = type(self)()
        return next((r for r in known if r and replace(plain, **r.at, **self._control()) == self), None)

    def _control(self) -> dict[str, Any]:
        """Fields that matter to the pushed system only, at their values here."""
        return {"actuator": self.actuator}

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Fields annotated `float`, in order."""
        return tuple(f.name for f in fields(cls) if f.type in (float, "float"))

    @property
    def parameters(self) -> dict[str, float]:
        """Parameter values by name."""
        return {name: float(getattr(self, name)) for name in self.parameter_names()}

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
        """`steps` fixed steps of N states at once: [D, N], [n_pushes, N] -> new array [D, N]."""
        moved = np.array(states, dtype=np.float64, order="C")
        held = np.ascontiguousarray(push, dtype=np.float64)
        self.kernels.advance(moved, held, self.dt, steps, self.parameter_vector)
        return moved

    def carry(
        self, states: Floats, push: Floats, alive: Floats, steps: int, low: Floats, high: Floats
    ) -> None:
        """`steps` steps of N lanes in place: states [D, N], push [n_pushes, N]; alive [N] is 1.0 or 0.0.

        A lane whose next state leaves [low, high] ([D] each) or is not finite stays where it was and its
        `alive` becomes 0.0; a lane that is not alive stays. Kinds that bring their own stepper look at the
        end of the `steps` only.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what blows up is caught below
            moved = self.advance(states, push, steps)
        box = (moved >= low[:, None]) & (moved <= high[:, None])
        inside = box.all(axis=0) & (alive > 0.0)
        states[:] = np.where(inside, moved, states)
        alive[:] = inside

    def rates(self, states: Floats, push: Floats) -> Floats:
        """The time derivative of a flow, the change per iteration of a map: [D, N], [n_pushes, N] -> [D, N]."""
        raise NotImplementedError

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
        """One fixed step of N states on any torch device and dtype: [D, N], [n_pushes, N] -> [D, N]."""
        return cache.module(self, "tensors").step(states, push, self.dt, *self.parameters.values())

    def _push(self, push: Floats | float) -> Floats:
        return np.full(self.n_pushes, push, dtype=np.float64)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True)
class _Compiled(System):
    """What Flow and Map share: their kernels look at the bounds after every step."""

    compiled = True

    def carry(
        self, states: Floats, push: Floats, alive: Floats, steps: int, low: Floats, high: Floats
    ) -> None:
        """`steps` steps of N lanes in place inside bounds, as in System."""
        self.kernels.carry(states, push, alive, self.dt, steps, low, high, self.parameter_vector)

    def rates(self, states: Floats, push: Floats) -> Floats:
        """The time derivative of a flow, the change per iteration of a map: [D, N], [n_pushes, N] -> [D, N]."""
        found = np.asarray(self.kernels.law_at(states, push, self.parameter_vector))
        return found - states if self.kind == "map" else found


@dataclass(frozen=True)
class Flow(_Compiled):
    """A differential equation; override `rate` and state `dt`, the fixed RK4 step."""

    kind = "flow"
    law = "rate"

    def rate(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Time derivative of every state, called as `rate(*states, push)`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Map(_Compiled):
    """An iteration; override `image`."""

    kind = "map"
    law = "image"
    dt = 1.0
    sample_every = 7

    def image(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Next value of every state, called as `image(*states, push)`."""
        raise NotImplementedError


def vector(values: Any) -> Floats:
    """One state as a fresh float64 vector: the kernels are compiled for arrays one may write to."""
    return np.array(values, dtype=np.float64)
