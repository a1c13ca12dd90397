"""What our host costs against stable-baselines3, and every rule against ppo: `learn()` side by side in one run.

    python benchmarks/rule_speed.py [--repetitions 7] [--rules ppo,spo,...]

Eight Pendulums, 256 steps a rollout, ten epochs of minibatches of 64, one rollout and update to warm up. Then each
pair takes turns, one rollout and update of the reference, one of the rule: stock PPO against our `ppo`, and `ppo`
against every other rule. Times are process CPU times, which a busy machine disturbs less than wall times. `best`
is the ratio of the smallest times of the two, the least disturbed that was seen (as `timeit` advises); `median`,
`min` and `max` are of the ratios of the turns. 1.0 is as fast, .9 is ten per cent slower. A rule whose updates
are cut short (ppo-early-stop, espo) or that takes one step (a2c, vpg) is faster than ppo without being better
written; second-order rules have no target. Prints one JSON document; `met` says whether `best` of `ppo` reaches .97
of stock PPO and that of every first-order rule .9 of `ppo`.
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
STEPS = 8 * SIZES["n_steps"]


def algorithm(name: str) -> Any:
    """Stock PPO, or a rule in our host, with the same rollout, network and minibatches, warmed up."""
    env = make_vec_env("Pendulum-v1", n_envs=8, seed=0)
    if name == STOCK:
        built: Any = PPO("MlpPolicy", env, seed=0, device="cpu", **SIZES)
    else:
        fields = agents.catalogue()[name].fields
        built = agents.make(name, env, 0, {key: value for key, value in SIZES.items() if key in fields})
    return built.learn(STEPS)


def seconds(model: Any) -> float:
    """CPU seconds of one rollout and update."""
    began = time.process_time()
    model.learn(STEPS, reset_num_timesteps=False)
    return time.process_time() - began


def compare(reference: str, name: str, repetitions: int) -> dict[str, float]:
    """How fast `name` is, where `reference` is 1."""
    models = algorithm(reference), algorithm(name)
    turns = [(seconds(models[0]), seconds(models[1])) for _ in range(repetitions)]
    ratios = [theirs / ours for theirs, ours in turns]
    return {
        "best": min(theirs for theirs, _ in turns) / min(ours for _, ours in turns),
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
    }


def main() -> None:
    rules = {name: found.rule for name, found in find_rules().items()}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--rules", type=lambda text: text.split(","), default=list(rules))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    host = compare(STOCK, "ppo", arguments.repetitions)
    found = {name: compare("ppo", name, arguments.repetitions) for name in arguments.rules if name != "ppo"}
    first_order = {name: ratio for name, ratio in found.items() if issubclass(rules[name], FirstOrderRule)}
    result = {
        "benchmark": "rule_speed",
        "repetitions": arguments.repetitions,
        "ppo against stock": host,
        "target ppo against stock": HOST_TARGET,
        "first-order rules against ppo": first_order,
        "target first-order rules": RULE_TARGET,
        "other rules against ppo": {name: ratio for name, ratio in found.items() if name not in first_order},
        "met": host["best"] >= HOST_TARGET
        and all(ratio["best"] >= RULE_TARGET for ratio in first_order.values()),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
