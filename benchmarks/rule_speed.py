"""What our host costs against stable-baselines3, and every rule against ppo: `learn()` side by side in one run.

    python benchmarks/rule_speed.py [--repetitions 5] [--steps 8192] [--rules ppo,spo,...]

Each repetition trains stock PPO and every rule once on eight Pendulums, 256 steps a rollout, ten epochs of
minibatches of 64, in an order that rotates, and starts with an unmeasured rollout. Ratios are of the process
CPU time per environment step, which a busy machine disturbs less than wall time, against stock PPO resp. our
`ppo` of the same repetition: 1.0 is as fast, .9 is ten per cent slower. A rule whose updates are cut short
(ppo-early-stop, espo) or that takes one step is faster than ppo without being better written; second-order
rules have no target. Prints one JSON document; `met` says whether `ppo` reaches .97 of stock PPO and
every first-order rule .9 of `ppo`.
"""

import argparse
import json
import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import agents
from agents.discovery import find_rules
from agents.rule import FirstOrderRule

HOST_TARGET, RULE_TARGET = 0.97, 0.9
STOCK = "stable-baselines3 PPO"
SIZES = {"n_steps": 256, "n_epochs": 10, "batch_size": 64}


def algorithm(name: str, env: Any) -> Any:
    """Stock PPO, or a rule in our host, with the same rollout, network and minibatches."""
    if name == STOCK:
        return PPO("MlpPolicy", env, seed=0, device="cpu", **SIZES)
    fields = agents.catalogue()[name].fields
    return agents.make(name, env, 0, {key: value for key, value in SIZES.items() if key in fields})


def seconds_per_step(name: str, steps: int) -> float:
    """CPU seconds of learn() per environment step, after one rollout that is not measured."""
    model = algorithm(name, make_vec_env("Pendulum-v1", n_envs=8, seed=0))
    model.learn(8 * SIZES["n_steps"])
    began = time.process_time()
    model.learn(steps, reset_num_timesteps=False)
    return (time.process_time() - began) / steps


def main() -> None:
    rules = {name: found.rule for name, found in find_rules().items()}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8192)
    parser.add_argument("--rules", type=lambda text: text.split(","), default=list(rules))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [STOCK, "ppo", *(name for name in arguments.rules if name != "ppo")]
    found: list[dict[str, float]] = []
    for repetition in range(arguments.repetitions):
        turn = repetition * len(names) // arguments.repetitions
        found.append({name: seconds_per_step(name, arguments.steps) for name in names[turn:] + names[:turn]})

    def ratio(name: str, reference: str) -> dict[str, float]:
        values = [each[reference] / each[name] for each in found]
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    host = ratio("ppo", STOCK)
    against_ppo = {name: ratio(name, "ppo") for name in names[2:]}
    first_order = {n: r for n, r in against_ppo.items() if issubclass(rules[n], FirstOrderRule)}
    result = {
        "benchmark": "rule_speed",
        "repetitions": arguments.repetitions,
        "steps": arguments.steps,
        "steps_per_cpu_second_stock": 1 / statistics.median(each[STOCK] for each in found),
        "ppo against stock": host,
        "target ppo against stock": HOST_TARGET,
        "first-order rules against ppo": first_order,
        "target first-order rules": RULE_TARGET,
        "other rules against ppo": {n: r for n, r in against_ppo.items() if n not in first_order},
        "met": host["median"] >= HOST_TARGET
        and all(each["median"] >= RULE_TARGET for each in first_order.values()),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
