"""A study's YAML, checked: tasks x agents x seeds, every setting known and in range before anything runs."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.checkout import room

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
KEYS = ("envs", "agents", "seeds", "steps", "settings")
"""What a study's YAML may hold; settings are those of every agent."""


class _Numbers(BaseModel):
    """The keys of a study that are plain numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    seeds: Positive | Annotated[list[Seed], Field(min_length=1)]
    steps: Positive


@dataclass(frozen=True)
class Env:
    """One task: a Gymnasium id, its settings, and what differs for it."""

    id: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    agent: dict[str, Any] = field(default_factory=dict)
    """Settings that every agent has in this task."""


@dataclass(frozen=True)
class Agent:
    """One arm: an agent by name, the label under which it is reported, and its settings."""

    name: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPlan:
    """One run: everything that decides its numbers."""

    run_id: str
    env: Env
    agent: Agent
    """With all settings resolved, defaults included."""
    seed: int
    steps: int

    def described(self) -> dict[str, Any]:
        """What the manifest of the run says of it."""
        return {
            "run_id": self.run_id,
            "env": {key: getattr(self.env, key) for key in ("id", "label", "settings")},
            "agent": {key: getattr(self.agent, key) for key in ("name", "label", "settings")},
            "seed": self.seed,
            "steps": self.steps,
        }


@dataclass(frozen=True)
class Study:
    """A checked study."""

    name: str
    envs: tuple[Env, ...]
    agents: tuple[Agent, ...]
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """The resolved config as it is stored and hashed."""
        return {
            "envs": [asdict(env) for env in self.envs],
            "agents": [asdict(agent) for agent in self.agents],
            "seeds": list(self.seeds),
            "settings": self.settings,
        }

    def hash(self) -> str:
        """Changes when, and only when, any run would."""
        runs = [asdict(run) for run in self.runs()]
        return hashlib.sha256(json.dumps(runs, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def runs(self) -> list[RunPlan]:
        """All runs, seed by seed, so that a study cut short has compared something."""
        return [
            plan_run(env, agent, seed, env.steps, self.settings)
            for seed in self.seeds
            for env in self.envs
            for agent in self.agents
        ]


def plan_run(env: Env, agent: Agent, seed: int, steps: int, common: Mapping[str, Any]) -> RunPlan:
    """Resolve the settings of one run: defaults < the study's < the task's < the agent's own."""
    defaults = {name: setting.default for name, setting in fields_of(agent.name).items()}
    settings = {**defaults, **common, **env.agent, **agent.settings}
    run_id = slug(f"{env.label}-{agent.label}-s{seed}")
    return RunPlan(run_id, env, Agent(agent.name, agent.label, settings), seed, steps)


def slug(text: str) -> str:
    """A name that is safe in paths and in W&B."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def read_study(content: Mapping[str, Any], name: str, where: str) -> Study:
    """Check a study's mapping; `where` (the file) opens every message."""
    for key in content:
        if key not in KEYS:
            raise UserError(
                f"{where}: {key} is not a key of a study.{did_you_mean(str(key), KEYS)} (it has: {', '.join(KEYS)})"
            )
    for key in KEYS[:4]:
        if content.get(key) in (None, [], {}):
            raise UserError(f"{where}: {key} is missing; a study needs envs, agents, seeds and steps")
    try:
        numbers = _Numbers.model_validate({"seeds": content["seeds"], "steps": content["steps"]})
    except ValidationError as error:
        raise UserError(f"{where}: {_first_problem(error)}") from error
    seeds = tuple(range(numbers.seeds)) if isinstance(numbers.seeds, int) else tuple(numbers.seeds)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds has a number twice: {list(seeds)}")
    agents = tuple(
        _read_agent(entry, f"{where}: agents[{i}]") for i, entry in enumerate(_list(content, "agents", where))
    )
    common = _mapping(content.get("settings") or {}, f"{where}: settings")
    names = list(dict.fromkeys(agent.name for agent in agents))
    for agent_name in names:
        common = check_settings(agent_name, common, f"{where}: settings.")
    envs = tuple(
        _read_env(entry, numbers.steps, names, f"{where}: envs[{i}]")
        for i, entry in enumerate(_list(content, "envs", where))
    )
    _refuse_repeats([env.label for env in envs], f"{where}: envs")
    _refuse_repeats([agent.label for agent in agents], f"{where}: agents")
    study = Study(name, envs, agents, seeds, common)
    _refuse_bad_names([run.run_id for run in study.runs()], where)
    return study


def _refuse_bad_names(run_ids: Sequence[str], where: str) -> None:
    """Labels become directory names, where `a/b` and `a-b` are the same and 300 characters are too many."""
    for run_id, count in Counter(run_ids).items():
        if count > 1:
            raise UserError(
                f"{where}: two runs would both be called {run_id}; give one of them another `label`"
            )
        if len(run_id) > 200:
            raise UserError(f"{where}: the run name {run_id[:40]}... is too long; give a shorter `label`")


def _list(content: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    if not isinstance(content[key], list):
        raise UserError(f"{where}: {key} must be a list, for example `{key}: [{_EXAMPLE[key]}]`")
    return list(content[key])


_EXAMPLE = {"envs": "chaos/Lorenz-v0", "agents": "ppo, trpo"}


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{where} must be a mapping of settings, got {value!r}")
    return dict(value)


def _read_agent(entry: Any, where: str) -> Agent:
    settings = {"name": entry} if isinstance(entry, str) else _mapping(entry, where)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"{where}: name is missing; write for example `{{name: ppo, clip_range: 0.1}}`")
    fields_of(name, where)
    label = _label(settings, name, where)
    return Agent(name, label, check_settings(name, settings, f"{where}."))


def _read_env(entry: Any, steps: int, agents: Sequence[str], where: str) -> Env:
    settings = {"id": entry} if isinstance(entry, str) else _mapping(entry, where)
    env_id = settings.pop("id", None)
    if not isinstance(env_id, str):
        raise UserError(f"{where}: id is missing; write for example `{{id: chaos/Lorenz-v0, steps: 30000}}`")
    label = _label(settings, env_id, where)
    own = settings.pop("steps", steps)
    if not isinstance(own, int) or isinstance(own, bool) or own <= 0:
        raise UserError(f"{where}.steps must be a whole number greater than 0, got {own!r}")
    agent = _mapping(settings.pop("agent", {}) or {}, f"{where}.agent")
    for name in agents:
        agent = check_settings(name, agent, f"{where}.agent.")
    for key, value in settings.items():
        # A run's settings travel to its process and into its manifest as JSON.
        if not _survives_json(value):
            raise UserError(
                f"{where}.{key} must be made of numbers, words, lists and mappings, got {value!r}"
            )
    return Env(env_id, label, settings, own, agent)


def _label(settings: dict[str, Any], default: str, where: str) -> str:
    label = settings.pop("label", default)
    if not isinstance(label, str) or not label:
        raise UserError(f"{where}.label must be a word, got {label!r}")
    return label


def _survives_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _refuse_repeats(labels: Sequence[str], where: str) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{where}: {label} stands there twice; give one of them another `label`")


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
    for key in settings:
        if key not in fields:
            raise UserError(
                f"{where}{key} is not a setting of {name}.{did_you_mean(key, fields)} ({name} has: {', '.join(fields)})"
            )
    definitions: dict[str, Any] = {key: (fields[key].annotation, ...) for key in settings}
    model = create_model(name, __config__=ConfigDict(strict=True, allow_inf_nan=False), **definitions)
    try:
        # Through JSON, where a list may stand for a tuple even in strict mode.
        checked = model.model_validate_json(json.dumps(dict(settings), default=str))
    except ValidationError as error:
        raise UserError(f"{where}{_first_problem(error)}") from error
    return {key: getattr(checked, key) for key in settings}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = str(problem["loc"][0])
    words = problem["msg"].replace("Input should be", "must be").replace("a valid integer", "a whole number")
    words = words.replace("a valid ", "a ")
    if place == "seeds":  # one of two types; what pydantic says of each would confuse
        words = "must be a whole number greater than 0, or a list of whole numbers"
    return f"{place} {words[0].lower()}{words[1:]}, got {problem['input']!r}"


def default_name(path: Path) -> str:
    """A study is called what its file is called."""
    return slug(path.stem)
