"""Does every rule learn? The table of a study, as Markdown that can be committed and written again."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rl_lab.report.arms import Arm
from rl_lab.report.contrasts import Contrast, Pair, power
from rl_lab.report.digest import Digest
from rl_lab.report.page.content import Content, versions
from rl_lab.report.publish import Report
from rl_lab.report.words import UNKNOWN, amount, enumeration, span

COLUMNS = ("task", "rule", "seeds", "steps", "final return, IQM [95 %]", "random policy", "learned")
DIFFERENCES = ("task", "difference", "seeds", "final return [95 %]", "reading")
NOTE = (
    "Final return: mean of a run's last 20 episodes; of the runs the interquartile mean, with a percentile bootstrap"
    " interval over seeds. A run that diverged enters with the return of the random policy. *Learned*: the whole"
    " interval lies above the random policy's mean."
)
PAIRED = (
    "Interquartile mean of the first minus that of the second, over the seeds both have ended; seeds are resampled in"
    " pairs. An interval wholly below 0 would refute *not worse*; one that holds 0 does not prove it, it says how large"
    " a difference the seeds leave open."
)


def learning_table(report: Report | Content, command: str) -> str:
    """The Markdown document; `command` is what writes it again."""
    name = report.study.get("name") or "runs"
    parts = [
        f"<!-- Written by `{command}`. Do not edit: run it again. -->",
        f"# {str(name).capitalize()}: what every rule reaches",
        _origin(report, command),
        NOTE,
        _markdown(COLUMNS, [_row(arm, report.runs) for arm in report.arms], right=(2, 3, 4, 5)),
    ]
    told = [contrast for contrast in report.contrasts if contrast.pairs]
    if told:
        rows = [row for contrast in told for row in _differences(contrast)]
        parts += ["## Differences", PAIRED, _markdown(DIFFERENCES, rows, right=(2, 3))]
        parts += [f"* {sentence}" for sentence in power(told)]
    notes = dict.fromkeys(f"* {arm.task}, {arm.agent}: {note}." for arm in report.arms for note in arm.notes)
    notes |= dict.fromkeys(f"* {contrast.note}." for contrast in report.contrasts if contrast.note)
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _origin(report: Report | Content, command: str) -> str:
    """Which commands, on what, when: what a reader needs to get the same table."""
    study = report.study
    file = Path(str(study.get("file") or ""))
    made = f"`rl-lab study {file.name if file.is_absolute() else file}`, then " if file.name else ""
    dates = sorted({str(run.manifest["ended"])[:10] for run in report.runs if run.manifest.get("ended")})
    when = f"; runs ended {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}" if dates else ""
    cores = study.get("cores")
    where = f" on a machine with {cores} cores" if cores else ""
    made_with = ", ".join(f"{package} {version}" for package, version in versions(report.runs).items())
    return f"{made}`{command}`{where}{when}. Versions: {made_with or UNKNOWN}."


def _row(arm: Arm, runs: Sequence[Digest]) -> list[str]:
    steps = {run.steps for run in runs if (run.task, run.agent) == (arm.task, arm.agent) and run.steps}
    return [
        arm.task,
        arm.agent,
        str(arm.ended) if arm.ended == arm.runs else f"{arm.ended} of {arm.runs}",
        enumeration([f"{count:,}" for count in sorted(steps)]) or UNKNOWN,
        amount(arm.final_return)
        + (f" {span(arm.final_return_interval)}" if arm.final_return_interval else ""),
        amount(arm.random_return),
        learned(arm),
    ]


def learned(arm: Arm) -> str:
    """Whether the interval of the final return lies above the random policy, in one word or two."""
    if arm.final_return_interval is None or arm.random_return is None:
        return "unknown"
    if arm.final_return_interval.low > arm.random_return:
        return "yes"
    return "no" if arm.final_return_interval.high <= arm.random_return else "not shown"


def _differences(contrast: Contrast) -> Iterable[list[str]]:
    for pair in contrast.pairs:
        yield [
            contrast.task,
            f"{pair.first} − {pair.second}",
            str(len(contrast.seeds)),
            amount(pair.difference) + (f" {span(pair.interval)}" if pair.interval else ""),
            reading(pair),
        ]


def reading(pair: Pair) -> str:
    """What the interval of a difference allows to say."""
    if pair.interval is None:
        return "unknown: a single seed"
    low, high = pair.interval
    if low == high == 0:
        return "equal in every seed"
    if high < 0:
        return f"{pair.first} is worse"
    return f"{pair.first} is better" if low > 0 else "no difference shown"


def _markdown(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    rule = ["---:" if n in right else "---" for n in range(len(headers))]
    lines = [headers, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
