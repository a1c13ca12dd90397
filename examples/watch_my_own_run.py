"""Journey 1: watch a run of your own. Nothing here but stable-baselines3 and the monitor.

    python examples/watch_my_own_run.py

Prints one line per event and writes a run directory under runs/; `rl-lab report runs/...` draws it.
"""

import argparse

from stable_baselines3 import PPO

from rl_lab import DivergenceMonitor

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100_000)
arguments = parser.parse_args()

monitor = DivergenceMonitor()
PPO("MlpPolicy", "Pendulum-v1").learn(arguments.steps, callback=monitor)
print(f"events: {monitor.events or 'none'}; everything is in {monitor.run_dir}")
