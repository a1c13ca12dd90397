"""Settings of an agent, checked against the roster: known names, types and ranges, in one sentence."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.checkout import room


def fields_of(name: str, where: str = "") -> dict[str, Any]:
    """The settings of an agent, or a sentence with the nearest name."""
    catalogue = room("agents").catalogue()
    if name not in catalogue:
        prefix = f"{where}: " if where else ""
        raise UserError(
            f"{prefix}there is no agent {name}.{did_you_mean(name, catalogue)} (there are: {', '.join(catalogue)})"
        )
    found: dict[str, Any] = catalogue[name].fields
    return found


def check_settings(name: str, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings of the agent as given, types and ranges checked; what is not given is not filled in.

    `where` stands before the setting's name in every message.
    """
    fields = fields_of(name)
    refuse_unknown(settings, fields, where, "setting", name)
    return check_types(name, {key: field.annotation for key, field in fields.items()}, settings, where)


def check_types(
    name: str, types: Mapping[str, Any], settings: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Settings of the owner `name` by their annotations, which may carry bounds; names are known already."""
    definitions: dict[str, Any] = {key: (types[key], ...) for key in settings}
    model = create_model(name, __config__=ConfigDict(strict=True, allow_inf_nan=False), **definitions)
    try:
        # Through JSON, where a list may stand for a tuple even in strict mode.
        checked = model.model_validate_json(json.dumps(dict(settings), default=str))
    except ValidationError as error:
        raise UserError(f"{where}{first_problem(error)}") from error
    return {key: getattr(checked, key) for key in settings}


def refuse_unknown(given: Iterable[Any], known: Iterable[str], where: str, kind: str, owner: str) -> None:
    """Raise at the first name that is not known: it is no `kind` (a key, a setting) of its owner."""
    names = list(known)
    for name in given:
        if name not in names:
            near = did_you_mean(str(name), names)
            raise UserError(
                f"{where}{name} is not a {kind} of {owner}.{near} ({owner} has: {', '.join(names)})"
            )


def first_problem(error: ValidationError) -> str:
    """The first thing pydantic found wrong, in our words: name, what is allowed, what was found."""
    problem = error.errors()[0]
    place = str(problem["loc"][0])
    words = problem["msg"].replace("Input should be", "must be").replace("a valid integer", "a whole number")
    words = words.replace("a valid boolean", "true or false").replace("a valid ", "a ")
    if place == "seeds":  # one of two types; what pydantic says of each would confuse
        words = "must be a whole number greater than 0, or a list of whole numbers"
    return f"{place} {words[0].lower()}{words[1:]}, got {problem['input']!r}"


def a_mapping(value: Any, where: str) -> dict[str, Any]:
    """The value as a mapping of settings, a copy; a key without a value is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{where} must be a mapping of settings, got {value!r}")
    return dict(value)


def pop_label(settings: dict[str, Any], default: str, where: str) -> str:
    """Take `label` out of the settings; a label is a word. `where` stands before the key in the message."""
    return a_word(settings.pop("label", default), f"{where}label")


def a_word(value: Any, where: str) -> str:
    """The value as a name: one line of text, not blank."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UserError(f"{where} must be a word, got {value!r}")
    return value
