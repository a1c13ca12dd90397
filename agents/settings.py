"""Settings of an agent, read from its dataclass: name, annotation, default, docstring under the field."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Setting:
    """One thing a user may choose."""

    name: str
    annotation: Any
    """A type, or typing.Annotated with the bounds of annotated_types."""
    default: object
    doc: str


def settings_of(owner: type) -> dict[str, Setting]:
    """Return the settings of a dataclass, those it introduces first, then those of its parents.

    A field that its class fixes (`init=False`) is no setting. TypeError: a field lacks default or docstring.
    """
    hints, docs = get_type_hints(owner, include_extras=True), _docs(owner)
    found: dict[str, Setting] = {}
    for item in sorted(fields(owner), key=lambda item: _distance(owner, item.name)):
        if not item.init:
            continue
        if item.default is MISSING:
            raise TypeError(f"{owner.__name__}.{item.name} has no default")
        if item.name not in docs:
            raise TypeError(f"{owner.__name__}.{item.name} has no docstring under it")
        found[item.name] = Setting(item.name, hints[item.name], item.default, docs[item.name])
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean X?' for the nearest known word, or an empty string."""
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def reject_unknown(agent: str, given: Iterable[str], known: Mapping[str, Setting]) -> None:
    """Raise a TypeError that names the first unknown setting and the nearest known one."""
    for name in given:
        if name not in known:
            guess = did_you_mean(name, known)
            raise TypeError(f"{name} is not a setting of {agent}.{guess} ({agent} has: {', '.join(known)})")


def _distance(owner: type, name: str) -> int:
    """Return how far up the class stands that introduces this field; 0 is the owner itself."""
    return max(i for i, parent in enumerate(owner.__mro__) if name in _annotations(parent))


def _annotations(owner: type) -> Mapping[str, object]:
    found: Mapping[str, object] = vars(owner).get("__annotations__", {})
    return found


@cache
def _docs(owner: type) -> Mapping[str, str]:
    """Return the string literal under each annotated name, a class overriding its parents."""
    docs: dict[str, str] = {}
    for parent in reversed(owner.__mro__):
        if not _annotations(parent):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(parent))).body
        assert isinstance(node, ast.ClassDef)
        for item, below in zip(node.body, node.body[1:], strict=False):
            match item, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str() as text)),
                ):
                    docs[name] = inspect.cleandoc(text)
    return docs
