"""How a run is watched, as people write it: how much is measured, and what is done about events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_type_hints

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.settings import a_mapping, check_types, refuse_unknown

KEYS = ("level", "guards", "checkpoint_every")
LevelName = Literal["light", "standard", "full"]


@dataclass(frozen=True)
class Watch:
    """The settings of the monitor; plain data, because they travel to a run's process."""

    level: LevelName = "standard"
    guards: Sequence[Mapping[str, Any]] = ({"name": "alert"},)
    """Name and settings of each guard, in the order in which they act."""
    checkpoint_every: int | None = None
    """Updates from one checkpoint to the next; None: every 10 s, or as seldom as takes 1 % of the time."""

    def deciding(self) -> dict[str, Any]:
        """What makes a run another one: the guards that change training, defaults resolved; empty without them."""
        from rl_lab.monitor.guard import new_guards

        changing = [guard.described() for guard in new_guards(self.guards) if guard.changes_training]
        return {"guards": changing} if changing else {}


def read_watch(content: Any, where: str) -> Watch:
    """Check the mapping under `monitor`; `where` opens every message.

    UserError: an unknown key, level, guard, setting or event, with the nearest name; a value out of its range.
    """
    given = a_mapping(content, where)
    refuse_unknown(given, KEYS, f"{where}.", "key", "monitor")
    watch = Watch()
    level, guards = given.get("level", watch.level), given.get("guards", watch.guards)
    if not isinstance(guards, list | tuple):
        raise UserError(
            f"{where}.guards must be a list, for example `guards: [alert, {{name: rollback, factor: 0.3}}]`, "
            f"got {guards!r}"
        )
    return Watch(
        read_level(level, f"{where}.level"),
        tuple(read_guard(guard, f"{where}.guards[{i}]") for i, guard in enumerate(guards)),
        read_every(given.get("checkpoint_every"), f"{where}.checkpoint_every"),
    )


def read_every(updates: Any, where: str) -> int | None:
    """Updates between two checkpoints; None: the default."""
    if updates is not None and (not isinstance(updates, int) or isinstance(updates, bool) or updates < 1):
        raise UserError(f"{where} must be a whole number of updates greater than 0, got {updates!r}")
    return updates


def read_level(level: Any, where: str) -> LevelName:
    """The name of a level."""
    from rl_lab.monitor.quantities import Level

    names = [one.name.lower() for one in Level]
    if level not in names:
        near = did_you_mean(str(level), names)
        raise UserError(f"{where} must be one of {', '.join(names)}, got {level!r}.{near}")
    return cast(LevelName, level)


def read_guard(entry: Any, where: str) -> dict[str, Any]:
    """One guard, by name or as a mapping of its name and settings, checked as far as it can be before it acts."""
    from rl_lab.monitor.guard import all_guards

    settings = {"name": entry} if isinstance(entry, str) else a_mapping(entry, where)
    name, known = settings.pop("name", None), all_guards()
    if name not in known:
        what = "name is missing" if name is None else f"there is no guard {name}"
        near = "" if name is None else did_you_mean(str(name), known)
        raise UserError(f"{where}: {what}.{near} (there are: {', '.join(sorted(known))})")
    guard = known[name]
    hints = get_type_hints(guard, include_extras=True)
    types = {f.name: hints[f.name] for f in fields(guard) if f.init} | {"on": list[str] | None}
    refuse_unknown(settings, types, f"{where}.", "setting", name)
    checked = check_types(name, types, settings, f"{where}.")
    for event in checked.get("on") or []:
        names = _events()
        if event not in names:
            near = did_you_mean(event, names)
            raise UserError(f"{where}.on: {event} is not an event.{near} (there are: {', '.join(names)})")
    return {"name": name, **checked}


def _events() -> list[str]:
    """Names of what detectors and guards announce."""
    from rl_lab.monitor.detector import new_detectors
    from rl_lab.monitor.guard import all_guards

    answered = {event for guard in all_guards().values() for event in guard.answers}
    found = {detector.name for detector in new_detectors()} | answered | {"recovery"}
    return [*sorted(found), *(f"guard_{name}" for name in sorted(all_guards()))]
