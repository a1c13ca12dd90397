"""On which terms arms were compared: the settings in which each departs from the defaults of its agent."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rl_lab.errors import UserError
from rl_lab.report.census import shared_settings
from rl_lab.report.digest import Digest, settings_text
from rl_lab.study.settings import fields_of


def terms(runs: Sequence[Digest]) -> list[str]:
    """What all arms have that is no default, in every task and in each, then one line per arm with what is its own.

    Of an agent that is not ours no defaults are known: its line has what it does not share with all the others. An
    arm whose own settings depend on the task has a line for each version.
    """
    runs = [one for one in runs if one.agent_settings]  # a manifest that cannot be read has none
    defaults = {rule: _defaults(rule) for rule in dict.fromkeys(one.rule for one in runs)}
    told: Sequence[Mapping[str, Any]] = [known for known in defaults.values() if known is not None] or [{}]

    def chosen(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in settings.items() if any(_departs(k, v, known) for known in told)}

    everywhere = shared_settings(runs)
    tasks = dict.fromkeys(one.task for one in runs)
    in_task = {task: shared_settings([one for one in runs if one.task == task]) for task in tasks}
    lines = [f"every arm: {settings_text(common)}"] if (common := chosen(everywhere)) else []
    for task, settings in in_task.items():
        if own := chosen({k: v for k, v in settings.items() if k not in everywhere}):
            lines.append(f"every arm in {task}: {settings_text(own)}")
    versions: dict[str, dict[str, dict[str, None]]] = {}
    for one in runs:
        shared, known = in_task[one.task], defaults[one.rule]
        own = {k: v for k, v in one.agent_settings.items() if k not in shared and _departs(k, v, known)}
        named = one.agent if one.agent == one.rule else f"{one.agent} ({one.rule})"
        versions.setdefault(named, {}).setdefault(settings_text(own), {})[one.task] = None
    return lines + [
        f"{arm}: {own or 'nothing else'}" + (f" (in {', '.join(where)})" if len(texts) > 1 else "")
        for arm, texts in versions.items()
        for own, where in texts.items()
    ]


def _defaults(rule: str) -> Mapping[str, Any] | None:
    """Of an agent of this checkout, as JSON would have them; None if there is none of this name."""
    try:
        fields = fields_of(rule)
    except UserError:
        return None
    return {key: json.loads(json.dumps(field.default, default=str)) for key, field in fields.items()}


def _departs(key: str, value: Any, defaults: Mapping[str, Any] | None) -> bool:
    return defaults is None or key not in defaults or defaults[key] != value
