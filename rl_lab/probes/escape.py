"""Transient chaos: how fast orbits leave the chaotic saddle, and the exponents of those still on it.

The mean over one long orbit is that of the sink it ends in. Here many orbits start at `system.scatter`; the
number that have not `decayed` falls like exp(-rate × time) once the beginning is forgotten, and exponents are
averaged over orbits that are known to stay on the saddle beyond the window of the average.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np

from envs.system import Floats, System
from rl_lab.probes.rates import Rates, unit_of

CHECK_EVERY = {"map": 1}
"""Steps between looks at who has decayed; 100 for what moves in small steps."""
LOOKS = 1000
"""Looks after which the rest is left undecided."""
FIELDS, FIELD_LOOKS = 8, 16
"""Starts and looks of fields, whose steps cost a thousand times as much."""
FORGOTTEN = 0.3
"""The beginning is forgotten when this share of the starts has decayed."""
LEFT = 0.005
"""Orbits are followed until this share of the starts is left, but not until fewer than FEWEST are."""
FEWEST = 20
TANGENT_STEPS = 1_000_000
"""Steps of the tangent, all survivors together; more survivors than FEWEST are left out beyond it."""


@dataclass(frozen=True)
class Survivors:
    """What a chaotic saddle has instead of an attractor's spectrum."""

    system: System
    rate: float
    """Escape rate: share of the orbits that decay, per time unit or iteration."""
    rate_stderr: float
    """From the number of events."""
    rates: Rates
    """Exponents, means over the survivors; their spread gives the standard errors."""
    starts: int
    decays: int
    """Events after `settle`."""
    survivors: int
    """Orbits still on the saddle at the end, over which the exponents are averaged."""
    settle: float
    """Time units or iterations left out before the window, and as many after it: orbits on their way out."""
    window: float
    each: tuple[tuple[float, ...], ...]
    """Exponents of each survivor."""
    note: str | None = None

    @property
    def lifetime(self) -> float:
        """Mean time on the saddle, 1 / rate."""
        return 1 / self.rate if self.rate > 0 else float("inf")

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        dt = self.system.dt
        return self.rates.document() | {
            "rate": self.rate,
            "rate_stderr": self.rate_stderr,
            "rate_unit": "per iteration" if self.system.kind == "map" else "per time unit",
            "rate_per_step": self.rate * dt,
            "starts": self.starts,
            "decays": self.decays,
            "survivors": self.survivors,
            "settle": self.settle,
            "window": self.window,
            "note": self.note,
        }


def survive(
    system: System,
    *,
    starts: int | None = None,
    vectors: int | None = None,
    settle: float | None = None,
    longest: float | None = None,
    qr_every: int | None = None,
    seed: int = 0,
) -> Survivors:
    """Escape rate and exponents of the saddle of a `transient` system.

    `starts` orbits are followed until 0.5 % (but 20) are left, or for `longest` (time units, iterations).
    `settle` is by
    default the time in which 30 % decay. ValueError if the system is not transient, or if nobody survives.
    """
    if not system.transient:
        raise ValueError(f"{system}: its chaos is not known to be transient, so there is nothing to survive")
    size = len(system.states)
    if vectors is not None and not 1 <= vectors <= size:
        raise ValueError(f"{system}: vectors must be 1 to {size}, got {vectors}")
    for name, value in (("settle", settle), ("longest", longest)):
        if value is not None and not 0 < value < 1e9:
            raise ValueError(f"{system}: {name} must be a positive time below 1e9, got {value!r}")
    field = system.kind == "field"
    starts = starts or (FIELDS if field else int(np.clip(10_000 * (3 / size) ** 3, 200, 10_000)))
    every = CHECK_EVERY.get(system.kind, 100)
    interval = every * system.dt
    looks = (FIELD_LOOKS if field else LOOKS) if longest is None else max(3, round(longest / interval))
    generator = np.random.default_rng(seed)
    history, alive = _follow(system, system.scatter(generator, starts), every, looks)
    skip = int(np.argmax(alive <= (1 - FORGOTTEN) * starts)) if settle is None else round(settle / interval)
    if settle is None and (alive[-1] > (1 - FORGOTTEN) * starts or 2 * skip >= len(alive) - 1):
        skip = (len(alive) - 1) // 4
    window = len(alive) - 1 - 2 * skip
    if skip < 1:
        raise ValueError(
            f"{system}: {(len(alive) - 1) * interval:g} are too short for orbits to forget where they began and for "
            f"their tangents to turn into place; follow them for {8 * interval:g} at least"
        )
    if window < 1 or len(history[-1][0]) < 2:
        raise ValueError(
            f"{system}: {alive[-1]} of {starts} orbits survive {(len(alive) - 1) * interval:g} and {skip * interval:g} "
            "are left out at either end; take more starts"
        )
    rate, error = escape_rate(alive[skip:], interval)
    rates = _exponents(
        system, history, skip, skip + window, every, vectors or size, qr_every or min(every, 10), generator
    )
    return Survivors(
        system,
        rate,
        error,
        Rates(
            tuple(rates.mean(axis=0).tolist()),
            tuple((rates.std(axis=0, ddof=1) / sqrt(len(rates))).tolist()),
            system.dt,
            unit_of(system),
        ),
        starts,
        int(alive[skip] - alive[-1]),
        len(rates),
        skip * interval,
        window * interval,
        tuple(map(tuple, rates.tolist())),
        _note(alive[skip:], interval),
    )


def single_orbit_note(system: System) -> str | None:
    """What a method that follows single orbits has to say of a transient system."""
    if not system.transient:
        return None
    return (
        "the chaos of these parameters is transient and single orbits leave it: this is no exponent of the chaos; "
        "`survive` (--method escape) gives the escape rate and the exponents of orbits that are still in it"
    )


def escape_rate(alive: Floats, interval: float) -> tuple[float, float]:
    """Rate and standard error from the numbers still alive at equally spaced times, [looks + 1].

    Maximum likelihood: of all that entered an interval a share p decays, rate = -log(1 - p) / interval.
    """
    entered, decays = float(np.sum(alive[:-1])), float(alive[0] - alive[-1])
    share = decays / entered
    if share == 0 or share == 1:
        return (0.0, 0.0) if share == 0 else (float("inf"), float("nan"))
    return -log(1 - share) / interval, sqrt(share / (entered * (1 - share))) / interval


def _follow(
    system: System, states: Floats, every: int, looks: int
) -> tuple[list[tuple[np.ndarray[Any, Any], Floats]], Floats]:
    """Who (indices) is where (states [D, n]) at each look, and how many; decayed orbits are dropped."""
    who = np.arange(states.shape[1])
    history, alive = [(who, states)], [len(who)]
    for _ in range(looks):
        states = system.advance(states, np.zeros((system.n_pushes, states.shape[1])), every)
        kept = ~system.decayed(states) & np.isfinite(states).all(axis=0)
        who, states = who[kept], np.ascontiguousarray(states[:, kept])
        if len(who) == 0:
            break
        history.append((who, states))
        alive.append(len(who))
        if len(who) <= max(LEFT * alive[0], min(FEWEST, alive[0] // 4)):
            break
    return history, np.array(alive, dtype=np.float64)


def _exponents(
    system: System,
    history: list[tuple[np.ndarray[Any, Any], Floats]],
    first: int,
    last: int,
    every: int,
    vectors: int,
    qr_every: int,
    generator: np.random.Generator,
) -> Floats:
    """Mean growth [survivors, k] from look `first` to look `last` of those alive at the very end.

    The tangent goes from look to look along the orbit that was followed: an orbit of its own would part from
    it by rounding and might decay.
    """
    survivors = history[-1][0][: max(FEWEST, TANGENT_STEPS // (last * every))]
    seats = [np.searchsorted(who, survivors) for who, _ in history[:last]]
    rates = np.zeros((len(survivors), vectors))
    for row in range(len(survivors)):
        frame = np.linalg.qr(generator.normal(size=(len(system.states), vectors)))[0]
        for look in range(last):
            state = history[look][1][:, seats[look][row]]
            _, frame, growth = system.stretch(state, frame, every, qr_every)
            if look >= first:
                rates[row] += growth
    return rates / ((last - first) * every * system.dt)


def _note(alive: Floats, interval: float) -> str | None:
    """A sentence, if there are too few events, or if the rate still changes: the decay is not exponential yet."""
    decays = int(alive[0] - alive[-1])
    if decays < 20:
        return f"only {decays} orbits decayed: the escape rate is hardly known; follow more starts for longer"
    half = int(np.argmax(alive <= (alive[0] + alive[-1]) / 2))
    (early, early_error), (late, late_error) = (
        escape_rate(alive[: half + 1], interval),
        escape_rate(alive[half:], interval),
    )
    if abs(early - late) <= 3 * sqrt(early_error**2 + late_error**2):
        return None
    return f"the decay is not exponential: rate {early:.3g} in the first half of the events, {late:.3g} in the second"
