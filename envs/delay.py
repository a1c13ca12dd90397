"""Delay equations: what changes a state now is also its value one delay ago, so the state is a history.

The step is RK4 with the delay a whole number of steps, h = tau / grid. Its stages need the past at t - tau,
t - tau + h/2 and t - tau + h, so every step also stores its midpoint, read from the third-order continuous
extension of the same four stages: with it the global error is of order h^4, also across the kinks a held push
makes at whole steps. Source: Bellen and Zennaro, Numerical Methods for Delay Differential Equations (2003).
"""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from envs import cache
from envs.system import Floats, System, vector


@dataclass(frozen=True)
class Delay(System):
    """A delay equation with one or a few variables and one delay; override `rate` and state `past`.

    State: the variable at t, t - h/2, t - h, ..., t - tau, named x0 (now), x1, ..., 2 grid + 1 samples of each
    variable, variable after variable. `advance`, `orbit`, `stretch`, `step`, `tensor_step` move such histories;
    `jacobian` is the derivative of the step, [D, D].
    """

    grid: int = 32
    """Steps per delay."""

    kind = "delay"
    law = "rate"
    components: ClassVar[tuple[str, ...]] = ("x",)
    """Names of what the equations are about."""
    past: ClassVar[tuple[float, ...]] = (1.0,)
    """The constant history of each variable before the start."""
    delay: ClassVar[str] = "tau"
    """Name of the parameter that is the delay, in time units."""

    def __post_init__(self) -> None:
        if isinstance(self.grid, bool) or not isinstance(self.grid, int) or self.grid < 1:
            raise ValueError(
                f"{type(self).__name__}: grid must be a whole number, at least 1, got {self.grid!r}"
            )
        if not 0 < (tau := getattr(self, self.delay)) < np.inf:
            raise ValueError(f"{type(self).__name__}: {self.delay} must be positive, got {tau!r}")

    def rate(self, *args: Any, **kwargs: Any) -> Any:
        """Time derivative of every variable, called as `rate(*now, *one delay ago, push)`."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Samples in the history of one variable."""
        return 2 * self.grid + 1

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        """x0 (now), x1 (half a step ago), ..., then the same of the next variable."""
        return tuple(f"{name}{i}" for name in self.components for i in range(self.length))

    @property
    def start(self) -> tuple[float, ...]:  # type: ignore[override]
        """A constant history."""
        return self.constant(self.past)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The equations may call the past what they like."""
        return ()

    @property
    def dt(self) -> float:  # type: ignore[override]
        """The step, tau / grid."""
        return float(getattr(self, self.delay)) / self.grid

    @property
    def target(self) -> tuple[float, ...]:
        """The constant history at the equilibrium, where rate(x, x, 0) = 0; NaN if Newton's method fails.

        Every constant that makes the rate zero is an equilibrium, so only the variables are unknown; the
        derivative is taken by central differences and the search starts at `past`.
        """
        values, identity = np.array(self.past, dtype=np.float64), np.eye(len(self.past))
        for _ in range(100):
            nudges = 1e-6 * (1 + np.abs(values))[:, None] * identity
            slopes = [(self._at_rest(values + d) - self._at_rest(values - d)) / (2 * d.sum()) for d in nudges]
            try:
                correction = np.linalg.solve(np.array(slopes).T, self._at_rest(values))
            except np.linalg.LinAlgError:
                return self.constant(np.full_like(values, np.nan))
            values = values - correction
            if not np.isfinite(values).all() or np.all(np.abs(correction) <= 1e-14 * (1 + np.abs(values))):
                break
        return self.constant(values)

    def constant(self, values: Any) -> tuple[float, ...]:
        """The history in which every variable has always had its value, [D]."""
        return tuple(float(value) for value in np.repeat(values, self.length))

    def _at_rest(self, values: Floats) -> Floats:
        """rate(x, x, 0): of each variable, if it has always had its value."""
        push = 0.0 if self.pushes == 1 else (0.0,) * self.pushes
        return np.atleast_1d(np.array(self.rate(*values.tolist(), *values.tolist(), push), dtype=np.float64))

    def rates(self, states: Floats, push: Floats) -> Floats:
        """Change of the histories per time unit over one step: [D, N], [n_pushes, N] -> [D, N]."""
        return (self.advance(states, push) - states) / self.dt

    def law_at(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """Not defined: `rate` speaks of a variable now, `step` and `jacobian` of histories."""
        raise NotImplementedError(f"{self}: the rate of a history is not a history; use step and jacobian")

    def step(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """One step of one history: [D] -> [D]."""
        return self.advance(vector(state)[:, None], self._push(push)[:, None])[:, 0]

    def jacobian(self, state: Floats, push: Floats | float = 0.0) -> Floats:
        """Exact derivative of one step by the history: [D] -> [D, D]."""
        ring, frame = vector(state), np.eye(len(self.states))
        head = self.kernels.bend(ring, frame, 0, self._push(push), self.dt, self.parameter_vector)
        blocks = frame.reshape(len(self.components), self.length, -1)
        return np.roll(blocks, -head, axis=1).reshape(frame.shape)

    def carry(
        self, states: Floats, push: Floats, alive: Floats, steps: int, low: Floats, high: Floats
    ) -> None:
        """`steps` steps of N lanes in place, as in System; only the new values are held to their bounds.

        A lane is stopped at the last history before the step that would leave them.
        """
        self.kernels.carry(states, push, alive, self.dt, steps, low, high, self.parameter_vector)

    @property
    def kernels(self) -> ModuleType:
        """The generated numba functions, the same for every grid."""
        return cache.module(self._any_grid(), "kernels")

    @property
    def latex(self) -> str:
        """The equations as an aligned block; x_tau is x(t - tau)."""
        return cache.text(self._any_grid(), "latex")

    def tensor_step(self, states: Any, push: Any) -> Any:
        """One step of N histories on any torch device and dtype: [D, N], [n_pushes, N] -> [D, N]."""
        stepper = cache.module(self._any_grid(), "tensors")
        return stepper.step(states, push, self.dt, *self.parameters.values())

    def _any_grid(self) -> "Delay":
        return replace(self, grid=1)

    def generate(self) -> dict[str, str]:
        """File name -> content of the generated modules."""
        from envs import delay_codegen

        return delay_codegen.generate(self)
