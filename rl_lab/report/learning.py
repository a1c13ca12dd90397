"""Does every rule learn? The table of a study, as Markdown that can be committed and written again."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rl_lab.errors import UserError
from rl_lab.report.arms import Arm
from rl_lab.report.census import versions
from rl_lab.report.contrasts import Contrast, Pair, estimate, remarks
from rl_lab.report.digest import Digest
from rl_lab.report.page import Content
from rl_lab.report.publish import Report, replace_file
from rl_lab.report.statistics import ENOUGH_SEEDS, FALSE_ALARMS
from rl_lab.report.terms import terms
from rl_lab.report.words import UNKNOWN, amount, enumeration, percent, span

MARKER = "<!-- The table of a study, written by `"
"""How a file begins that may be written again."""
FEWEST_SEEDS = 4
"""Below that many the interval is the range of the runs, which may well miss the truth: see `coverage_of_range`."""
COLUMNS = ("task", "rule", "seeds", "steps", "final return, IQM [95 %]", "random policy", "learned")
DIFFERENCES = (
    "task", "contrast", "largest difference [95 %]", "difference", "seeds", "final return [95 %]", "reading",
)  # fmt: skip
NOTE = (
    "Final return: mean of a run's last 20 episodes; of the runs the interquartile mean, with a percentile bootstrap"
    " interval over seeds. A run that diverged enters with the return of the random policy, or with its own last"
    " return where that is lower. Random policy: its mean return ± standard error. *Learned*: the whole interval lies"
    " above the random policy's mean by more than two of its standard errors; with fewer than"
    f" {FEWEST_SEEDS} seeds that is but a hint."
)
_ALARMS = enumeration([f"{percent(rate)} of cases with {n} seeds" for n, rate in FALSE_ALARMS.items()])
PAIRED = (
    "Interquartile mean of the first minus that of the second, over the seeds that have a final return in both; seeds"
    " are resampled in pairs. An interval wholly below 0 would refute *not worse*; one that holds 0 does not prove it,"
    " it says how large a difference the seeds leave open. With few seeds these intervals are too narrow: of two arms"
    f" that are equal in truth, one comes out wholly on one side of 0 in about {_ALARMS} (nominally 5 %). So with"
    f" fewer than {ENOUGH_SEEDS} seeds the reading is a hint, not a result; and every further row is one more chance"
    " of a false one."
)
TERMS = "Settings that are not the agent's defaults:"


def refuse_foreign(path: Path) -> None:
    """Raise unless the table can be written there and would replace nothing but a table of ours."""
    place = f"--markdown {path}"
    try:
        if path.is_dir():  # an empty name is the working directory
            raise UserError(f"{place}: is a directory; name a file, for example docs/learning.md")
        blocking = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
        if blocking is not None:
            raise UserError(f"{place}: {blocking} is a file, so nothing can lie in it; name another place")
        if path.exists() and not (path.is_file() and _is_ours(path)):
            raise UserError(
                f"{place}: is a file that this command did not write; nothing was changed, name another file"
            )
    except OSError as error:
        raise UserError(f"{place}: cannot be used ({error.strerror})") from error


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARKER.encode())) == MARKER.encode()


def write_table(path: Path, report: Report, command: str) -> None:
    """Write the document in one go, in place of an earlier one; what else lies there is refused."""
    refuse_foreign(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path.resolve(), learning_table(report, command).encode())
    except OSError as error:
        raise UserError(f"--markdown {path}: cannot be written ({error.strerror})") from error


def learning_table(report: Report | Content, command: str) -> str:
    """The Markdown document; `command` is what writes it again."""
    name = report.study.get("name") or "runs"
    parts = [
        f"{MARKER}{command}`. Do not edit: run it again. -->",
        f"# {str(name).capitalize()}: what every rule reaches",
        _origin(report, command),
        NOTE,
        _markdown(COLUMNS, [_row(arm, report.runs) for arm in report.arms], right=(2, 3, 4, 5)),
    ]
    parts += _list(f"{arm.task}, {arm.agent}: {note}." for arm in report.arms for note in arm.notes)
    parts += [TERMS, *_list(f"{line}." for line in terms(report.runs))]
    if report.contrasts:
        rows = [row for contrast in report.contrasts for row in _differences(contrast)]
        parts += ["## Differences", PAIRED]
        parts += [_markdown(DIFFERENCES, rows, right=(2, 4, 5))] if rows else []
        parts += _list(f"{remark}." for remark in remarks(report.contrasts))
    return "\n\n".join(parts) + "\n"


def _list(sentences: Iterable[str]) -> list[str]:
    """One Markdown list, or nothing."""
    lines = [f"* {_one_line(sentence)}" for sentence in dict.fromkeys(sentences)]
    return ["\n".join(lines)] if lines else []


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
        amount(arm.random_return)
        + (f" ± {amount(arm.random_stderr, 2)}" if arm.random_stderr is not None else ""),
        learned(arm),
    ]


def learned(arm: Arm) -> str:
    """Whether the interval of the final return lies above the random policy, in one word or two."""
    interval, mean, error = arm.final_return_interval, arm.random_return, arm.random_stderr
    if interval is None or mean is None or error is None:
        return "unknown"
    few = len(arm.final_returns) < FEWEST_SEEDS
    if interval.low > mean + 2 * error:
        return "a hint" if few else "yes"
    return "no" if interval.high <= mean and not few else "not shown"


def _differences(contrast: Contrast) -> Iterable[list[str]]:
    for n, pair in enumerate(contrast.pairs):
        yield [
            contrast.task,
            contrast.name,
            estimate(contrast) if n == 0 else "",
            str(pair),
            str(len(pair.seeds)),
            amount(pair.difference) + (f" {span(pair.interval)}" if pair.interval else ""),
            reading(pair),
        ]


def reading(pair: Pair) -> str:
    """What the interval of a difference, and the number of seeds, allow to say."""
    if pair.identical:
        return "identical"
    if pair.interval is None:
        return "unknown: a single seed"
    if pair.interval.low <= 0 <= pair.interval.high:
        return "no difference shown"
    word = "better" if pair.interval.low > 0 else "worse"
    if len(pair.seeds) < ENOUGH_SEEDS:
        return f"a hint: {pair.first} may be {word}"
    return f"{pair.first} is {word}"


def _markdown(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    rule = ["---:" if n in right else "---" for n in range(len(headers))]
    lines = [headers, rule, *([_one_line(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
