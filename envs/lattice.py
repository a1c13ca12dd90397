"""Systems of many sites that obey one local law, written once for any number of sites.

A file states `rate` or `image` for one site: `x[k]` is the value of component x at the neighbour k sites to the
right, `x[0]` the site's own; `total(...)` sums an expression over all sites. Loops over sites, the exact sparse
tangent and LaTeX are generated from it (envs.lattice_codegen); on arrays and tensors the law runs as written.
"""

import sys
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from envs import cache
from envs.system import Floats, Flow, Map, Reference, System


@dataclass(frozen=True)
class Lattice(System):
    """N sites in a row; the state is component by component, x1 ... xN, y1 ... yN.

    The law is called as `rate(*components, push, *profiles)`; `push` is the push at the site, zero where there
    is no actuator. `sites` in a law stands for the number of sites; what else depends on it belongs into
    `profiles`.
    """

    sites: int = 40
    """Number of sites."""
    actuators: int = 4
    """Number of evenly spaced sites, from the first on, that receive a push; `actuator` names states instead."""

    components: ClassVar[tuple[str, ...]] = ("x",)
    """Names of the states of a site."""
    periodic: ClassVar[bool] = True
    """Whether the row is closed to a ring; outside an open row everything is zero."""
    least_sites: ClassVar[int] = 1
    """Fewest sites for which the law makes sense."""
    compiled = False

    def __post_init__(self) -> None:
        self._require_whole("sites", self.sites, self.least_sites)
        self._require_whole("actuators", self.actuators, 1, self.sites)
        for name in self.actuator:
            if name not in self.states:
                raise ValueError(
                    f"{type(self).__name__}: the actuators of a lattice are states "
                    f"({self.states[0]} ... {self.states[-1]}), got {name!r}"
                )

    def _require_whole(self, name: str, value: Any, least: int, most: int | None = None) -> None:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            allowed = f"at least {least}" if most is None else f"from {least} to {most}, the number of sites"
            raise ValueError(
                f"{type(self).__name__}: {name} must be a whole number, {allowed}, got {value!r}"
            )

    def profiles(self) -> dict[str, Floats]:
        """Constants that differ from site to site, name -> [sites], at the parameters at hand."""
        return {}

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        """Component by component: x1, ..., xN, y1, ..., yN."""
        return tuple(f"{name}{i + 1}" for name in self.components for i in range(self.sites))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of what the law takes."""
        return (*self.components, "push", *self.profiles())

    @property
    def n_pushes(self) -> int:
        """Number of pushes an agent has."""
        return len(self.actuator) or self.actuators

    @property
    def actuated(self) -> tuple[int, ...]:
        """For every push -1 - site, where the law puts it, or the index of the state named by `actuator`."""
        if self.actuator:
            return tuple(self.states.index(name) for name in self.actuator)
        return tuple(-1 - j * self.sites // self.actuators for j in range(self.actuators))

    @property
    def published(self) -> Reference | None:
        """The reference about these parameters, or None; where a push may act does not matter to it."""
        free, plain = (replace(s, actuator=(), actuators=1) for s in (self, type(self)()))
        known = (self.reference, *self.other_references)
        return next((r for r in known if r and replace(plain, **r.at) == free), None)

    @cached_property
    def parameter_vector(self) -> Floats:
        """Parameters, profiles and `actuated`, in the order the compiled functions take them."""
        profiles = self.profiles().values()
        return np.concatenate([list(self.parameters.values()), *profiles, self.actuated]).astype(np.float64)

    @property
    def kernels(self) -> ModuleType:
        """The generated numba functions; the same for every number of sites."""
        return cache.module(self._any_size(), "kernels")

    @property
    def latex(self) -> str:
        """The law of site i as an aligned block."""
        if not self.actuator:
            return cache.text(self._any_size(), "latex")
        law = cache.text(self._any_size(), "unpushed").removesuffix("\n\\end{aligned}\n")
        named = ((name.rstrip("0123456789"), name, j + 1) for j, name in enumerate(self.actuator))
        left = r"\dot{{{}}}_{{{}}}" if self.kind == "flow" else "{}'_{{{}}}"
        added = (left.format(c, name[len(c) :]) + rf" &\mathrel{{+}}= u_{{{j}}}" for c, name, j in named)
        return " \\\\\n".join([law, *added]) + "\n\\end{aligned}\n"

    def _any_size(self) -> System:
        size: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in ("sites", "actuators")}
        return replace(self, actuator=(), **size)

    def generate(self) -> dict[str, str]:
        """File name -> content of the generated code."""
        from envs import lattice_codegen

        return lattice_codegen.generate(self)

    def rates(self, states: Floats, push: Floats) -> Floats:
        """The time derivative of a flow, the change per iteration of a map: [D, N], [n_pushes, N] -> [D, N]."""
        moved = self._law(states, push)
        return np.asarray(moved - states if self.kind == "map" else moved)

    def written(self, state: Any, push: Any = 0.0) -> Any:
        """The equations as their author wrote them, on floats or complex numbers: [D] -> [D]."""
        held = np.broadcast_to(push, (self.n_pushes,))
        return self._law(np.asarray(state)[:, None], held[:, None])[:, 0]

    def tensor_step(self, states: Any, push: Any) -> Any:
        """One fixed step of N states on any torch device and dtype: [D, N], [n_pushes, N] -> [D, N]."""
        if self.kind == "map":
            return self._law(states, push)
        half, sixth = 0.5 * self.dt, self.dt / 6.0
        a = self._law(states, push)
        b = self._law(states + half * a, push)
        c = self._law(states + half * b, push)
        d = self._law(states + self.dt * c, push)
        return states + sixth * (a + 2.0 * (b + c) + d)

    def _law(self, states: Any, push: Any) -> Any:
        """The written law on arrays or tensors: [D, N], [n_pushes, N] -> [D, N]."""
        parts = states.reshape(len(self.components), self.sites, -1)
        library = _library(states)
        field = library.zeros_like(parts[0])
        inside = [j for j, place in enumerate(self.actuated) if place < 0]
        field[[-1 - self.actuated[j] for j in inside]] = push[inside]
        seen = [Neighbours(part, self.periodic) for part in parts]
        profiles = [Neighbours(_alike(p[:, None], states), self.periodic) for p in self.profiles().values()]
        law = getattr(self, self.law)(*seen, field, *profiles)
        moved = library.stack([row + library.zeros_like(field) for row in law]).reshape(states.shape)
        for j, place in enumerate(self.actuated):
            if place >= 0:
                moved[place] += push[j]
        return moved


@dataclass(frozen=True)
class LatticeFlow(Lattice, Flow):
    """Coupled differential equations; override `rate` and state `components` and `dt`."""


@dataclass(frozen=True)
class LatticeMap(Lattice, Map):
    """Coupled maps; override `image` and state `components`."""


class Neighbours:
    """One component at all sites, [sites, ...]: `x[k]` has at each site the value k sites to the right."""

    def __init__(self, values: Any, periodic: bool) -> None:
        self.values = values
        self.periodic = periodic

    def __getitem__(self, k: int) -> Any:
        if k == 0:
            return self.values
        library = _library(self.values)
        if self.periodic:
            return library.roll(self.values, -k, 0)
        outside = library.zeros_like(self.values[: abs(k)])
        pair = (self.values[k:], outside) if k > 0 else (outside, self.values[:k])
        return library.concatenate(pair)


def total(expression: Any) -> Any:
    """The sum of an expression over all sites, for couplings of everyone with everyone."""
    if hasattr(expression, "free_symbols"):
        import sympy

        return sympy.Function("total", real=True)(expression)
    return expression.sum(axis=0)


def _library(values: Any) -> ModuleType:
    return sys.modules[type(values).__module__.partition(".")[0]]


def _alike(values: Floats, states: Any) -> Any:
    return values if isinstance(states, np.ndarray) else states.new_tensor(values)
