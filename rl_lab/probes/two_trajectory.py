"""The largest exponent of anything that can be stepped, from two copies of it.

A companion starts at distance d0; every `tau` steps the logarithm of how far it has come is kept and it is
pulled back to d0. Source: Benettin, Galgani, Strelcyn, Physical Review A 14, 2338 (1976).

No derivative is needed, but d0 has to lie between two faults: below, the rounding of the step (float32 anywhere
inside it is enough) feeds the distance; above, the distance saturates at the size of the attractor. Both look
like results. So a step that rounds more coarsely than d0 is refused, saturation is noted, and `scan_d0`
measures at many d0 and answers only where they agree. An adaptive solver cannot be asked at all: its tolerance
is a rounding that nobody sees, so a step is a fixed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.system import Floats, System, vector
from rl_lab.probes.blocks import block_stderr, correlation_note, drift_note
from rl_lab.probes.escape import single_orbit_note
from rl_lab.probes.rates import Rates, unit_of

Step = Callable[[Floats], Any]
"""state [D] -> next state [D], always the same for the same state."""

D0 = 1e-8
"""Default distance, as a share of the size of the states."""
SCAN = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2)
"""Default distances of a scan, as shares of the size of the states."""
SATURATED = 1e-3
"""Share of the attractor's size beyond which the distance no longer grows like a tangent vector."""
PROPORTIONAL = 0.1
"""How far (as a share) from n × the answer to d0 the answer to n × d0 may be before a step counts as broken."""
MULTIPLES = (2, 10, 100, 10_000)
"""The n compared; with a rounding far coarser than d0 only large ones are seen at all."""
SMALL = 1e-4
"""Share of the size of the states up to which every smooth step answers in proportion."""
PLATEAU = 0.05
"""How far apart (as a share) exponents at neighbouring d0 may be and still agree."""
RENORMALISATIONS = 20_000
EVERY = {"map": 5, "black box": 5}
"""Default steps between renormalisations; 10 for what moves in small steps."""


@dataclass(frozen=True)
class Distance:
    """What one d0 gave: an exponent, or the fault that forbids to read it."""

    d0: float
    exponent: float
    stderr: float
    fault: str | None = None


@dataclass(frozen=True)
class Largest:
    """The largest exponent and how it was found; nan with a note if a scan found no plateau."""

    rates: Rates
    d0: float
    tau: int
    """Steps between renormalisations."""
    steps: int
    """Averaged over."""
    scan: tuple[Distance, ...] = ()
    plateau: tuple[float, float] | None = None
    """Smallest and largest d0 that agree, if a scan was asked for."""
    note: str | None = None

    @property
    def exponent(self) -> float:
        """In the unit of `rates`."""
        return self.rates.values[0]

    @property
    def stderr(self) -> float:
        """One standard error."""
        return self.rates.stderr[0]

    def document(self) -> dict[str, Any]:
        """Plain values for JSON; null where there is no exponent."""
        found = self.rates.document()
        scan = [
            {
                "d0": row.d0,
                "exponent": _or_none(row.exponent),
                "stderr": _or_none(row.stderr),
                "fault": row.fault,
            }
            for row in self.scan
        ]
        return {
            "exponent": _or_none(self.exponent),
            "stderr": _or_none(self.stderr),
            "unit": found["unit"],
            "per_step": _or_none(found["per_step"][0]),
            "per_step_stderr": _or_none(found["per_step_stderr"][0]),
            "dt": found["dt"],
            "d0": self.d0,
            "tau": self.tau,
            "steps": self.steps,
            "scan": scan,
            "plateau": list(self.plateau) if self.plateau else None,
            "note": self.note,
        }


def largest(
    what: System | Step,
    *,
    state: Floats | None = None,
    dt: float = 1.0,
    d0: float | None = None,
    tau: int | None = None,
    renormalisations: int = RENORMALISATIONS,
    settle: int = 2000,
    scan: bool | Sequence[float] = False,
    blocks: int = 20,
    seed: int = 0,
) -> Largest:
    """Follow a system, or a step function from `state` with step length `dt`, and a companion.

    `tau` and `settle` count steps; `scan` asks for a d0 scan (True, or the distances). Distances are in the
    unit of the state. ValueError if the orbit runs away, if d0 is below what the step resolves, or if the step
    works in float32 and no scan is asked for.
    """
    follow = _Follow.of(what, state, dt, tau, settle)
    if renormalisations < blocks or blocks < 2:
        raise ValueError(
            f"{follow.name}: blocks must be at least 2 and no more than renormalisations, got {blocks} and "
            f"{renormalisations}"
        )
    wanted = (
        ([s * follow.size for s in SCAN] if scan is True else sorted(scan))
        if scan
        else [d0 or D0 * follow.size]
    )
    if min(wanted) <= 0 or not np.isfinite(wanted).all():
        raise ValueError(f"{follow.name}: d0 must be positive and finite, got {wanted}")
    if not scan and (fault := follow.coarse(wanted[0], seed)):
        raise ValueError(f"{follow.name}: {fault}; make d0 larger or ask for scan=True")
    transient = single_orbit_note(what) if isinstance(what, System) else None
    rows, notes = [], []
    for distance in wanted:
        means = follow.growth(distance, renormalisations // blocks, blocks, seed)
        rate, error = float(means.mean()), float(block_stderr(means[:, None])[0])
        fault = (follow.coarse(distance, seed) if scan else None) or follow.saturated(distance, rate)
        rows.append(Distance(distance, rate, error, fault))
        said = (transient, fault, drift_note(means), correlation_note(means))
        notes.append("; ".join(part for part in said if part) or None)
    steps = renormalisations // blocks * blocks * follow.tau

    def result(row: Distance, **more: Any) -> Largest:
        rates = Rates((row.exponent,), (row.stderr,), follow.dt, follow.unit)
        return Largest(rates, row.d0, follow.tau, steps, **more)

    if not scan:
        return result(rows[0], note=notes[0])
    run = plateau(rows)
    if not run:
        nowhere = Distance(float("nan"), float("nan"), float("nan"))
        sentence = "no plateau: exponents at different d0 do not agree, so there is none to report"
        return result(nowhere, scan=tuple(rows), note=sentence)
    middle = run[len(run) // 2]
    bounds = (run[0].d0, run[-1].d0)
    return result(middle, scan=tuple(rows), plateau=bounds, note=notes[rows.index(middle)])


def plateau(rows: Sequence[Distance]) -> list[Distance]:
    """The longest run of neighbouring d0, without fault, whose exponents all agree; [] if it has not three."""
    best: list[Distance] = []
    for first in range(len(rows)):
        run: list[Distance] = []
        for row in rows[first:]:
            values = [r.exponent for r in (*run, row)]
            allowed = max(PLATEAU * abs(float(np.median(values))), row.stderr)
            if row.fault or not max(values) - min(values) <= allowed:
                break
            run.append(row)
        best = max(best, run, key=len)
    return best if len(best) >= 3 else []


@dataclass(frozen=True)
class _Follow:
    """A settled state and a way to move columns of states [D, M] by `tau` steps or by one."""

    name: str
    move: Callable[[Floats, int], Floats]
    state: Floats
    size: float
    """Of the states: the larger of the orbit's half range and its distance from zero."""
    reach: float
    """Half range of the settled orbit."""
    single: bool
    """Whether what comes out of the step has only float32's digits."""
    dt: float
    tau: int
    unit: str

    @classmethod
    def of(
        cls, what: System | Step, state: Floats | None, dt: float, tau: int | None, settle: int
    ) -> "_Follow":
        if isinstance(what, System):
            name, unit, dt = str(what), unit_of(what), what.dt
            tau = tau or EVERY.get(what.kind, 10)
            start = vector(what.start if state is None else state)
            system, still = what, np.zeros((what.n_pushes, 1))

            def move(states: Floats, steps: int) -> Floats:
                return system.advance(states, np.repeat(still, states.shape[1], axis=1), steps)
        else:
            name, unit = getattr(what, "__name__", "the step function"), "nats per time unit"
            tau = tau or EVERY["black box"]
            if state is None:
                raise ValueError(f"{name}: a step function needs a state to start from")
            step, start = what, np.asarray(state)

            def move(states: Floats, steps: int) -> Floats:
                columns = list(states.T)
                for _ in range(steps):
                    columns = [np.asarray(step(column)) for column in columns]
                return np.array(columns).T

        if tau < 1 or not dt > 0:
            raise ValueError(f"{name}: tau must be at least 1 step and dt positive, got {tau} and {dt}")
        moved, seen = start[:, None], []
        for _ in range(200):
            moved = move(moved, max(1, settle // 200))
            seen.append(moved[:, 0])
        if not np.isfinite(moved).all():
            raise ValueError(
                f"{name}: the orbit from {start.tolist()} runs away to infinity, it has no exponent"
            )
        points = np.array(seen[100:])
        single = points.dtype != np.float64 or bool(
            np.all(points.astype(np.float32) == points) and np.any(points % 1)
        )
        reach = float(np.linalg.norm(np.ptp(points, axis=0) / 2))
        size = max(reach, float(np.linalg.norm(points[-1]))) or 1.0
        return cls(name, move, points[-1].astype(np.float64), size, reach, single, dt, tau, unit)

    def coarse(self, d0: float, seed: int) -> str | None:
        """A sentence, if the step rounds too coarsely to see d0: its answers to d0 and n d0 are no 1 : n."""
        if self.single and d0 < 1e-5 * self.size:
            return (
                f"the step works in float32, whose rounding is larger than d0 = {d0:.2g} and would be measured "
                "in its place"
            )
        generator, state, broken = np.random.default_rng(seed), self.state[:, None], 0
        multiples = [n for n in MULTIPLES if n == 2 or n * d0 <= SMALL * self.size]
        for _ in range(16):
            state = self.move(state, self.tau)
            aside = generator.normal(size=state.shape)
            aside *= d0 / np.linalg.norm(aside)
            displaced = np.hstack([state, state + aside, *(state + n * aside for n in multiples)])
            here, one, *more = self.move(displaced, 1).T
            off = [np.linalg.norm(m - here - n * (one - here)) for n, m in zip(multiples, more, strict=True)]
            allowed = [PROPORTIONAL * np.linalg.norm(m - here) for m in more]
            broken += bool(np.any(np.array(off) > allowed))
        if broken < 2:
            return None
        return (
            f"the step does not answer in proportion to a displacement of d0 = {d0:.2g} ({broken} of 16 times): "
            "something in it rounds more coarsely (float32?) or jumps"
        )

    def growth(self, d0: float, renormalisations: int, blocks: int, seed: int) -> Floats:
        """Mean rate of each block [blocks]; the companion turns into place in as many as a block has."""
        aside = np.random.default_rng(seed).normal(size=(len(self.state), 1))
        pair = self.state[:, None] + np.hstack([0 * aside, d0 * aside / np.linalg.norm(aside)])
        logs = np.empty((blocks + 1, renormalisations))
        for b in range(blocks + 1):
            for n in range(renormalisations):
                pair = self.move(pair, self.tau)
                apart = pair[:, 1] - pair[:, 0]
                distance = float(np.sqrt(apart @ apart))
                if distance == 0 or not np.isfinite(distance):
                    return np.full(blocks, np.nan)
                logs[b, n] = np.log(distance / d0)
                pair[:, 1] = pair[:, 0] + apart * (d0 / distance)
        return np.asarray(logs[1:].mean(axis=1) / (self.tau * self.dt))

    def saturated(self, d0: float, rate: float) -> str | None:
        """A sentence, if the distance has no room to grow, or vanished."""
        if not np.isfinite(rate):
            return (
                f"at d0 = {d0:.2g} the two orbits became one, or ran away: d0 is below what the step resolves"
            )
        reached = d0 * np.exp(min(rate * self.tau * self.dt, 700.0))
        if rate <= 0 or reached <= SATURATED * self.reach:
            return None
        return (
            f"saturated: within {self.tau} steps the distance grows to {reached:.2g}, more than {SATURATED:g} of "
            f"the attractor's size {self.reach:.2g}, and then grows no further; take fewer steps or a smaller d0"
        )


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
