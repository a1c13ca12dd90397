"""Settings of an agent, read from its dataclass: name, annotation, default, docstring under the field."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

WORDS: dict[type, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "word",
    NoneType: "null",
}
"""Types as one writes their values in YAML."""


@dataclass(frozen=True)
class Setting:
    """One thing a user may choose."""

    name: str
    annotation: Any
    """A type, or typing.Annotated with the bounds of annotated_types."""
    default: object
    doc: str
    group: str
    """What it belongs to, told by the class that introduces it."""

    @property
    def allowed(self) -> str:
        """Type and range in words: `number > 0 or null`."""
        return in_words(self.annotation)


def _name_of(introducer: type) -> str:
    return introducer.__name__


def settings_of(owner: type, group: Callable[[type], str] = _name_of) -> Mapping[str, Setting]:
    """Return the settings of a dataclass, those it introduces first, then those of its parents.

    `group` is given the class that introduces a setting and returns what it belongs to. A field that its class
    fixes (`init=False`) is no setting. TypeError: a field lacks default or docstring.
    """
    return _settings_of(owner, group)


@cache
def _settings_of(owner: type, group: Callable[[type], str]) -> Mapping[str, Setting]:
    hints, docs = get_type_hints(owner, include_extras=True), _docs(owner)
    found: dict[str, Setting] = {}
    for item in sorted(fields(owner), key=lambda item: _distance(owner, item.name)):
        if not item.init:
            continue
        if item.default is MISSING:
            raise TypeError(f"{owner.__name__}.{item.name} has no default")
        if item.name not in docs:
            raise TypeError(f"{owner.__name__}.{item.name} has no docstring under it")
        introducer = owner.__mro__[_distance(owner, item.name)]
        found[item.name] = Setting(
            item.name, hints[item.name], item.default, docs[item.name], group(introducer)
        )
    return MappingProxyType(found)


def in_words(annotation: Any) -> str:
    """Return what an annotation admits: `whole number >= 1`, `one of tanh, relu`, `list of whole numbers > 0`."""
    kinds = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Annotated:
            return f"{in_words(kinds[0])} {_bounds(kinds[1:])}".strip()
        case origin if origin is Literal:
            words = ", ".join(str(kind) for kind in kinds)
            return f"one of {words}" if len(kinds) > 1 else words
        case origin if origin in (Union, UnionType):
            return " or ".join(in_words(kind) for kind in kinds)
        case origin if origin is tuple and kinds[-1] is Ellipsis:
            return f"list of {_several(kinds[0])}"
        case origin if origin is tuple and len(set(kinds)) == 1:
            return f"list of {len(kinds)} {_several(kinds[0])}"
        case origin if origin is tuple:
            return f"list of {len(kinds)}: {', '.join(in_words(kind) for kind in kinds)}"
    return WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _several(annotation: Any) -> str:
    return in_words(annotation).replace("number", "numbers", 1)


def _bounds(metadata: Iterable[Any]) -> str:
    """Return the bounds among the metadata of an Annotated: `> 0`, `from 0 to 1`, `>= 0 and < 1`."""
    signs = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}
    found = {
        signs[type(bound)][0]: f"{getattr(bound, signs[type(bound)][1]):.10g}"
        for bound in metadata
        if type(bound) in signs
    }
    if list(found) == [">=", "<="]:
        return f"from {found['>=']} to {found['<=']}"
    return " and ".join(f"{sign} {limit}" for sign, limit in found.items())


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
