"""Are the chaotic tasks as fast as Gymnasium's own? Prints one JSON document of ratios measured side by side.

    python benchmarks/env_speed.py [--repetitions 9] [--lanes 1024] [--only Lorenz Henon ...]

A scalar state update is one state variable advanced by one fixed integrator step inside Env.step: one RK4 step or
one iteration of one variable counts as one. An environment step of a system with D states and s substeps has D s of
them, one of CartPole 4 (four variables, one Euler step). `update_ratio` compares updates per second, `ratio`
environment steps per second; no built-in flow or map may have an update_ratio below 1 in the vector comparison.

Every repetition times each environment once, in turn, so that a busy machine slows all of them alike; the
ratio is taken within a repetition and reported as median, min, max. Times are processor time of this process.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np

from envs.registry import entries
from envs.task import resolve

BASELINE = {"vector": "CartPole-v1", "single": "Pendulum-v1"}
TARGETS = {"vector": "chaos/Lorenz-v0", "single": "chaos/Lorenz-v0"}
UPDATES = {"CartPole-v1": 4, "Pendulum-v1": 2}
"""Scalar state updates in one step of a baseline: its state variables, each moved by one Euler step."""


def updates(env_id: str) -> int:
    """Scalar state updates in one environment step."""
    if env_id in UPDATES:
        return UPDATES[env_id]
    task = resolve(env_id, {})
    return len(task.system.states) * task.substeps


def vector_stepper(env_id: str, lanes: int) -> Callable[[int], None]:
    """Step a native vector environment through `step()`, its resets included."""
    batch = gymnasium.make_vec(env_id, num_envs=lanes, vectorization_mode="vector_entry_point")
    batch.reset(seed=0)
    batch.action_space.seed(0)
    actions = [batch.action_space.sample() for _ in range(16)]

    def run(steps: int) -> None:
        for i in range(steps):
            batch.step(actions[i % 16])

    return run


def single_stepper(env_id: str) -> Callable[[int], None]:
    """Step `gym.make(...).unwrapped`, resetting at the end of an episode."""
    env = gymnasium.make(env_id).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(16)]

    def run(steps: int) -> None:
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[i % 16])
            if terminated or truncated:
                env.reset()

    return run


def compare(runs: dict[str, Callable[[int], None]], baseline: str, steps: int, lanes: int, times: int) -> Any:
    """Environment steps per second of each, and its ratio to the baseline, as {median, min, max}."""
    for run in runs.values():
        run(50)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(times):
        for name, run in runs.items():
            begin = time.process_time()
            run(steps)
            rates[name].append(steps * lanes / (time.process_time() - begin))
    return {
        name: {
            "steps_per_second": summary(own),
            "ratio": summary((np.array(own) / np.array(rates[baseline])).tolist()),
            "updates_per_step": updates(name),
            "update_ratio": summary(
                (np.array(own) / np.array(rates[baseline]) * updates(name) / updates(baseline)).tolist()
            ),
        }
        for name, own in rates.items()
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median and range to three digits."""
    return {n: float(f"{f(values):.3g}") for n, f in (("median", median), ("min", min), ("max", max))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--lanes", type=int, default=1024)
    parser.add_argument("--only", nargs="*", default=[], help="class names; Lorenz is always measured")
    chosen = parser.parse_args()
    everything = [e for e in entries().values() if not e.published and e.system.kind in ("flow", "map")]
    ids = [e.id for e in everything if not chosen.only or e.id[6:-3] in {"Lorenz", *chosen.only}]
    vector = {i: vector_stepper(i, chosen.lanes) for i in (BASELINE["vector"], *ids)}
    single = {i: single_stepper(i) for i in (BASELINE["single"], *ids)}
    document: dict[str, Any] = {
        "vector": compare(vector, BASELINE["vector"], 200, chosen.lanes, chosen.repetitions),
        "single": compare(single, BASELINE["single"], 4000, 1, chosen.repetitions),
    }
    document["targets"] = [
        {
            "claim": f"{TARGETS[kind]} ({kind}) is at least as fast per step as {BASELINE[kind]}",
            "ratio": document[kind][TARGETS[kind]]["ratio"]["median"],
            "required": 1.0,
            "met": document[kind][TARGETS[kind]]["ratio"]["median"] >= 1.0,
        }
        for kind in ("vector", "single")
    ]
    ours = {i: document["vector"][i]["update_ratio"]["median"] for i in ids}
    slowest = min(ours, key=ours.__getitem__)
    document["targets"].append(
        {
            "claim": f"no flow or map is slower than {BASELINE['vector']} per scalar state update (vector)",
            "ratio": ours[slowest],
            "required": 1.0,
            "met": ours[slowest] >= 1.0,
            "slowest": slowest,
            "below": sorted(i for i, ratio in ours.items() if ratio < 1.0),
        }
    )
    document["settings"] = {"lanes": chosen.lanes, "repetitions": chosen.repetitions, "baseline": BASELINE}
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
