"""What the commands that do work print at their end: a report, a run, the size of a study."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_lab.cli import show

if TYPE_CHECKING:
    from rl_lab.study.calibrate import Cost
    from rl_lab.study.plan import Study


def print_report(built: Any, directory: Path | Sequence[Path], as_json: bool) -> None:
    """The summary table, what was compared, what was found, and where the files are."""
    from rl_lab.report import document
    from rl_lab.report.contrasts import contrast_rows
    from rl_lab.report.table import table_rows

    if as_json:
        show.document(document(built))
        return
    tables = [table_rows(built.arms)]
    if built.contrasts:
        tables.append(contrast_rows(built.contrasts))
    for headers, rows, notes in tables:
        show.line()
        show.table(headers, rows)
        for note in notes:
            show.line(note)
    show.line()
    places = [directory] if isinstance(directory, Path) else directory
    for finding in [built.verdict, *built.findings]:
        show.line(f"* {finding}")
    show.line()
    show.facts(
        [
            ("report page", str(built.page)),
            ("picture", str(built.overview)),
            ("W&B", "; ".join(map(_wandb_place, places))),
        ]
    )


def _wandb_place(directory: Path) -> str:
    """Where the W&B runs are: their page, or the folders that `wandb sync` takes."""
    from rl_lab.study.store import find_runs

    told = [w for run in find_runs(directory) if (w := run.manifest.get("wandb"))]
    urls = [str(w["url"]) for w in told if w.get("url")]
    if urls:
        return urls[0].rpartition("/runs/")[0] or urls[0]
    if not told:
        return "no W&B runs"
    pattern = "runs/*/wandb/offline-run-*" if (directory / "runs").is_dir() else "wandb/offline-run-*"
    return f"{directory}/{pattern}  (upload: wandb sync {directory}/{pattern})"


def print_result(result: dict[str, Any], reason: str | None) -> None:
    """How a run ended, and what to do next."""
    events = ", ".join(f"{count} {name}" for name, count in result["events"].items()) or "none"
    final = result["return_final"]
    show.facts(
        [
            ("status", result["status"] + (f": {reason}" if reason else "")),
            ("updates", f"{result['updates']} ({result['env_steps']:,} env steps)"),
            ("events", events),
            (
                "return",
                "no episode ended" if final is None else f"{final:.4g} (mean of the last 20 episodes)",
            ),
            ("run directory", result["run_dir"]),
            ("next", f"rl-lab report {result['run_dir']}"),
        ]
    )


def print_plan(planned: "Study", cost: "Cost | None", as_json: bool) -> None:
    """What a study would do, would cost and could show, had it been started."""
    from rl_lab.study.power import detectable

    size, shown = planned.size(), detectable(planned)
    if as_json:
        show.document(
            {
                "study": planned.name,
                **size,
                "hash": planned.hash(),
                "primary": planned.primary,
                "detectable": {**asdict(shown), "sentences": shown.sentences(planned.primary)},
                "cost": cost and asdict(cost),
            }
        )
        return
    show.facts([("study", planned.name), *((key, f"{count:,}") for key, count in size.items())])
    show.line()
    show.line(f"primary outcome: {planned.primary}. Of one comparison on one task:")
    for sentence in shown.sentences(planned.primary):
        show.line(f"* {sentence}")
    show.line()
    if cost is not None:
        _print_cost(cost)
    show.line("nothing was run: every task, agent and setting is fine")


def print_sweep(path: Path, runs: int, as_json: bool) -> None:
    """Where a sweep was written, and what to do with it."""
    if as_json:
        show.document({"sweep": str(path), "runs": runs})
        return
    show.line(
        f"{path}: a W&B sweep of {runs:,} runs; `wandb sweep {path}` registers it and names the agent to start"
    )


def _print_cost(cost: "Cost") -> None:
    show.table(
        ("task", "agent", "runs", "steps a run", "s / 1000 steps"),
        [
            (arm.task, arm.agent, f"{arm.runs:,}", f"{arm.steps:,}", _rate(arm.seconds_per_1000_steps))
            for arm in cost.arms
        ],
    )
    for arm in cost.unknown:
        show.line(f"{arm.agent} on {arm.task} is not in the estimate: {arm.reason}")
    show.line()
    one = cost.jobs == 1
    show.facts(
        [
            (
                "estimate",
                f"{_duration(cost.wall_seconds)} with {cost.jobs} {'run' if one else 'runs'} at a time",
            ),
            (
                "of one core",
                f"{_duration(cost.core_seconds)}, {cost.start_seconds:.1f} s of each run to begin",
            ),
            ("calibration", f"{_duration(cost.seconds)}; W&B was off"),
        ]
    )


def _rate(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.3g}"


def _duration(seconds: float) -> str:
    """As a person would say it: 45 s, 12 min, 3 h 20 min, 8 days 2 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"
