"""The runs of benchmarks/alarm.py: healthy ones, and their twins with a fault from update k on.

A cell is a task, an agent and a seed. Its healthy run is trained once; at the beginning of update k the process forks,
and each child goes on with a fault of its own. So a faulty run and the healthy one share their first k - 1 updates,
to the last bit, and what differs afterwards is the fault's doing.

    OUT/<task>/<agent>/s<seed>/healthy/     a run directory as the monitor writes it
    OUT/<task>/<agent>/s<seed>/<fault>/     the same, first k - 1 updates included
        policy.npz    [updates from k - 1 on, states, ...] what the policy does in 64 fixed states after each of them

The manifest's entry `alarm` says what ran and which fault began when. Runs that exist are kept.
"""

import contextlib
import json
import os
import random
import shutil
import traceback
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import gymnasium as gym
import numpy as np
import torch
from faults import FAULTS, Fault, Past, Tampered, remember
from stable_baselines3.common.callbacks import BaseCallback

import agents
import envs  # noqa: F401 - registers chaos/...
from rl_lab import DivergenceMonitor
from rl_lab.errors import one_line
from rl_lab.monitor.measure.distributions import Distribution, Gaussian
from rl_lab.monitor.measure.limits import limits_of
from rl_lab.monitor.measure.reference import random_return
from rl_lab.monitor.measure.rollout import Rollout, judge_or_nan, read
from rl_lab.monitor.measure.rollout import judge as judge_policy

STATES = 64
"""States in which the policies of twins are compared."""
REMEMBERED = 6
"""Updates whose policy and rollout faults can fall back on."""

TUNING: Mapping[str, Mapping[str, Any]] = {
    "CartPole-v1": {},
    "Pendulum-v1": {"gamma": 0.9},
    "chaos/Henon-v0": {"gamma": 0.98},
}
"""Tasks on which thresholds may be chosen, with what all agents are told about them."""
REPORTING: Mapping[str, Mapping[str, Any]] = {
    "Acrobot-v1": {},
    "MountainCarContinuous-v0": {},
    "chaos/Lorenz-v0": {"gamma": 0.98},
    "chaos/Rossler-v0": {"gamma": 0.98},
}
"""Tasks that the table reports, on which nothing was chosen."""
SPLITS = {"tuning": TUNING, "reporting": REPORTING}


@dataclass(frozen=True)
class Arm:
    """An agent of the roster, how it is set, and how long it is watched."""

    name: str
    settings: Mapping[str, Any]
    n_envs: int = 16
    n_steps: int = 32
    updates: int = 120
    fault_at: int = 78


NORMALISED = {"normalize_observation": True, "normalize_reward": True}
ARMS = {
    # Stock algorithms with their own defaults, but for the length of a rollout.
    "ppo-sb3": Arm("ppo-sb3", {}),
    "trpo-sb3": Arm("trpo-sb3", {}),
    # Rules of our host as configs/learning.yaml has them, three behind running normalisation.
    "ppo": Arm("ppo", {"batch_size": 256, "learning_rate": 1e-3, **NORMALISED}),
    "ppo-kl": Arm("ppo-kl", {"batch_size": 256, "learning_rate": 1e-3, **NORMALISED}),
    "a2c": Arm(
        "a2c",
        {"gae_lambda": 0.9, "learning_rate": 2e-3, **NORMALISED},
        n_steps=16,
        updates=180,
        fault_at=138,
    ),
}
"""Healthy are the stock algorithms and rules whose step is bounded: by clipping, by a KL, or by being a single one."""


@dataclass(frozen=True)
class Cell:
    """One healthy run, and the faults that branch off it."""

    task: str
    arm: str
    seed: int
    faults: tuple[str, ...] = ()

    def path(self, out: Path) -> Path:
        """The folder of its runs."""
        return out / self.task.replace("/", "-") / self.arm / f"s{self.seed}"


def plan(tasks: Iterable[str], arms: Iterable[str], seeds: range, runs: int) -> list[Cell]:
    """Every task, arm and seed healthy; each fault in `runs` of those cells that have what goes wrong.

    A fault's cells are drawn at random within each seed, so that asking for more runs or seeds keeps the old ones.
    """
    models = {(task, arm): built(task, arm, 0)[0] for task in tasks for arm in arms}
    chosen: dict[tuple[str, str, int], list[str]] = {(*pair, s): [] for s in seeds for pair in models}
    for number, (name, fault) in enumerate(FAULTS.items()):
        order = np.random.default_rng(number)
        fitting = [pair for pair, model in models.items() if fault().fits(model)]
        cells = [(*fitting[i], s) for s in seeds for i in order.permutation(len(fitting))]
        for cell in cells[:runs]:
            chosen[cell].append(name)
    return [Cell(*key, tuple(names)) for key, names in chosen.items()]


def run_cell(out: Path, cell: Cell) -> str:
    """Train what is missing of a cell; returns one line about it."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    folder = cell.path(out)
    missing = [name for name in ("healthy", *cell.faults) if not (folder / name).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.part"):
            shutil.rmtree(left)
        train(folder, cell, [name for name in missing if name != "healthy"], whole="healthy" in missing)
    return f"{folder}: {', '.join(missing) or 'kept'}"


def train(folder: Path, cell: Cell, faults: Iterable[str], *, whole: bool) -> None:
    """The healthy run of a cell (up to the fault only, if not `whole`), and a child for each fault."""
    arm = ARMS[cell.arm]
    model, env = built(cell.task, cell.arm, cell.seed)
    described = {"task": cell.task, "arm": cell.arm, "seed": cell.seed, "k": arm.fault_at, "fault": None}
    monitor = DivergenceMonitor(
        folder / "healthy.part",
        level="full",
        guards=(),
        wandb=False,
        say=lambda text: None,
        random_return=_random(cell.task, folder),
        manifest={"run_id": "healthy", "alarm": {**described, "limits": asdict(limits_of(model))}},
    )
    injector = Injector(monitor, env, arm.fault_at, tuple(faults), whole=whole)
    steps = arm.updates * arm.n_envs * arm.n_steps
    problem = None
    try:
        try:
            model.learn(steps, callback=[injector.before, monitor, injector.after])
        except (ValueError, RuntimeError, FloatingPointError) as error:
            problem = one_line(error)
        injector.finish(problem)
    except BaseException:
        if not injector.is_child:
            raise
        traceback.print_exc()
    finally:
        if injector.is_child:
            os._exit(0)  # a child that returned would go on with its parent's work


class Injector:
    """Counts the updates of one run; at update k it forks, and from there on it is the fault's turn in the child."""

    def __init__(
        self,
        monitor: DivergenceMonitor,
        env: Tampered,
        at: int,
        faults: tuple[str, ...],
        *,
        whole: bool = True,
        fork: bool = True,
    ) -> None:
        self.monitor, self.env, self.at = monitor, env, at
        self.fault: Fault | None = None
        self.update = 0
        """The update whose rollout is being collected."""
        self.before, self.after = _Before(self), _After(self)
        self.is_child = False
        self._faults, self._whole, self._fork = faults, whole, fork
        self._past: deque[Past] = deque(maxlen=REMEMBERED)
        self._states: Rollout | None = None
        self._reference: Distribution | None = None
        self._policies: list[dict[str, Any]] = []

    def begins(self, model: Any) -> bool:
        """A rollout begins; False where nothing is left to do."""
        self.update += 1
        if self._states is not None:
            self._look(model)
        if self.update != self.at:
            return True
        for name in self._faults:
            generator = random.getstate()  # Python gives a forked child another one
            self.is_child = self._fork and os.fork() == 0
            random.setstate(generator)
            if self.is_child or not self._fork:
                self._turn(name, model)
                return True
            os.wait()
        return self._whole

    def collected(self, model: Any) -> None:
        """A rollout is complete."""
        if self.fault is not None:
            self.fault.before_update(model, self._past)
        self._past.append(remember(model))
        if self.update == self.at - 1:
            self._states = read(model).some(STATES)

    def finish(self, problem: str | None) -> None:
        """Close the run, and give it its name."""
        self.monitor.close("failed", problem)
        path = self.monitor.run_dir
        if self.fault is None and not self._whole:
            shutil.rmtree(path)
            return
        if problem is None:
            self._look(self.monitor.model)
        kept = {name: np.stack([policy[name] for policy in self._policies]) for name in self._policies[0]}
        np.savez(path / "policy.npz", allow_pickle=False, **kept)
        for name in ("checkpoints", "incidents"):
            shutil.rmtree(path / name, ignore_errors=True)
        path.rename(path.with_suffix(""))

    def _turn(self, name: str, model: Any) -> None:
        """This process is the faulty twin from here on, with a run directory of its own."""
        self.fault = FAULTS[name]()
        move(self.monitor, self.monitor.run_dir.with_name(f"{name}.part"), fault=name)
        self.fault.begin(model, self.env)

    def _look(self, model: Any) -> None:
        assert self._states is not None
        if self._reference is None:
            self._reference, _ = judge_policy(model.policy, self._states)
        now, _ = judge_or_nan(model.policy, self._states, self._reference)
        self._policies.append(
            {"mean": now.mean, "log_std": now.log_std}
            if isinstance(now, Gaussian)
            else {"log_probs": now.log_probs[0]}
        )


class _Before(BaseCallback):
    """Stands before the monitor: what it does to a rollout is there when the monitor reads it."""

    def __init__(self, injector: Injector) -> None:
        super().__init__()
        self._injector = injector

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._injector.collected(self.model)


class _After(BaseCallback):
    """Stands after the monitor: when it begins, the monitor has recorded the update before."""

    def __init__(self, injector: Injector) -> None:
        super().__init__()
        self._injector = injector
        self._goes_on = True

    def _on_rollout_start(self) -> None:
        self._goes_on = self._injector.begins(self.model)

    def _on_step(self) -> bool:
        return self._goes_on


def move(monitor: DivergenceMonitor, path: Path, **described: Any) -> None:
    """Go on recording in a copy of the run directory, and leave the original as it is."""
    writer = monitor._observed.recorder._writer
    shutil.copytree(writer.path, path)
    # Not closed through the writer, which would write to the original.
    for file in (writer._updates, writer._events):
        file.close()
    writer.path = path
    writer.reopen()
    writer.save_manifest(run_id=path.stem, alarm={**writer.manifest["alarm"], **described})


def built(task: str, arm_name: str, seed: int) -> tuple[Any, Tampered]:
    """A fresh algorithm and the environments under it."""
    arm, told = ARMS[arm_name], {**TUNING, **REPORTING}[task]
    env = Tampered(agents.vectorize(task, arm.n_envs, seed, {}))
    return agents.make(arm.name, env, seed, {**arm.settings, **told, "n_steps": arm.n_steps}), env


def _random(task: str, folder: Path) -> Mapping[str, Any]:
    """Return of the random policy, measured once for a task and kept beside its runs."""
    path = folder.parent.parent / "random.json"
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(path.read_text()))
    measured = random_return(lambda: gym.make(task))
    path.write_text(json.dumps(measured))
    return dict(measured or {})
