"""What was found, in a few plain sentences that never say more than the seeds allow."""

import math
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any

from rl_lab.report.arms import Arm
from rl_lab.report.statistics import chance_of_separation, exact_interval, separated
from rl_lab.report.words import amount, enumeration, percent, plural

Arms = Sequence[Arm]
Runs = Sequence[tuple[int | None, float]]
"""Seed and value of each run."""


def findings(arms: Arms) -> list[str]:
    """Per task one entry on KL and one on returns and collapses; then what the number of runs leaves open."""
    if not arms:
        return ["No runs were found, so nothing was found out."]
    tasks = dict.fromkeys(arm.task for arm in arms)
    said = [entry for task in tasks for entry in _of_task(task, [arm for arm in arms if arm.task == task])]
    return said + [sentence for sentence in (_bound_on_collapse(arms), _left_out(arms)) if sentence]


def question(study: Mapping[str, Any], arms: Arms) -> str:
    """What the study asks: in its own words if it has some, else what its arms can answer."""
    own = study.get("question")
    if isinstance(own, str) and own.strip():
        return own.strip()
    agents, tasks = list(dict.fromkeys(arm.agent for arm in arms)), dict.fromkeys(arm.task for arm in arms)
    bare, fenced = ({arm.agent for arm in side} for side in _sides(arms))
    of = f"{plural(len(agents), 'arm')} on {plural(len(tasks), 'task')}"
    if bare and fenced:
        ours, theirs = (enumeration(sorted(side)) for side in (bare, fenced))
        return (
            f"Does a trust region keep a policy update small and a run from collapse, and what does it cost in return?"
            f" {of}: without one {ours}; with one {theirs}."
        )
    return f"Which arm learns, how far do its updates go, and how often does it collapse? {of}."


def verdict(arms: Arms) -> str:
    """The answer in one sentence, counted over tasks: where the runs of both sides part, and how many collapsed."""
    tasks = dict.fromkeys(arm.task for arm in arms)
    sides = [_sides([arm for arm in arms if arm.task == task]) for task in tasks]
    both = [(bare, fenced) for bare, fenced in sides if bare and fenced]
    if not both:
        listed = [f"{_collapsed([a for a in arms if a.agent == n])} of {n}" for n in _names(arms)]
        return f"Collapsed over all tasks: {enumeration(listed)}." if any(a.ended for a in arms) else ""
    counted = f"of {plural(len(both), 'task')}"
    kl = sum(_apart(bare, fenced, _peaks) > 0 for bare, fenced in both)
    better, worse = (sum(_apart(b, f, _finals) * sign > 0 for b, f in both) for sign in (-1, 1))
    bare, fenced = ([arm for pair in both for arm in pair[i]] for i in (0, 1))
    return (
        f"In peak KL every run without a trust region lies above every run with one in {kl} {counted}. In final return"
        f" every run with one lies above every run without in {better} {counted}, below in {worse}."
        f" Collapsed: {_collapsed(bare)} without one, {_collapsed(fenced)} with one."
    )


def _apart(first: Arms, second: Arms, runs: Callable[[Arm], Runs]) -> int:
    """1 if all runs of the first lie above those of the second, -1 if below, 0 if they overlap or are too few."""
    x, y = ([run for arm in side for run in runs(arm)] for side in (first, second))
    ours, theirs = [value for _, value in x], [value for _, value in y]
    if min(_seeds(x), _seeds(y)) < 2 or not separated(ours, theirs):
        return 0
    return 1 if min(ours) > max(theirs) else -1


def _collapsed(arms: Arms) -> str:
    return f"{sum(arm.collapsed for arm in arms)} of {plural(sum(arm.ended for arm in arms), 'run')}"


def _names(arms: Arms) -> list[str]:
    return sorted({arm.agent for arm in arms})


def _of_task(task: str, arms: Arms) -> list[str]:
    return [f"{task}: {_kl(arms)}", f"{task}: {_returns(arms)} {_collapses(arms)}".rstrip()]


def _kl(arms: Arms) -> str:
    """Without a trust region against with one, by the largest of each side; else the two ends of the row."""
    known = sorted((arm for arm in arms if arm.kl_mean_peaks), key=_peak)
    if not known:
        return "no KL was recorded."
    bare, fenced = _sides(known)
    high, low = (bare[-1], fenced[-1]) if bare and fenced else (known[-1], known[0])
    peak = f"the largest mean KL of an update was {_size(high)}"
    if high is low:
        return f"{peak} ({high.agent})."
    if bare and fenced:
        head = f"without a trust region ({high.agent}) {peak}, {_against(high, low)} with one ({low.agent})."
    else:
        head = f"{peak} ({high.agent}), {_against(high, low)} of {low.agent}."
    return f"{head} {_verdict('peak KL', known, [high], [low], _peaks)}"


def _returns(arms: Arms) -> str:
    known = sorted((arm for arm in arms if arm.final_return is not None), key=_final, reverse=True)
    if not known:
        return "no final return is known."
    listed = enumeration([f"{amount(arm.final_return)} ({arm.agent})" for arm in known])
    floor = known[0].random_return
    head = f"final return {listed}" + (
        f"; a random policy gets {amount(floor)}." if floor is not None else "."
    )
    if len(known) == 1:
        return head
    return f"{head} {_verdict('final return', known, known[:1], known[-1:], _finals)}"


def _verdict(what: str, arms: Arms, best: Arms, worst: Arms, runs: Callable[[Arm], Runs]) -> str:
    """Do all runs of one side lie on one side of the others, and how often would chance alone do that?

    The sides are fixed beforehand, without a trust region against with one; where that contrast is missing
    they are the two ends of the row, picked because they differ, so every pair counts as a try (Bonferroni).
    Runs of several arms with one seed are not several samples, so a side has as many as it has seeds.
    """
    bare, fenced = _sides(arms)
    planned = bool(bare and fenced)
    one, other = (bare, fenced) if planned else (best, worst)
    x, y = ([run for arm in side for run in runs(arm)] for side in (one, other))
    names = [enumeration(sorted(arm.agent for arm in side)) for side in (one, other)]
    n, m = _seeds(x), _seeds(y)
    if min(n, m) < 2:
        return f"A single seed of a side cannot tell whether {what} differs by more than the seed."
    ours, theirs = [value for _, value in x], [value for _, value in y]
    if not separated(ours, theirs):
        counts = f"{n} against {plural(m, 'seed')}"
        return f"In {what} the runs of {names[0]} and of {names[1]} overlap ({counts}): no clear difference."
    side = "above" if min(ours) > max(theirs) else "below"
    chance = min(1.0, chance_of_separation(n, m) * (1 if planned else comb(len(arms), 2)))
    weight = "" if chance <= 0.05 else ", so a hint, not proof"
    return (
        f"In {what} every run of {names[0]} lies {side} every run of {names[1]}"
        f" (by chance alone: {percent(chance)}{weight})."
    )


def _collapses(arms: Arms) -> str:
    hit = [arm for arm in arms if arm.collapsed]
    if not hit:
        return ""
    listed = [f"{arm.collapsed} of {plural(arm.ended, 'run')} of {arm.agent}" for arm in hit]
    clean = [arm.agent for arm in arms if arm.ended and not arm.collapsed]
    rest = f", none of {enumeration(clean)}" if clean else ""
    return f"Collapsed: {enumeration(listed)}{rest}."


def _bound_on_collapse(arms: Arms) -> str:
    clean = [arm for arm in arms if arm.ended and not arm.collapsed]
    if not clean:
        return ""
    fewest = min(arm.ended for arm in clean)
    bound = exact_interval(0, fewest)
    high = percent(bound.high if bound else None)
    whose = "No run collapsed, but" if len(clean) == len(arms) else "Where no run collapsed:"
    return f"{whose} 0 collapses in {plural(fewest, 'run')} only bounds an arm's rate below {high}."


def _left_out(arms: Arms) -> str:
    total, ended = sum(arm.runs for arm in arms), sum(arm.ended for arm in arms)
    if ended == total:
        return ""
    return (
        f"{total - ended} of {plural(total, 'run')} did not end or repeat a seed:"
        " they are in no final return and in no collapse rate."
    )


def _sides(arms: Arms) -> tuple[list[Arm], list[Arm]]:
    """Arms without and with a trust region, in the given order."""
    return [arm for arm in arms if arm.fenced is False], [arm for arm in arms if arm.fenced is True]


def _size(arm: Arm) -> str:
    """The largest KL in words; a diverged run has no finite one."""
    lost = sum(math.isinf(peak) for peak in arm.kl_mean_peaks)
    if not lost:
        return f"{amount(arm.kl_mean_largest)} nats"
    known = arm.kl_mean_largest is not None
    finite = f"; the largest finite one was {amount(arm.kl_mean_largest)} nats" if known else ""
    return f"beyond all bounds ({lost} of {plural(arm.runs, 'run')} diverged, counted as infinite{finite})"


def _against(high: Arm, low: Arm) -> str:
    a, b = _peak(high), _peak(low)
    if math.isinf(a) or math.isinf(b):
        return f"against {_size(low)}"
    return f"{amount(a / b, 2)} times the {amount(b)}" if b > 0 else "against 0"


def _peak(arm: Arm) -> float:
    return max(arm.kl_mean_peaks)


def _peaks(arm: Arm) -> Runs:
    return list(zip(arm.kl_mean_seeds, arm.kl_mean_peaks, strict=True))


def _finals(arm: Arm) -> Runs:
    return list(zip(arm.final_seeds, arm.final_returns, strict=True))


def _seeds(runs: Runs) -> int:
    """How many seeds; a run that does not know its own has one to itself."""
    seeds = [seed for seed, _ in runs]
    return len({seed for seed in seeds if seed is not None}) + seeds.count(None)


def _final(arm: Arm) -> float:
    return arm.final_return or 0.0
