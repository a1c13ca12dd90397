"""How fast are fields beside controlgym's? Prints one JSON document of ratios measured side by side.

    pip install --no-deps controlgym==1.0.0 && python benchmarks/field_speed.py [--repetitions 9] [--lanes 256]

(It imports matplotlib, which must be there too; its pins exclude today's numpy and gymnasium, hence --no-deps.)

The comparison is one control step of Kuramoto-Sivashinsky: 64 points, L = 22, the push held for 0.25.
controlgym takes 50 inner steps of 0.005 there (its default), we take one of 0.25 through `Env.step`; the same
with inner steps of 0.05 is reported beside it, with the error of a step of each kind against a converged one.
Times are processor time of this process; every repetition times each in turn.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import gymnasium
import numpy as np

import envs

INSTALL = "pip install matplotlib && pip install --no-deps controlgym==1.0.0"
LENGTH, POINTS, INTERVAL, REQUIRED = 22.0, 64, 0.25, 20.0


def controlgym_stepper() -> Callable[[int], None]:
    """controlgym's own environment at 64 points and a sample time of 0.25, all else as it comes."""
    try:
        with warnings.catch_warnings():
            import controlgym
    except ImportError as error:
        print(
            f"field_speed: controlgym cannot be imported ({error}); install it by: {INSTALL}", file=sys.stderr
        )
        raise SystemExit(2) from None
    warnings.resetwarnings()  # it turns every warning of the process into an error
    warnings.simplefilter("ignore")
    env = controlgym.make(
        "kuramoto_sivashinsky", n_state=POINTS, sample_time=INTERVAL, domain_length=LENGTH, n_action=4
    )
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape)

    def run(steps: int) -> None:
        for _ in range(steps):
            env.step(action)

    return run


def field(dt: float) -> Any:
    """The same domain and grid here, in steps of dt."""
    return replace(envs.systems()["KuramotoSivashinsky"](), L=LENGTH, points=POINTS, dt=dt)


def single_stepper(dt: float) -> Callable[[int], None]:
    """`Env.step` of one environment, resets included."""
    env = gymnasium.make("chaos/KuramotoSivashinsky-v0", dt=dt, control_interval=INTERVAL).unwrapped
    env.reset(seed=0)
    action = np.full(env.action_space.shape, 0.1, dtype=np.float32)

    def run(steps: int) -> None:
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run


def batch_stepper(dt: float, lanes: int) -> Callable[[int], None]:
    """`advance` of many lanes, per lane."""
    system = field(dt)
    states = system.scatter(np.random.default_rng(0), lanes)
    push = np.full((system.n_pushes, lanes), 0.1)
    substeps = round(INTERVAL / dt)

    def run(steps: int) -> None:
        for _ in range(max(1, steps // lanes)):
            system.advance(states, push, substeps)

    return run


def error_of_a_step(dt: float) -> float:
    """Largest error over one control interval on the attractor, against steps of 1/2048."""
    system = field(dt)
    state = system.orbit(np.array(system.start), 1, round(500 / dt))
    push = np.zeros((system.n_pushes, 1))
    exact = field(1 / 2048).advance(state.T, push, round(INTERVAL * 2048))
    return float(f"{np.abs(system.advance(state.T, push, round(INTERVAL / dt)) - exact).max():.2g}")


def summary(values: list[float]) -> dict[str, float]:
    """Median and range to three digits."""
    return {n: float(f"{f(values):.3g}") for n, f in (("median", median), ("min", min), ("max", max))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--lanes", type=int, default=256)
    chosen = parser.parse_args()
    runs = {
        "controlgym": (controlgym_stepper(), 20, 20),
        "single": (single_stepper(0.25), 400, 400),
        "single, inner step 0.05": (single_stepper(0.05), 100, 100),
        "batch": (batch_stepper(0.25, chosen.lanes), 8 * chosen.lanes, 8 * chosen.lanes),
    }
    for run, _, steps in runs.values():
        run(steps)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(chosen.repetitions):
        for name, (run, steps, counted) in runs.items():
            begin = time.process_time()
            run(steps)
            seconds[name].append((time.process_time() - begin) / counted)
    document: dict[str, Any] = {
        name: {
            "microseconds_per_control_step": summary([1e6 * value for value in own]),
            "times_as_fast": summary((np.array(seconds["controlgym"]) / np.array(own)).tolist()),
        }
        for name, own in seconds.items()
    }
    ratio = document["single"]["times_as_fast"]["median"]
    document["error_of_a_control_step"] = {f"inner step {dt}": error_of_a_step(dt) for dt in (0.25, 0.05)}
    document["target"] = {
        "claim": "one control step of 0.25 with 64 points is at least 20 times as fast as controlgym's",
        "ratio": ratio,
        "required": REQUIRED,
        "met": ratio >= REQUIRED,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
