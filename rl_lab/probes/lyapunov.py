"""Lyapunov spectrum of an uncontrolled system: how fast, and in how many directions, neighbours part.

Benettin's method: carry a frame of tangent vectors along a settled orbit, orthonormalise it now and then, and
average the logarithms of the lengths taken out. Source: Benettin, Galgani, Giorgilli, Strelcyn, Meccanica 15,
9 and 21 (1980). The steps are the environment's own fixed steps and the tangent is their exact derivative: an
adaptive solver reports 0 for a stable focus when its tolerance exceeds the distance it follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.card import reference as reference_of
from envs.system import Floats, System, vector
from rl_lab.probes.blocks import block_stderr, correlation_note, drift_note
from rl_lab.probes.dimension import entropy, kaplan_yorke, kaplan_yorke_stderr
from rl_lab.probes.escape import Survivors, survive
from rl_lab.probes.rates import Rates, unit_of

STEPS = 20_000_000
"""Default number of steps for three states and three vectors: about two seconds."""
MOST = 1e12
"""Steps that nobody waits for."""
SETTLE = {"field": 4000}
"""Default number of discarded steps, 100 000 for other kinds; the frame turns into place in them too."""
QR_EVERY = {"map": 1, "field": 5}
"""Steps between orthonormalisations, 10 for other kinds; few enough that no vector is lost in another's shadow."""
ALL = 12
"""Up to this many states all exponents are measured unless fewer are asked for."""
SAME = 1e-4
"""Difference between exponents of two starts that no test takes for two attractors."""


@dataclass(frozen=True)
class Spectrum:
    """The largest Lyapunov exponents of a system, falling, in nats per time unit or per iteration."""

    system: System
    exponents: tuple[float, ...]
    stderr: tuple[float, ...]
    """One standard error each, from the means of equally long blocks (of survivors: from their spread)."""
    time: float
    """Time units or iterations averaged over, all starts together."""
    note: str | None = None
    """Sentences, where the numbers are not what they seem: a fixed point, a transient, several attractors."""
    blocks: tuple[tuple[float, ...], ...] = ()
    """Means of the blocks (of survivors: of each), one row per block."""
    by_start: tuple[tuple[float, ...], ...] = ()
    """Exponents from each start, if there were several."""
    escape: Survivors | None = None
    """Of a system whose chaos is transient: how fast orbits leave it, and the exponents while they stay."""
    survivors: bool = False
    """Whether `exponents` are those of the orbits still on the chaotic saddle."""

    @property
    def unit(self) -> str:
        """Unit of the exponents."""
        return unit_of(self.system)

    @property
    def rates(self) -> Rates:
        """The exponents as rates: per step, and in bits."""
        return Rates(self.exponents, self.stderr, self.system.dt, self.unit)

    @property
    def kaplan_yorke(self) -> float:
        """Kaplan-Yorke dimension of the attractor; at least this if all measured exponents together grow."""
        return kaplan_yorke(self.significant)

    @property
    def kaplan_yorke_stderr(self) -> float:
        """Its standard error."""
        return kaplan_yorke_stderr(self._significant_blocks) if len(self.blocks) > 1 else 0.0

    @property
    def entropy(self) -> tuple[float, float]:
        """Sum of the positive exponents (Pesin's entropy) and its standard error, in the same unit."""
        return entropy(self._significant_blocks) if len(self.blocks) > 1 else (0.0, 0.0)

    @property
    def significant(self) -> tuple[float, ...]:
        """The exponents, with 0 for those within 3 standard errors of it: their sign is noise."""
        pairs = zip(self.exponents, self.stderr, strict=True)
        return tuple(0.0 if abs(value) <= 3 * error else value for value, error in pairs)

    @property
    def _significant_blocks(self) -> Floats:
        return np.asarray(np.array(self.blocks) * (np.array(self.significant) != 0))

    @property
    def reference(self) -> dict[str, Any] | None:
        """Published exponents, or None: none stated, or other parameters than theirs."""
        return reference_of(self.system)

    @property
    def deviations(self) -> tuple[float, ...] | None:
        """Distance from the reference in combined standard errors, for as many exponents as both have.

        None without a reference, and where it is about survivors and this is not, or the other way round.
        """
        known = self.system.published
        if known is None or known.survivors != self.survivors:
            return None
        count = min(len(self.exponents), len(known.exponents))
        off = np.subtract(self.exponents[:count], known.exponents[:count])
        combined = np.hypot(self.stderr[:count], known.stderrs[:count])
        # Exponents that an equation fixes exactly (a clock's 0) have no error but rounding.
        return tuple((off / np.maximum(combined, 1e-9)).tolist())

    def document(self, env_id: str) -> dict[str, Any]:
        """What `rl-lab probe lyapunov --json` prints."""
        return {
            "env": env_id,
            "exponents": list(self.exponents),
            "stderr": list(self.stderr),
            "unit": self.unit,
            "kaplan_yorke": self.kaplan_yorke,
            "time": self.time,
            "reference": self.reference,
            "per_step": list(self.rates.per_step),
            "per_step_stderr": list(self.rates.per_step_stderr),
            "dt": self.system.dt,
            "kaplan_yorke_stderr": self.kaplan_yorke_stderr,
            "entropy": self.entropy[0],
            "entropy_stderr": self.entropy[1],
            "deviations": list(self.deviations) if self.deviations is not None else None,
            "survivors": self.survivors,
            "escape": self.escape.document() if self.escape else None,
            "by_start": [list(row) for row in self.by_start],
            "note": self.note,
        }


def spectrum(
    system: System,
    *,
    time: float | None = None,
    settle: float | None = None,
    blocks: int = 20,
    seed: int = 0,
    vectors: int | None = None,
    starts: int = 1,
    survivors: bool | None = None,
) -> Spectrum:
    """Measure the spectrum over `time` (time units, iterations) after discarding `settle`.

    The first orbit starts at the system's `start`, further `starts` at its `scatter`; they share `time`. `seed`
    chooses them and the first frame. `vectors`: how many exponents; by default all of up to 12 states, and of
    larger systems as many as are published. `survivors`: of a system whose chaos is transient, exponents of the
    orbits still on the saddle in place of the long run's; by default what the reference is about. ValueError if
    the orbit runs away.
    """
    count = _vectors(system, vectors)
    if survivors is None:
        survivors = bool(system.transient and system.published and system.published.survivors)
    escape = (
        survive(system, vectors=count, seed=seed, longest=time if survivors else None)
        if system.transient
        else None
    )
    if survivors and escape is None:
        raise ValueError(
            f"{system}: its chaos is not known to be transient, so there are no survivors to ask for"
        )
    if starts < 1:
        raise ValueError(f"{system}: starts must be at least 1, got {starts}")
    if survivors and escape:
        return _of_survivors(escape)
    block = (
        _steps(system, "time", time, default_steps(system, count)) // (blocks * starts) if blocks > 1 else 0
    )
    if block < 1:
        raise ValueError(
            f"{system}: blocks must be at least 2 (starts at least 1) and no more than the steps in time, got "
            f"{blocks} (and {starts})"
        )
    generator = np.random.default_rng(seed)
    frame, _ = np.linalg.qr(generator.normal(size=(len(system.states), count)))
    first = vector(system.start)[:, None]
    others = system.scatter(generator, starts - 1) if starts > 1 else first[:, :0]
    skip = _steps(system, "settle", settle, SETTLE.get(system.kind, 100_000))
    runs = [_run(system, start, frame, skip, block, blocks) for start in np.hstack([first, others]).T]
    rates = np.vstack([run for run, _ in runs])
    order = np.argsort(-rates.mean(axis=0), kind="stable")
    by_start = [run[:, order] for run, _ in runs]
    found = _averaged(system, by_start, block * system.dt)
    notes = [_fixed_point_note(system, state) for _, state in runs[:1]] + [found.note, _too_few_note(found)]
    if escape:
        notes.append(_transient_note(escape))
    return replace(found, escape=escape, note="; ".join(note for note in notes if note) or None)


def default_steps(system: System, vectors: int) -> int:
    """A few seconds for any dimension, by counting operations (never by the clock: results must repeat)."""
    size = len(system.states)
    if system.kind == "field":
        return int(4e6 / (100 + 0.15 * size * vectors))
    coupled = min(size, 6)  # states of large systems depend on their neighbours only
    return int(STEPS * min(1.0, 54 / (size * vectors * (coupled + vectors))))


def _vectors(system: System, asked: int | None) -> int:
    size = len(system.states)
    if asked is not None:
        if not 1 <= asked <= size:
            raise ValueError(f"{system}: vectors must be 1 to {size}, got {asked}")
        return asked
    if size <= ALL and system.kind in ("flow", "map"):
        return size
    known = system.published or system.reference
    return min(size, len(known.exponents) if known else 4)


def _run(
    system: System, start: Floats, frame: Floats, skip: int, block: int, blocks: int
) -> tuple[Floats, Floats]:
    """Means of the blocks [blocks, k] and the last state."""
    every = QR_EVERY.get(system.kind, 10)
    state, frame, _ = system.stretch(start, frame, skip, every)
    _require_bounded(system, start, state)
    rates = np.empty((blocks, frame.shape[1]))
    for b in range(blocks):
        state, frame, growth = system.stretch(state, frame, block, every)
        _require_bounded(system, start, state)
        rates[b] = growth / (block * system.dt)
    return rates, state


def _averaged(system: System, by_start: Sequence[Floats], block: float) -> Spectrum:
    """Mean over all blocks; where the starts do not agree their spread is the error, and a note says so."""
    rates = np.vstack(by_start)
    stderr = block_stderr(rates)
    note = drift_note(by_start[0][:, 0]) or correlation_note(by_start[0][:, 0])
    means = np.array([run.mean(axis=0) for run in by_start])
    if len(by_start) > 1:
        errors = np.array([block_stderr(run) for run in by_start])
        lowest, highest = int(np.argmin(means[:, 0])), int(np.argmax(means[:, 0]))
        apart = means[highest, 0] - means[lowest, 0]
        if apart > 5 * np.hypot(errors[highest, 0], errors[lowest, 0]) + SAME:
            note = (
                f"orbits from different starts do not agree: the largest exponent is {means[lowest, 0]:.4g} from one "
                f"and {means[highest, 0]:.4g} from another, so there are several attractors or orbits that stick; "
                "the mean over starts is nobody's exponent"
            )
        stderr = np.maximum(stderr, block_stderr(means))
    return Spectrum(
        system,
        exponents=tuple(rates.mean(axis=0).tolist()),
        stderr=tuple(stderr.tolist()),
        time=len(rates) * block,
        note=note,
        blocks=tuple(map(tuple, rates.tolist())),
        by_start=tuple(map(tuple, means.tolist())) if len(by_start) > 1 else (),
    )


def _of_survivors(escape: Survivors) -> Spectrum:
    note = (
        f"the chaos of these parameters is transient: orbits leave it at a rate of {escape.rate:.4g} ± "
        f"{escape.rate_stderr:.2g} ({escape.document()['rate_unit']}); these are means over {escape.survivors} orbits "
        "still on the saddle"
    )
    return Spectrum(
        escape.system,
        escape.rates.values,
        escape.rates.stderr,
        time=escape.survivors * escape.window,
        note="; ".join(part for part in (note, escape.note) if part),
        blocks=escape.each,
        escape=escape,
        survivors=True,
    )


def _transient_note(escape: Survivors) -> str:
    return (
        "the chaos of these parameters is transient and these are the exponents of where the orbit ends, not of the "
        f"chaos: orbits leave it at a rate of {escape.rate:.4g} ± {escape.rate_stderr:.2g} "
        f"({escape.document()['rate_unit']}), and until then the largest exponent is {escape.rates.values[0]:.4g} ± "
        f"{escape.rates.stderr[0]:.2g}"
    )


def _too_few_note(found: Spectrum) -> str | None:
    if len(found.exponents) == len(found.system.states) or sum(found.exponents) < 0:
        return None
    return (
        f"the {len(found.exponents)} exponents measured do not add up to less than zero, so the Kaplan-Yorke dimension "
        "is larger than stated; ask for more vectors"
    )


def _steps(system: System, name: str, time: float | None, default: int) -> int:
    if time is None:
        return default
    if not np.isfinite(time) or not system.dt <= time < MOST * system.dt:
        raise ValueError(
            f"{system}: {name} must be at least one step of {system.dt:g} and less than {MOST:g} steps, got {time!r}"
        )
    return round(time / system.dt)


def _require_bounded(system: System, start: Floats, state: Floats) -> None:
    if not np.isfinite(state).all():
        raise ValueError(
            f"{system}: the uncontrolled orbit from {tuple(start.tolist())} runs away to infinity, so it has no "
            "exponents; choose parameters with a bounded orbit"
        )


def _fixed_point_note(system: System, state: Floats) -> str | None:
    """A sentence if the orbit stands still to rounding."""
    moved = system.step(state) - state
    if np.max(np.abs(moved) / system.dt) > 1e-9 * (1 + np.max(np.abs(state))):
        return None
    point = ", ".join(f"{value:.6g}" for value in state[:9]) + (", ..." if len(state) > 9 else "")
    return f"the orbit ended on the fixed point ({point}): these are its eigenvalues' real parts, not chaos"
