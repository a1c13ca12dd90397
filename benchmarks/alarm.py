"""Does the monitor's alarm ring when it should, and only then? Healthy runs, runs with injected faults, and a table.

    python benchmarks/alarm.py --split reporting --out runs/alarm-reporting --markdown docs/alarm.md
    python benchmarks/alarm.py --out runs/alarm-reporting --judge-only     # judge recorded runs again

Trains every agent on every task of the split, healthy, and twins of these runs with a fault from update k on
(benchmarks/faults.py), all watched by DivergenceMonitor; runs that exist under --out are kept. Then the detectors, as
they are now, judge the recorded rows; only `nonfinite`, which looks at arrays, is taken from the live events. Prints
one JSON document; `met` says which targets are met. Thresholds of detectors may be chosen on the split `tuning`
alone.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from alarm_runs import ARMS, SPLITS, plan, run_cell
from alarm_score import dumped, score
from alarm_table import markdown

from rl_lab.monitor.quantities import level_named


def record(out: Path, split: str, arms: list[str], seeds: range, runs: int, jobs: int) -> None:
    """Make the runs that are missing; cells with the most faults first."""
    out.mkdir(parents=True, exist_ok=True)
    cells = sorted(plan(SPLITS[split], arms, seeds, runs), key=lambda cell: -len(cell.faults))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_cell, out, cell) for cell in cells]
        for number, done in enumerate(as_completed(waiting), start=1):
            print(f"[{number}/{len(cells)}] {done.result()}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=SPLITS, default="reporting")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; existing ones are kept")
    parser.add_argument("--seeds", type=int, default=3, help="healthy runs of each task and agent")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--runs", type=int, default=12, help="runs of each fault")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--level", default="standard", help="judge with what this level measures")
    parser.add_argument("--judge-only", action="store_true", help="make no runs")
    parser.add_argument("--markdown", type=Path, help="file to write the table to")
    arguments = parser.parse_args()
    if not arguments.judge_only:
        record(
            arguments.out,
            arguments.split,
            arguments.arms,
            range(arguments.first_seed, arguments.first_seed + arguments.seeds),
            arguments.runs,
            arguments.jobs,
        )
    report = score(arguments.out, level_named(arguments.level))
    print(dumped({"benchmark": "alarm", "split": arguments.split, **report}))
    if arguments.markdown:
        command = (
            f"python benchmarks/alarm.py --split {arguments.split} --seeds {arguments.seeds} "
            f"--first-seed {arguments.first_seed} --runs {arguments.runs} --level {arguments.level} "
            f"--out runs/alarm-{arguments.split} --markdown {arguments.markdown}"
        )
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(markdown(report, command, arguments.split), encoding="utf-8")


if __name__ == "__main__":
    main()
