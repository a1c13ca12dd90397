"""The card of an agent: what it does, what bounds its step, and its settings, laid out for people."""

import json
from itertools import groupby
from textwrap import wrap
from typing import Any

from rich.console import Console

from rl_lab.cli import show

WIDTH = 100
"""Columns that a card takes at most."""


def agent_card(agent: Any) -> dict[str, Any]:
    """Everything that is known of an agent, as plain values."""
    return {
        "name": agent.name,
        "summary": agent.summary,
        "formula": agent.formula,
        "trust_region": agent.trust_region,
        "action_spaces": [space.__name__ for space in agent.action_spaces],
        "source": agent.source,
        "settings": [
            {
                "name": setting.name,
                "default": setting.default,
                "allowed": setting.allowed,
                "meaning": setting.doc,
                "group": setting.group,
            }
            for setting in agent.fields.values()
        ],
    }


def print_agent_card(card: dict[str, Any]) -> None:
    """Formula first, then what bounds the step, then the settings, a section for each group."""
    width = min(Console().width, WIDTH) if Console().is_terminal else WIDTH
    for row in [*wrap(f"{card['name']}: {card['summary']}", width), ""]:
        show.line(row)
    for paragraph in card["formula"].split("\n\n"):
        for row in _laid_out(paragraph, width):
            show.line(row)
        show.line()
    facts = [
        ("bounds the step", card["trust_region"]),
        ("actions", ", ".join(card["action_spaces"])),
        ("source", card["source"]),
    ]
    show.table(("", ""), facts, width)
    for group, settings in groupby(card["settings"], key=lambda setting: setting["group"]):
        show.line()
        rows = [(s["name"], as_yaml(s["default"]), s["allowed"], _flat(s["meaning"])) for s in settings]
        show.table((group, "default", "allowed", "meaning"), rows, width)


def as_yaml(value: Any) -> str:
    """A setting's value as a study's YAML or --set takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _laid_out(paragraph: str, width: int) -> list[str]:
    """Prose flows; the lines of a formula, told by a gap of two spaces, stay lines unless one does not fit."""
    if "  " not in paragraph:
        return wrap(paragraph, width, break_on_hyphens=False)
    rows = paragraph.splitlines()
    return [part for row in rows for part in wrap(row, width, subsequent_indent="    ") or [""]]


def _flat(text: str) -> str:
    return " ".join(text.split())
