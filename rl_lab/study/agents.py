"""An arm as people write it: an agent's name, a file of settings, or a mapping that begins with either.

A file of settings (`configs/agents/*.yaml`) has the keys agent (a name of `rl-lab agents list`), source (one line:
whose values these are), and, if wanted, label and settings.
"""

import os.path
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl_lab.errors import UserError
from rl_lab.study.plan import Agent
from rl_lab.study.settings import a_mapping, check_settings, fields_of, pop_label, refuse_unknown
from rl_lab.study.yaml import read_mapping

KEYS = ("agent", "source", "label", "settings")
"""What a file of settings may hold."""


def is_file(name: str) -> bool:
    """Whether this names a file of settings, not an agent."""
    return Path(name).suffix.lower() in (".yaml", ".yml")


def read_agent(entry: Any, folder: Path = Path(), where: str = "") -> Agent:
    """One entry of a study's `agents`, or a word on the command line; a file is looked for in `folder`.

    `where` opens every message.
    UserError: unknown agent, file, key or setting, with the nearest name that is known.
    """
    if isinstance(entry, str):
        entry = {"config" if is_file(entry) else "name": entry}
    settings = a_mapping(entry, where)
    arm = _named(settings, folder, where)
    label = pop_label(settings, arm.label, f"{where}.")
    own = check_settings(arm.name, settings, f"{where}.")
    return replace(arm, label=label, settings={**arm.settings, **own})


def _named(settings: dict[str, Any], folder: Path, where: str) -> Agent:
    """Take `name` or `config` out of an entry: the arm as it is before the entry's own settings."""
    name, config = settings.pop("name", None), settings.pop("config", None)
    if name is not None and config is not None:
        raise UserError(f"{where} has both name and config; keep one, the file names its agent itself")
    if isinstance(config, str):
        try:
            return read_agent_file(folder / config)
        except UserError as error:
            raise UserError(f"{where}: {error}" if where else str(error)) from error
    if not isinstance(name, str):
        raise UserError(
            f"{where}: name is missing; write for example `{{name: ppo, clip_range: 0.1}}`, "
            "or `{config: agents/ppo-m.yaml}` for a file of settings"
        )
    try:
        fields_of(name, where)
    except UserError as error:
        if Path(name).parent == Path() and not os.path.isfile(folder / name):
            raise
        raise UserError(
            f"{where + ': ' if where else ''}{name} is not an agent; "
            f"a file of settings ends in .yaml, or is written `{{config: {name}}}`"
        ) from error
    return Agent(name, name)


def read_agent_file(path: Path) -> Agent:
    """The arm that a file of settings describes; its label is the file's name if it gives no other."""
    content = read_mapping(path, "agent, source and settings")
    refuse_unknown(content, KEYS, f"{path}: ", "key", "a file of settings")
    name, source = content.get("agent"), content.get("source")
    if not isinstance(name, str):
        raise UserError(f"{path}: agent is missing; it is a name that `rl-lab agents list` shows")
    if not isinstance(source, str) or not source.strip() or "\n" in source.strip():
        raise UserError(f"{path}: source must be one line that says whose values these are, got {source!r}")
    fields_of(name, f"{path}: agent")
    label = pop_label(content, path.stem, f"{path}: ")
    settings = a_mapping(content.get("settings"), f"{path}: settings")
    checked = check_settings(name, settings, f"{path}: settings.")
    return Agent(name, label, checked, source.strip(), path.name)
