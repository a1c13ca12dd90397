"""An arm as people write it: an agent's name, a file of settings, or a mapping that begins with either.

A file of settings (`configs/agents/*.yaml`) has the keys agent (a name of `rl-lab agents list`), source (one line:
whose values these are), and, if wanted, label and settings.
"""

from pathlib import Path
from typing import Any

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.plan import Agent
from rl_lab.study.settings import a_mapping, check_settings, fields_of, pop_label
from rl_lab.study.yaml import read_mapping

KEYS = ("agent", "source", "label", "settings")
"""What a file of settings may hold."""


def is_file(name: str) -> bool:
    """Whether this names a file of settings, not an agent."""
    return name.endswith((".yaml", ".yml"))


def read_arm(name: str) -> Agent:
    """The arm that a word on the command line names: an agent, or a file of settings."""
    if is_file(name):
        return read_agent_file(Path(name))
    fields_of(name)
    return Agent(name, name)


def read_agent(entry: Any, folder: Path, where: str) -> Agent:
    """One entry of a study's `agents`; a file is looked for in `folder`. `where` opens every message.

    UserError: unknown agent, file, key or setting, with the nearest name that is known.
    """
    if isinstance(entry, str):
        entry = {"config" if is_file(entry) else "name": entry}
    settings = a_mapping(entry, where)
    arm = _named(settings, folder, where)
    label = pop_label(settings, arm.label, f"{where}.")
    own = check_settings(arm.name, settings, f"{where}.")
    return Agent(arm.name, label, {**arm.settings, **own})


def _named(settings: dict[str, Any], folder: Path, where: str) -> Agent:
    """Take `name` or `config` out of an entry: the arm as it is before the entry's own settings."""
    name, config = settings.pop("name", None), settings.pop("config", None)
    if name is not None and config is not None:
        raise UserError(f"{where} has both name and config; keep one, the file names its agent itself")
    if isinstance(config, str):
        return read_agent_file(folder / config)
    if not isinstance(name, str):
        raise UserError(
            f"{where}: name is missing; write for example `{{name: ppo, clip_range: 0.1}}`, "
            "or `{config: agents/ppo-m.yaml}` for a file of settings"
        )
    fields_of(name, where)
    return Agent(name, name)


def read_agent_file(path: Path) -> Agent:
    """The arm that a file of settings describes; its label is the file's name if it gives no other."""
    content = read_mapping(path, "agent, source and settings")
    for key in content:
        if key not in KEYS:
            raise UserError(
                f"{path}: {key} is not a key of a file of settings.{did_you_mean(str(key), KEYS)}"
                f" (it has: {', '.join(KEYS)})"
            )
    name, source = content.get("agent"), content.get("source")
    if not isinstance(name, str):
        raise UserError(f"{path}: agent is missing; it is a name that `rl-lab agents list` shows")
    if not isinstance(source, str) or not source.strip() or "\n" in source.strip():
        raise UserError(f"{path}: source must be one line that says whose values these are, got {source!r}")
    fields_of(name, f"{path}: agent")
    label = pop_label(content, path.stem, f"{path}: ")
    settings = a_mapping(content.get("settings") or {}, f"{path}: settings")
    return Agent(name, label, check_settings(name, settings, f"{path}: settings."))
