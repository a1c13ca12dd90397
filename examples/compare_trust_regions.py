"""Journey 2: compare policy updates with and without a trust region, from Python.

    python examples/compare_trust_regions.py

The same as `rl-lab study` with four keys of YAML; here the result is used as data.
"""

import argparse
from pathlib import Path

from rl_lab.report import build
from rl_lab.study.board import Board
from rl_lab.study.config import read_study
from rl_lab.study.supervisor import run_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    arguments = parser.parse_args()

    study = read_study(
        {
            "envs": ["chaos/Lorenz-v0"],
            "agents": ["ppo", "ppo-noclip", "trpo"],
            "seeds": arguments.seeds,
            "steps": arguments.steps,
        },
        name="compare",
        where="this script",
    )
    run_study(study, arguments.out, jobs=2, wandb="offline", board=Board(), where="this script")
    report = build(arguments.out)
    for arm in report.arms:
        print(f"{arm.agent:12} largest kl_mean {arm.kl_mean_largest:.3g} nats, return {arm.final_return}")
    print(*report.findings, report.page, sep="\n")


if __name__ == "__main__":
    main()
