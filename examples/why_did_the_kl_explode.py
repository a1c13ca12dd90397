"""Why did the KL explode within one update? PPO with its clip, a step size of 3e-3, and a policy that was good.

    python examples/why_did_the_kl_explode.py
    rl-lab replay runs/why_did_the_kl_explode --rules ppo-noclip,ppo-early-stop,spo,trpo --evaluate 20

stable-baselines3's PPO learns Pendulum; at some update the policy jumps, although its ratios are clipped. The monitor
says in which gradient step of the update it happened and to which states, and keeps what the update was made from, so
that it can be made again by other rules. docs/worked_examples.md explains the output.
"""

import argparse
from pathlib import Path

from stable_baselines3 import PPO

from rl_lab import DivergenceMonitor

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/why_did_the_kl_explode"))
    parser.add_argument("--steps", type=int, default=60_000)
    arguments = parser.parse_args()
    model = PPO("MlpPolicy", "Pendulum-v1", learning_rate=3e-3, n_steps=1024, seed=0, device="cpu")
    model.learn(arguments.steps, callback=DivergenceMonitor(arguments.out, level="full"))
