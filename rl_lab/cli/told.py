"""What the commands that do work print at their end: a report, a run, the size of a study."""

from pathlib import Path
from typing import Any

from rl_lab.cli import show


def print_report(built: Any, directory: Path, as_json: bool) -> None:
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
    for finding in built.findings:
        show.line(f"* {finding}")
    show.line()
    show.facts(
        [
            ("report page", str(built.page)),
            ("picture", str(built.overview)),
            ("W&B", _wandb_place(directory)),
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


def print_size(name: str, size: dict[str, int], as_json: bool) -> None:
    """What a study would do, had it been started."""
    if as_json:
        show.document({"study": name, **size})
        return
    show.facts([("study", name), *((key, f"{count:,}") for key, count in size.items())])
    show.line("nothing was run: every task, agent and setting is fine")
