"""A study's YAML, checked: tasks x agents x settings x seeds, everything known and in range before anything runs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.agents import read_agent
from rl_lab.study.compose import Written, compose
from rl_lab.study.grid import Grid, read_grid
from rl_lab.study.monitor import read_watch
from rl_lab.study.plan import OUTCOMES, Env, Study, slug
from rl_lab.study.settings import a_mapping, a_word, check_settings, first_problem, pop_label, refuse_unknown

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
NEEDED = ("envs", "agents", "seeds", "steps")
KEYS = (*NEEDED, "settings", "grid", "contrasts", "primary", "monitor")
"""What a study's YAML may hold, beside `extends`. settings are those of every agent and grid varies them (see
`rl_lab.study.grid`), primary is the outcome that decides, monitor says how every run is watched."""
MOST_RUNS = 100_000


class _Numbers(BaseModel):
    """The keys of a study that are plain numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    seeds: Positive | Annotated[list[Seed], Field(min_length=1)]
    steps: Positive


def open_study(path: Path, texts: Sequence[str] = ()) -> Study:
    """The study in a file, with all that it extends and with the texts of `--set` on top; called like the file."""
    return _read(compose(path, texts, KEYS), default_name(path))


def read_study(content: Mapping[str, Any], name: str, where: str) -> Study:
    """Check a study's mapping; `where` (the file) opens every message, and files it names lie beside it."""
    refuse_unknown(content, KEYS, f"{where}: ", "key", "a study")
    return _read(Written(content, where), name)


def _read(written: Written, name: str) -> Study:
    content, where = written.content, written.where
    for key in NEEDED:
        if content.get(key) in (None, [], {}):
            raise UserError(f"{where}: {key} is missing; a study needs envs, agents, seeds and steps")
    seeds, steps = _read_numbers(written)
    single = [
        read_agent(entry, written.origin("agents").folder, f"{written.at('agents')}[{i}]")
        for i, entry in enumerate(_list(written, "agents"))
    ]
    common: dict[str, Any] = {}
    names = list(dict.fromkeys(agent.name for agent in single))
    for place, value in written.parts("settings"):
        part = a_mapping(value, place)
        for agent_name in names:
            part = check_settings(agent_name, part, f"{place}.")
        common |= part
    _refuse_repeats([agent.label for agent in single], written.at("agents"))
    grid = read_grid(written, single)
    labels = [agent.label for agent in grid.agents]
    _refuse_repeats(labels, written.at("grid"))
    envs: list[Env] = []
    without: dict[str, tuple[str, ...]] = {}
    for i, entry in enumerate(_list(written, "envs")):
        place = f"{written.at('envs')}[{i}]"
        settings = {"id": entry} if isinstance(entry, str) else a_mapping(entry, place)
        absent = _read_absent(settings.pop("without", []), grid, f"{place}.without")
        envs.append(_read_env(settings, steps, names, place))
        without |= {envs[-1].label: absent} if absent else {}
    _refuse_repeats([env.label for env in envs], written.at("envs"))
    if (count := len(envs) * len(labels) * len(seeds)) > MOST_RUNS:
        raise UserError(
            f"{where}: {len(envs):,} tasks, {len(labels):,} agents and {len(seeds):,} seeds would be {count:,} runs; "
            f"{MOST_RUNS:,} are the most that are allowed"
        )
    present = [[label for label in labels if label not in without.get(env.label, ())] for env in envs]
    contrasts: dict[str, tuple[tuple[str, str], ...]] = {}
    for place, value in written.parts("contrasts"):
        contrasts |= _read_contrasts(value, grid, present, place)
    for place, value in written.parts("monitor"):
        read_watch(value, place)
    monitor = read_watch(content.get("monitor"), written.at("monitor"))
    primary = _read_primary(content.get("primary"), written.at("primary"))
    study = Study(name, tuple(envs), grid.agents, tuple(seeds), common, without, contrasts, monitor, primary)
    _refuse_bad_names([run.run_id for run in study.runs()], where)
    return study


def _read_numbers(written: Written) -> tuple[Sequence[int], int]:
    """The seeds, and the steps of every task that says nothing else."""
    given = {key: written.content[key] for key in ("seeds", "steps")}
    try:
        numbers = _Numbers.model_validate(given)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise UserError(f"{written.origin(key).prefix}{first_problem(error)}") from error
    if isinstance(numbers.seeds, int) and numbers.seeds > MOST_RUNS:
        raise UserError(f"{written.at('seeds')} must be at most {MOST_RUNS:,}, got {numbers.seeds}")
    seeds = range(numbers.seeds) if isinstance(numbers.seeds, int) else numbers.seeds
    if not isinstance(seeds, range) and len(set(seeds)) < len(seeds):
        raise UserError(f"{written.origin('seeds').prefix}seeds has a number twice: {list(seeds)}")
    return seeds, numbers.steps


def _read_primary(value: Any, where: str) -> str:
    if value is None:
        return OUTCOMES[0]
    if value not in OUTCOMES:
        near = did_you_mean(str(value), OUTCOMES)
        raise UserError(f"{where} must be one of {', '.join(OUTCOMES)}, got {value!r}.{near}")
    return str(value)


def _refuse_bad_names(run_ids: Sequence[str], where: str) -> None:
    """Labels become directory names, where `a/b` and `a-b` are the same and 300 characters are too many."""
    for run_id, count in Counter(run_ids).items():
        if count > 1:
            raise UserError(
                f"{where}: two runs would both be called {run_id}; give one of them another `label`"
            )
        if len(run_id) > 200:
            raise UserError(f"{where}: the run name {run_id[:40]}... is too long; give a shorter `label`")


def _list(written: Written, key: str) -> Sequence[Any]:
    value = written.content[key]
    if not isinstance(value, list):
        raise UserError(f"{written.at(key)} must be a list, for example `{key}: [{_EXAMPLE[key]}]`")
    return value


_EXAMPLE = {"envs": "chaos/Lorenz-v0", "agents": "ppo, trpo"}


def _read_env(settings: dict[str, Any], steps: int, agents: Sequence[str], where: str) -> Env:
    env_id = settings.pop("id", None)
    if not isinstance(env_id, str):
        raise UserError(f"{where}: id is missing; write for example `{{id: chaos/Lorenz-v0, steps: 30000}}`")
    label = pop_label(settings, env_id, f"{where}.")
    own = settings.pop("steps", steps)
    if not isinstance(own, int) or isinstance(own, bool) or own <= 0:
        raise UserError(f"{where}.steps must be a whole number greater than 0, got {own!r}")
    agent = a_mapping(settings.pop("agent", None), f"{where}.agent")
    for name in agents:
        agent = check_settings(name, agent, f"{where}.agent.")
    for key, value in settings.items():
        # A run's settings travel to its process and into its manifest as JSON.
        if not _survives_json(value):
            raise UserError(
                f"{where}.{key} must be made of numbers, words, lists and mappings, got {value!r}"
            )
    return Env(env_id, label, settings, own, agent)


def _read_absent(labels: Any, grid: Grid, where: str) -> tuple[str, ...]:
    """The arms that are left out of a task."""
    known = grid.names()
    if not isinstance(labels, list):
        raise UserError(
            f"{where} must be a list of agents, for example `without: [{known[0]}]`, got {labels!r}"
        )
    absent: list[str] = []
    for i, label in enumerate(labels):
        _refuse_stranger(label, known, f"{where}[{i}]")
        if any(arm in absent for arm in grid.arms(label)):
            raise UserError(f"{where}[{i}]: {label} stands there twice; keep one")
        absent += grid.arms(label)
    if len(absent) == len(grid.agents):
        raise UserError(f"{where} leaves no agent in this task; leave the task out instead")
    return tuple(absent)


def _read_contrasts(
    content: Any, grid: Grid, present: Sequence[Sequence[str]], where: str
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Pairs of labels by name; every label stands among the agents, and one task has all those of a contrast.

    An agent that the grid multiplies stands for its arms (see `Grid.pairs`). `present` holds for every task the labels
    that take part in it.
    """
    if content is None:
        return {}
    labels = grid.names()
    form = "write for example `{AAI: [[ppo, trpo-plus], [ppo-m, trpo]]}`"
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping from names to pairs of agents; {form}")
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, pairs in content.items():
        a_word(name, f"{where}: a name of a contrast")
        if not isinstance(pairs, list) or not pairs:
            raise UserError(f"{where}.{name} must be a list of pairs of agents; {form}")
        for i, pair in enumerate(pairs):
            place = f"{where}.{name}[{i}]"
            if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
                raise UserError(f"{place} must be a pair of two different agents, got {pair!r}; {form}")
            for label in pair:
                _refuse_stranger(label, labels, place)
            if set(pair) in [set(other) for other in pairs[:i]]:
                raise UserError(f"{place}: {pair[0]} and {pair[1]} stand there twice; keep one of the pairs")
            if not grid.pairs(*pair):
                raise UserError(f"{place}: the grid gives {pair[0]} and {pair[1]} no arms to be compared")
        made = list(dict.fromkeys(arms for first, second in pairs for arms in grid.pairs(first, second)))
        arms = list(dict.fromkeys(label for pair in made for label in pair))
        if not any(set(arms) <= set(those) for those in present):
            raise UserError(
                f"{where}.{name} compares {', '.join(arms)}, and `without` leaves no task with all of them"
            )
        found[name] = tuple(made)
    return found


def _refuse_stranger(label: Any, labels: Sequence[str], where: str) -> None:
    if label not in labels:
        near = did_you_mean(str(label), labels)
        raise UserError(f"{where}: {label} is no agent of this study.{near} (there are: {', '.join(labels)})")


def _survives_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _refuse_repeats(labels: Sequence[str], where: str) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{where}: {label} stands there twice; give one of them another `label`")


def default_name(path: Path) -> str:
    """A study is called what its file is called."""
    return slug(path.stem)
