"""All runs read: arms that differ get names that differ, and every seed of an arm counts once."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rl_lab.monitor.record.run_directory import FINISHED, Run
from rl_lab.report.digest import Digest, digest, settings_text


def digests(runs: Iterable[Run]) -> list[Digest]:
    """Read all runs, tell their arms apart and mark repeated seeds."""
    return _mark_repeats(_tell_apart([digest(run) for run in runs]))


def shared_settings(runs: Sequence[Digest]) -> dict[str, Any]:
    """Agent settings that every run has with one and the same value."""
    if not runs:
        return {}
    first, *rest = (one.agent_settings for one in runs)
    return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in rest)}


def versions(runs: Sequence[Digest]) -> dict[str, str]:
    """Version of each package; several if the runs do not agree."""
    seen: dict[str, dict[str, None]] = {}
    for one in runs:
        for name, version in (one.manifest.get("versions") or {}).items():
            seen.setdefault(str(name), {})[str(version)] = None
    return {name: " and ".join(versions) for name, versions in seen.items()}


def _tell_apart(found: Sequence[Digest]) -> list[Digest]:
    """Runs that share task and label but not settings or steps are different arms: append what differs."""
    groups: dict[tuple[str, str], list[Digest]] = defaultdict(list)
    for one in found:
        groups[one.task, one.agent].append(one)
    return [replace(one, agent=one.agent + _difference(one, groups[one.task, one.agent])) for one in found]


def _difference(one: Digest, others: Sequence[Digest]) -> str:
    def facts(run: Digest) -> dict[str, Any]:
        return {"agent": run.rule, **run.agent_settings, "steps": run.steps}

    names = dict.fromkeys(name for run in others for name in facts(run))
    differing = {n: facts(one).get(n) for n in names if len({_key(facts(run).get(n)) for run in others}) > 1}
    return f" ({settings_text(differing)})" if differing else ""


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _mark_repeats(found: Sequence[Digest]) -> list[Digest]:
    """Two runs of one arm with one seed are not two samples: the newest that ended counts."""
    rivals = [one for one in found if one.status in FINISHED and one.seed is not None]
    newest = {(one.task, one.agent, one.seed): one for one in sorted(rivals, key=lambda run: run.started)}
    beaten = {id(one) for one in rivals if newest[one.task, one.agent, one.seed] is not one}
    return [replace(one, repeat=id(one) in beaten) for one in found]
