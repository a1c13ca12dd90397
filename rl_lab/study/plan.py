"""What a checked study is: tasks, arms and seeds, and the runs they make."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rl_lab.study.monitor import Watch
from rl_lab.study.settings import fields_of

Contrasts = Mapping[str, tuple[tuple[str, str], ...]]
"""By name the pairs of labels whose final returns are compared."""
OUTCOMES = ("return_final", "collapse", "kl_spikes", "time_to_collapse")
"""What may decide a study: the final return, whether a run collapsed, how many KL spikes it had, when it collapsed."""


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
    source: str | None = None
    """Whose values these are, as the file of settings says it; None: there is no such file."""
    file: str | None = None
    """The name of that file."""

    def deciding(self) -> dict[str, Any]:
        """What a run depends on: not where its settings were written down."""
        return {"name": self.name, "label": self.label, "settings": self.settings}


@dataclass(frozen=True)
class RunPlan:
    """One run: everything that decides its numbers."""

    run_id: str
    env: Env
    agent: Agent
    """With all settings resolved, defaults included."""
    seed: int
    steps: int
    monitor: Watch = field(default_factory=Watch)

    def deciding(self) -> dict[str, Any]:
        """What its numbers depend on; how closely it is watched is nothing of that."""
        guarded = self.monitor.deciding()
        return {
            **{key: value for key, value in asdict(self).items() if key != "monitor"},
            "agent": self.agent.deciding(),
            **({"monitor": guarded} if guarded else {}),
        }

    def described(self) -> dict[str, Any]:
        """What the manifest of the run says of it."""
        return {
            "run_id": self.run_id,
            "env": {key: getattr(self.env, key) for key in ("id", "label", "settings")},
            "agent": asdict(self.agent),
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
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the label of a task the labels of the agents that are left out of it."""
    contrasts: Contrasts = field(default_factory=dict)
    """What its report compares; no run depends on it."""
    monitor: Watch = field(default_factory=Watch)
    """How every run is watched."""
    primary: str = OUTCOMES[0]
    """The outcome that decides, one of OUTCOMES; no run depends on it."""

    def document(self) -> dict[str, Any]:
        """The resolved config as it is stored."""
        return {
            "envs": [asdict(env) for env in self.envs],
            "agents": [agent.deciding() for agent in self.agents],
            "seeds": list(self.seeds),
            "settings": self.settings,
            "without": {task: list(labels) for task, labels in self.without.items()},
            "monitor": self.monitor.deciding(),
        }

    def hash(self) -> str:
        """Changes when, and only when, any run would."""
        runs = [run.deciding() for run in self.runs()]
        return hashlib.sha256(json.dumps(runs, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def runs(self) -> list[RunPlan]:
        """All runs, seed by seed, so that a study cut short has compared something."""
        defaults = {name: _defaults(name) for name in dict.fromkeys(agent.name for agent in self.agents)}
        return [
            _run(
                env,
                agent,
                seed,
                env.steps,
                {**defaults[agent.name], **self.settings, **env.agent},
                self.monitor,
            )
            for seed in self.seeds
            for env in self.envs
            for agent in self.agents
            if agent.label not in self.without.get(env.label, ())
        ]

    def size(self) -> dict[str, int]:
        """How many runs, tasks, agents and seeds it has, and how many environment steps in all."""
        runs = self.runs()
        return {
            "runs": len(runs),
            "tasks": len(self.envs),
            "agents": len(self.agents),
            "seeds": len(self.seeds),
            "steps": sum(run.steps for run in runs),
        }


def plan_run(
    env: Env, agent: Agent, seed: int, steps: int, common: Mapping[str, Any], monitor: Watch | None = None
) -> RunPlan:
    """Resolve the settings of one run: defaults < the study's < the task's < the agent's own."""
    general = {**_defaults(agent.name), **common, **env.agent}
    return _run(env, agent, seed, steps, general, monitor or Watch())


def _run(
    env: Env, agent: Agent, seed: int, steps: int, general: Mapping[str, Any], monitor: Watch
) -> RunPlan:
    run_id = slug(f"{env.label}-{agent.label}-s{seed}")
    return RunPlan(run_id, env, replace(agent, settings={**general, **agent.settings}), seed, steps, monitor)


def _defaults(name: str) -> dict[str, Any]:
    return {key: setting.default for key, setting in fields_of(name).items()}


def slug(text: str) -> str:
    """A name that is safe in paths and in W&B."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)
