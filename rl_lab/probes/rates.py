"""Growth rates as values: each with a standard error and a unit, per time unit and per step."""

from dataclasses import dataclass
from math import log
from typing import Any

from envs.system import System


@dataclass(frozen=True)
class Rates:
    """Rates in nats per time unit (per iteration of a map), one standard error each.

    `dt` is the length of a step, so that `per_step` is what an agent or a table of maps compares. Wolf's tables
    are in bits: see `bits`.
    """

    values: tuple[float, ...]
    stderr: tuple[float, ...]
    dt: float
    unit: str = "nats per time unit"

    @property
    def per_step(self) -> tuple[float, ...]:
        """In nats per fixed step of the environment, rates × dt."""
        return tuple(value * self.dt for value in self.values)

    @property
    def per_step_stderr(self) -> tuple[float, ...]:
        """Standard errors of `per_step`."""
        return tuple(error * self.dt for error in self.stderr)

    @property
    def bits(self) -> tuple[float, ...]:
        """In bits per time unit or per iteration, rates / ln 2."""
        return tuple(value / log(2) for value in self.values)

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "exponents": list(self.values),
            "stderr": list(self.stderr),
            "unit": self.unit,
            "per_step": list(self.per_step),
            "per_step_stderr": list(self.per_step_stderr),
            "dt": self.dt,
        }


def unit_of(system: System) -> str:
    """What the rates of a system are counted in."""
    return "nats per iteration" if system.kind == "map" else "nats per time unit"
