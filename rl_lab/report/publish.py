"""From a directory of runs to the report's files."""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from rl_lab.errors import UserError
from rl_lab.report.arms import SEED, Arm, arms_of, grouped
from rl_lab.report.charts import (
    Drawing,
    kl_column,
    learning_column,
    overview,
    rates_column,
    survival_column,
)
from rl_lab.report.contrasts import Contrast, contrasts_of
from rl_lab.report.curves import Panel, panels
from rl_lab.report.digest import Digest
from rl_lab.report.findings import findings, question, verdict
from rl_lab.report.look import config
from rl_lab.report.outcomes import Outcomes, document_of, outcomes_of
from rl_lab.report.page import Content, render
from rl_lab.report.studies import read_studies
from rl_lab.study.plan import slug

PAGE = "index.html"
SCALE = 1.5
"""Pixels of a picture per unit of its definition; twice as sharp takes twice the time to draw."""


@dataclass(frozen=True)
class Report:
    """The files that were written and what they say; `pictures` are all PNGs by name, overview among them."""

    page: Path
    overview: Path
    pictures: Mapping[str, Path]
    arms: Sequence[Arm]
    findings: Sequence[str]
    contrasts: Sequence[Contrast]
    runs: Sequence[Digest]
    study: Mapping[str, Any]
    """What study.json holds, empty where runs lie without a study."""
    outcomes: Outcomes
    verdict: str


def build(directory: Path | Sequence[Path], out: Path | None = None) -> Report:
    """Write page and pictures of all runs under `directory`, or under several, into `out`.

    Default: the folder `report` of the directory, or of several runs/<name>-and-<name>. Files of an earlier report
    there are replaced one by one, each at once; nothing else is touched.

    Raises:
        UserError: there is no run to report, or `out` cannot be written.
    """
    directories = [directory] if isinstance(directory, Path) else list(directory)
    content = gather(directories)
    target = out if out is not None else _default_place(directories, content.study)
    content = replace(content, place=target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        pictures = {name: target / f"{name}.png" for name in _PICTURES}
        for name, path in pictures.items():
            replace_file(path, png(_PICTURES[name](content.panels, content.colours)))
        replace_file(target / PAGE, render(content).encode("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{target}: the report cannot be written there ({reason}); choose another --out"
        ) from error
    return Report(
        target / PAGE, pictures["overview"], pictures,
        content.arms, content.findings, content.contrasts, content.runs, content.study,
        content.outcomes, content.verdict,
    )  # fmt: skip


def _default_place(directories: Sequence[Path], study: Mapping[str, Any]) -> Path:
    if len(directories) == 1:
        return directories[0] / "report"
    return Path("runs") / "-and-".join(slug(name) for name in study["studies"])


def gather(directory: Path | Sequence[Path]) -> Content:
    """Read the runs and work out everything the report says."""
    read = read_studies([directory] if isinstance(directory, Path) else directory)
    found, study, rng = read.found, read.study, np.random.default_rng(SEED)
    arms = arms_of(found, rng)
    return Content(
        title=read.title,
        directory=read.directory,
        study=study,
        runs=[one for members in grouped(found).values() for one in members],
        arms=arms,
        question=question(study, arms),
        verdict=verdict(arms),
        findings=findings(arms),
        contrasts=contrasts_of(found, study, np.random.default_rng(SEED)),
        outcomes=outcomes_of(found, arms, study, np.random.default_rng(SEED)),
        panels=panels(found, arms, rng),
        colours=read.colours,
    )


def png(drawing: Drawing) -> bytes:
    """The drawing as a PNG, drawn without browser and network."""
    picture: bytes = vl_convert.vegalite_to_png(
        drawing.still(),
        vl_version=alt.SCHEMA_VERSION.rpartition(".")[0],
        scale=SCALE,
        config=config(),
        allowed_base_urls=[],
    )
    return picture


def document(report: Report) -> dict[str, Any]:
    """The report as one JSON document; what is unknown or not finite is null."""
    plain: dict[str, Any] = _plain(
        {
            "page": str(report.page),
            "overview": str(report.overview),
            "pictures": {name: str(path) for name, path in report.pictures.items()},
            "arms": [asdict(arm) for arm in report.arms],
            "verdict": report.verdict,
            "findings": list(report.findings),
            "contrasts": [asdict(contrast) for contrast in report.contrasts],
            **document_of(report.outcomes),
            "runs": [_run(one) for one in report.runs],
        }
    )
    return plain


_PICTURES: Mapping[str, Callable[[Sequence[Panel], Mapping[str, str]], Drawing]] = {
    "overview": overview,
    "learning_curves": learning_column,
    "kl": kl_column,
    "collapse_rates": rates_column,
    "survival": survival_column,
}


def _run(one: Digest) -> dict[str, Any]:
    names = (
        "run_id", "task", "agent", "seed", "status", "reason", "updates", "return_final", "settled_return",
        "counts", "collapsed", "recovered", "peak_kl", "problems",
    )  # fmt: skip
    return {name: getattr(one, name) for name in names} | {
        "wandb": (one.manifest.get("wandb") or {}).get("id")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_file(path: Path, content: bytes) -> None:
    """The file holds the old bytes or the new, never half of them."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)  # mkstemp's files are for their owner alone; a report is for showing
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
