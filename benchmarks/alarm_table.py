"""The table of benchmarks/alarm.py as Markdown."""

from collections.abc import Mapping
from typing import Any

from alarm_runs import ARMS, TUNING
from alarm_score import BUILDS_UP, FALSE_ALARMS, MOVED, RECALL, WARNED, WITHIN
from faults import FAULTS

from rl_lab.monitor.record.provenance import versions


def markdown(report: Mapping[str, Any], command: str, split: str) -> str:
    """The whole document."""
    parts = [
        f"<!-- Written by `{command}`. Do not edit: run it again. -->",
        "# The alarm: what it gets wrong, what it finds, how early",
        _intro(report, command, split),
        "## Targets",
        _targets(report),
        "## False alarms",
        _false_alarms(report),
        "## Faults found",
        _recall(report),
        "## Warnings before a collapse",
        _lead(report["lead"], report["lead_all_faults"]),
        "## Against fixed thresholds",
        _baselines(report["baselines"]),
        "## What is what",
        _definitions(),
    ]
    return "\n\n".join(parts) + "\n"


def _intro(report: Mapping[str, Any], command: str, split: str) -> str:
    sizes = ", ".join(
        f"`{name}` {arm.n_envs} x {arm.n_steps} steps, {arm.updates} updates, k = {arm.fault_at}"
        for name, arm in ARMS.items()
    )
    said = ", ".join(f"{name} {number}" for name, number in versions().items())
    chosen = (
        f"Thresholds of detectors were chosen on others: {', '.join(TUNING)}."
        if split == "reporting"
        else "Thresholds of detectors were chosen on these very tasks: this is no measure of how good they are."
    )
    return (
        f"`{command}`: {report['healthy_runs']} healthy runs with {report['healthy_updates']:,} updates, and "
        f"{report['faulty_runs']} runs that share their first k - 1 updates with one of these, bit for bit, and have a "
        f"fault from update k on. Judged with what the level `{report['level']}` measures. Versions: {said}.\n\n"
        f"Tasks of this table ({split}): {', '.join(report['tasks'])}. {chosen} Agents: {sizes}; settings in "
        "`benchmarks/alarm_runs.py`."
    )


def _targets(report: Mapping[str, Any]) -> str:
    words = {
        "false alarms": f"every detector: at most {FALSE_ALARMS:g} false alarm per 1000 healthy updates",
        "recall": f"every fault that changes the policy: found in at least {RECALL:.0%} of runs",
        "recall where it moved": f"all runs whose policy the fault moved, taken together: {RECALL:.0%} found",
        "lead": f"a warning before at least {WARNED:.0%} of the collapses that build up",
        "baselines": "more faults found than by every fixed threshold at the same rate of false alarms",
    }
    rows = [[words[name], "met" if met else "**not met**"] for name, met in report["met"].items()]
    short = [n for n, f in report["recall"].items() if f["met"] is False]
    loud = [n for n, a in report["false_alarms"].items() if a["met"] is False]
    told = "\n\nFalls short: " + ", ".join(f"`{n}`" for n in loud + short) + "." if loud + short else ""
    return _table(["target", ""], rows) + told


def _false_alarms(report: Mapping[str, Any]) -> str:
    rows = [
        [
            "any of them" if name == "any" else f"`{name}`",
            f"{a['alarms']}",
            f"{a['runs']}",
            f"{a['per_1000']:.2f} [{a['interval'][0]:.2f}, {a['interval'][1]:.2f}]",
            "" if name == "any" else "shown" if a["shown"] else "by estimate" if a["met"] else "no",
        ]
        for name, a in report["false_alarms"].items()
    ]
    note = (
        f"*Shown*: the whole interval is at most {FALSE_ALARMS:g}; *by estimate*: the rate is, its interval is not. "
        f"{report['healthy_collapses']} of the {report['healthy_runs']} healthy runs were said to have lost their "
        "performance, which counts as a false alarm like any other."
    )
    head = ["detector", "alarms", "in runs", "per 1000 updates [95 %]", f"at most {FALSE_ALARMS:g}"]
    return _table(head, rows) + "\n\n" + note


def _recall(report: Mapping[str, Any]) -> str:
    rows = []
    for name, f in report["recall"].items():
        by = sorted(f["by"].items(), key=lambda item: -item[1])
        delay = "-" if f["median_delay"] is None else f"{f['median_delay']:g}"
        rows.append(
            [
                f"`{name}`",
                "yes" if f["changes_policy"] else "no",
                f"{f['found']} / {f['runs']}",
                f"{f['recall']:.2f} [{f['interval'][0]:.2f}, {f['interval'][1]:.2f}]",
                delay,
                f"{f['chance']:.2f}",
                f"{f['moved']:.2g}",
                f"{f['moved_found']} / {f['moved_runs']}",
                ", ".join(f"{event} {count}" for event, count in by) or "-",
            ]
        )
    head = [
        "fault",
        "changes the policy",
        "found",
        "share [95 %]",
        "delay",
        "by chance",
        "moved",
        "found of moved",
        "announced",
    ]
    note = (
        "*Delay*: median updates from k to the first event that names the fault. *By chance*: share of healthy "
        "runs with such an event in the same updates. *Moved*: KL between the healthy twin and the faulty policy "
        "after update k, median over runs, where 1 is the KL of one healthy update; inf: there is no such policy, the "
        "run ended before. Two updates from different rollouts are about 2 apart; beyond "
        f"{MOVED:g} the fault has moved the policy at once (*found of moved*). *Announced*: events in "
        f"k .. k + {WITHIN}, each with the runs that had it."
    )
    missed = [f"`{name}`: {', '.join(f['missed'])}" for name, f in report["recall"].items() if f["missed"]]
    told = "\n\nNot found (task/agent/seed): " + "; ".join(missed) + "." if missed else ""
    return _table(head, rows) + "\n\n" + note + told


def _lead(lead: Mapping[str, Any], every: Mapping[str, Any]) -> str:
    counted = (
        f"{lead['collapses']} of {lead['runs']} runs with a fault collapsed, {lead['build_up']} of them at least "
        f"{BUILDS_UP} updates after it began."
    )
    if not lead["build_up"]:
        return counted
    early = "" if lead["median_lead"] is None else f"; median lead {lead['median_lead']:g} updates"
    rows = [[f"`{name}`", f"{warned} / {number}"] for name, (warned, number) in lead["by_fault"].items()]
    told = (
        f"{counted} Another detector had warned of {lead['warned']}: {lead['share']:.2f} "
        f"[{lead['interval'][0]:.2f}, {lead['interval'][1]:.2f}]{early}. Faults that change the returns at once, "
        "whatever the updates do, are left out (rewards in another unit, another world): nothing builds up there but "
        f"the episodes that must end before anyone can know. With them it is {every['warned']} of {every['build_up']}."
    )
    return told + "\n\n" + _table(["fault", "warned / collapses that build up"], rows)


def _baselines(beside: Mapping[str, Any]) -> str:
    def row(name: str, b: Mapping[str, Any], threshold: str) -> list[str]:
        return [
            name,
            threshold,
            f"{b['false_alarms_per_1000']:.2f}",
            f"{b['recall']:.2f} [{b['interval'][0]:.2f}, {b['interval'][1]:.2f}]",
            "-" if b["warned"] is None else f"{b['warned']:.2f}",
            f"{b['found_by_monitor_only']} : {b['found_by_it_only']}",
            f"{b['p']:.1g}",
        ]

    rows = [[*row("the monitor", beside["monitor"], "")[:5], "", ""]]
    rows += [row(f"`{name}`", b, "as used") for name, b in beside["usual"].items()]
    rows += [row(f"`{name}`", b, f"{b['threshold']:.3g}, equal rate") for name, b in beside["equal"].items()]
    head = ["alarm", "threshold", "false per 1000", "found [95 %]", "warned", "only monitor : only it", "p"]
    runs = beside["monitor"]["runs"]
    note = (
        f"Of the {runs} runs with a fault that changes the policy and is not a NaN (which ends most runs before there "
        f"is a row to look at): an alarm of any kind in k .. k + {WITHIN}. Updates in a row are one alarm. At *equal "
        "rate* the threshold is the lowest at which the signal rings in the healthy runs of this table no more often "
        "than the monitor: it is chosen on the runs that it is judged by, which favours it. *p*: exact test of "
        "McNemar, one-sided. `approx_kl` and `clip_fraction` are the algorithm's own where it logs them, else "
        "`kl_mean` and `ratio_outside`."
    )
    return _table(head, rows) + "\n\n" + note


def _definitions() -> str:
    lines = [
        "- *Healthy*: stock algorithms and rules with a bounded step (clipping, a KL, or a single step), no fault "
        "injected. Every alarm there is counted as false, whatever happened in the run. Intervals: Garwood's "
        "(Poisson) for rates, Clopper and Pearson's for shares; alarms of one run need not be independent.",
        f"- *Found*: an event that names the fault, in the updates k .. k + {WITHIN}.",
        "- *Collapse*: `performance_collapse`, from its onset on, or the end of a run that went non-finite. It *builds "
        f"up* if its onset is at least {BUILDS_UP} updates after k. A warning is an event of any other detector in "
        "k .. onset - 1.",
    ]
    for name, fault in FAULTS.items():
        told = " ".join((fault.__doc__ or "").split())
        lines.append(
            f"- `{name}`: {told} It ends so: {fault.ends}. Named by: {', '.join(sorted(fault.counts))}."
        )
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
