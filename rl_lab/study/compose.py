"""A study out of several places: the files it extends, itself, and `--set`; every key remembers where it was written.

`extends: other.yaml` begins with what another study says; its name is relative to the file in which it stands, and so
are the files of agents that it names. What is a mapping (settings, contrasts, monitor, grid) is merged key by key; what
is a list, a number or a word replaces, and so does `null`, which takes away what a mapping had. `--set KEY=VALUE` comes
last, as if it stood in the study's own file.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rl_lab.errors import UserError
from rl_lab.study.settings import refuse_unknown
from rl_lab.study.yaml import read_mapping, read_setting

WITH_DOTS = ("grid", "contrasts")
"""Keys below which names may have dots in them: what follows is one name."""

Place = tuple[str, ...]


class Origin(NamedTuple):
    """Where a key was written: what opens a message about it, and the folder that its files are relative to."""

    prefix: str
    folder: Path


@dataclass(frozen=True)
class Written:
    """The mapping of a study, and of its keys the place where each was written last."""

    content: Mapping[str, Any]
    where: str
    """The study's own file, for the keys without another origin and for what is missing."""
    origins: Mapping[Place, Origin] = field(default_factory=dict)

    def origin(self, *keys: str) -> Origin:
        """Of the key, or of the nearest mapping around it."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.origins:
                return self.origins[keys[:length]]
        return Origin(f"{self.where}: ", Path(self.where).parent)

    def at(self, *keys: str) -> str:
        """How a message about the key begins: `file: settings.gamma`, `--set settings.gamma`."""
        return self.origin(*keys).prefix + ".".join(map(str, keys))

    def parts(self, key: str) -> list[tuple[str, Any]]:
        """The value of a key by origin: how a message begins, and what of a mapping was written there."""
        value = self.content.get(key)
        if not isinstance(value, dict) or not value:
            return [(self.at(key), value)]
        found: dict[str, dict[str, Any]] = {}
        for name in value:
            found.setdefault(f"{self.origin(key, name).prefix}{key}", {})[name] = value[name]
        return list(found.items())


def compose(path: Path, texts: Sequence[str], known: Sequence[str]) -> Written:
    """The study in a file with everything that it extends, and with the texts of `--set` on top.

    known: the keys of a study. UserError: a file that cannot be read, extends itself or has an unknown key.
    """
    origins: dict[Place, Origin] = {}
    content: dict[str, Any] = {}
    for file, layer in _layers(path, known):
        _merge(content, layer, Origin(f"{file}: ", file.parent), origins)
    given: set[str] = set()
    for text in texts:
        key, value = read_setting(text)
        if key in given:
            raise UserError(f"--set {key} is given twice; keep one")
        given.add(key)
        keys = _split(key)
        refuse_unknown(keys[:1], known, "--set ", "key", "a study")
        _refuse_no_mapping(content, keys)
        for name in reversed(keys[1:]):
            value = {name: value}
        _merge(content, {keys[0]: value}, Origin("--set ", path.parent), origins)
    return Written(content, str(path), origins)


def _layers(path: Path, known: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """The file and all that it extends, the most general first."""
    found: list[tuple[Path, dict[str, Any]]] = []
    while True:
        try:
            own = read_mapping(path)
            refuse_unknown(own, (*known, "extends"), f"{path}: ", "key", "a study")
        except UserError as error:
            raise UserError(f"{found[0][0]}: extends: {error}" if found else str(error)) from error
        found.insert(0, (path, own))
        base = own.pop("extends", None)
        if base is None:
            return found
        if not isinstance(base, str) or not base.strip():
            raise UserError(
                f"{path}: extends must be the name of one file, for example `extends: base.yaml`, got {base!r}"
            )
        path = path.parent / base
        for other, _ in found:
            if other.resolve() == path.resolve():
                circle = " extends ".join(str(file) for file in [file for file, _ in reversed(found)])
                raise UserError(f"{circle} extends {path}: a study cannot extend itself")


def _merge(
    under: dict[str, Any],
    over: Mapping[str, Any],
    origin: Origin,
    origins: dict[Place, Origin],
    at: Place = (),
) -> None:
    """Put `over` on top of `under`: mappings key by key, everything else as a whole."""
    for key, value in over.items():
        place = (*at, key)
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            _merge(under[key], value, origin, origins, place)
            continue
        under[key] = deepcopy(value)
        for inner in [other for other in origins if other[: len(place)] == place]:
            del origins[inner]
        origins[place] = origin


def _split(key: str) -> list[str]:
    first, dot, rest = key.partition(".")
    keys = [first, *([rest] if first in WITH_DOTS else rest.split("."))] if dot else [first]
    if not all(keys):
        raise UserError(f"--set {key}: has an empty name between its dots, write for example settings.gamma")
    return keys


def _refuse_no_mapping(content: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise if a dotted key leads into something that has no keys."""
    for length in range(1, len(keys)):
        content = content.get(keys[length - 1], {})
        if content is not None and not isinstance(content, dict):
            name = ".".join(keys[:length])
            kind = "a list" if isinstance(content, list) else f"{content!r}"
            raise UserError(
                f"--set {'.'.join(keys)}: {name} is {kind} and has no keys; give it whole, --set {name}='...'"
            )
        content = content or {}
