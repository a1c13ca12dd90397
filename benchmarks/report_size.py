"""How large the report's page is, how long it takes to build, and how soon a browser has drawn it.

    python benchmarks/report_size.py [--runs 200] [--updates 500] [--tasks 4] [--agents 5] [--keep DIRECTORY]

The runs are synthetic but their directories are not: they are written by the same writer as a real run's, with the
columns of a real run, and read from the disk. Learning curves rise and KL is lognormal; one agent loses its bound and
collapses, and some of its runs end non-finite, so that events, collapses and diverged runs are all there.

Prints one JSON document: `page_bytes`; `build_seconds` of wall and `build_cpu_seconds` of CPU time, pictures included.
With a Chromium on the machine, each the median of three openings in a browser of its own: `usable_seconds`, from
opening the page until it is loaded and its first chart is drawn; `drawn_seconds`, until every chart is;
`page_cpu_seconds`, what the page's own thread worked for that, which a busy machine disturbs less;
`longest_block_seconds`, the longest stretch in which the page could not have answered a click. `met` says whether the
targets are kept, `load` how busy the machine was.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from browser import CHROMIUM, DRAWN, browser

from rl_lab.monitor.record.run_directory import RunWriter, write_json
from rl_lab.report import publish

TARGETS = {"page_bytes": 15_000_000, "drawn_seconds": 3.0}
AGENTS = ("ppo", "ppo-noclip", "trpo", "spo", "ppo-kl", "npg", "v-mpo", "pfo", "espo", "a2c")
TASKS = ("chaos/Lorenz-v0", "chaos/Henon-v0", "Pendulum-v1", "CartPole-v1", "chaos/Rossler-v0", "Acrobot-v1")
QUANTITIES = (
    "reverse_kl_mean", "kl_mean_shift", "kl_covariance", "total_variation", "entropy", "log_std_min", "log_std_max",
    "explained_variance", "value_scale", "ratio_max", "ratio_p99", "ratio_outside", "effective_sample_size",
    "gradient_norm", "gradient_norm_max", "gradient_norm_policy", "gradient_norm_value", "minibatches", "step_norm",
    "relative_step", "length_mean", "train/approx_kl", "train/loss", "train/value_loss", "train/learning_rate",
)  # fmt: skip
"""Columns that make a row as long as a real one; nothing of the page is made of them."""
STEPS = 2048
"""Environment steps of an update."""


def write_study(folder: Path, runs: int, updates: int, tasks: int, agents: int) -> None:
    """A study with about `runs` runs of `updates` updates each."""
    seeds = max(1, runs // (tasks * agents))
    for task in TASKS[:tasks]:
        for agent in AGENTS[:agents]:
            for seed in range(seeds):
                write_run(folder / "runs", task, agent, seed, updates)
    config = {
        "envs": [{"id": task, "label": task, "settings": {}} for task in TASKS[:tasks]],
        "agents": [{"name": agent, "label": agent, "settings": {}} for agent in AGENTS[:agents]],
        "seeds": list(range(seeds)), "steps": STEPS * updates,
    }  # fmt: skip
    document = {"schema": 1, "name": "synthetic", "hash": "0" * 16, "runs": tasks * agents * seeds}
    write_json(folder / "study.json", {**document, "config": config})


def write_run(folder: Path, task: str, agent: str, seed: int, updates: int) -> None:
    """One run, written as the monitor writes it."""
    rng = np.random.default_rng([seed, *map(ord, task + agent)])
    wild = agent == "ppo-noclip"
    ends = int(updates * rng.uniform(0.5, 1.0)) if wild and rng.uniform() < 0.3 else None
    floor, top = -1200.0, -180.0
    name = f"{task.replace('/', '-')}-{agent}-s{seed}"
    settings = {"learning_rate": 3e-3, "n_steps": 256, "n_envs": 8, "gamma": 0.98}
    writer = RunWriter(folder / name, {
        "run_id": name, "steps": STEPS * updates, "env": {"id": task, "label": task, "settings": {}},
        "agent": {
            "name": agent, "label": agent, "settings": settings,
            "trust_region": "none" if wild else "clipping: 1 ± clip_range",
        },
        "seed": seed, "started": "2026-01-01T00:00:00+00:00", "versions": {"python": sys.version.split()[0]},
        "random_return": {"mean": floor, "stderr": 20.0, "episodes": 20, "how": "random policy"},
        "status": "running",
    })  # fmt: skip
    fell = int(updates * rng.uniform(0.4, 0.9)) if wild and rng.uniform() < 0.6 else None
    kl = 0.02 * rng.lognormal(0.0, 0.5, updates)
    if wild:
        kl *= 10 ** (3.0 * np.linspace(0, 1, updates) * rng.uniform(0.3, 1.0))
    value, events = floor, 0
    for n in range(1, updates + 1):
        t = n / updates
        reached = (1 - math.exp(-4 * t)) * (math.exp(-6 * (t - fell / updates)) if fell and n > fell else 1.0)
        value = floor + (top - floor) * (reached + rng.normal(0.0, 0.03))
        over = n == ends
        row = dict(zip(QUANTITIES, rng.normal(size=len(QUANTITIES)).tolist(), strict=True))
        writer.update({
            "update": n, "env_steps": STEPS * n, "seconds": 0.4 * n,
            "outcome": "NOT_FINITE" if over else "ACCEPTED", "kl_mean": 0.0 if over else float(kl[n - 1]),
            "kl_p95": float(3 * kl[n - 1]), "kl_p99": float(4.5 * kl[n - 1]), "kl_max": float(9 * kl[n - 1]),
            "return_mean": value, "return_smooth": value, "episodes": 8, **row,
        })  # fmt: skip
        found = [("nonfinite", math.nan, None)] if over else []
        if kl[n - 1] > 1.5 and not over:
            found.append(("kl_spike", float(kl[n - 1]), 1.5))
        if n == fell:
            found.append(("performance_collapse", 0.6, 0.5))
        for event, size, limit in found:
            events += 1
            writer.event({
                "id": events, "event": event, "run": name, "update": n, "epoch": None, "minibatch": None,
                "env_steps": STEPS * n, "value": size, "threshold": limit, "details": {},
                "message": f"{event} at update {n}",
            })  # fmt: skip
        if over:
            break
    status = "running" if ends is None else "diverged"
    writer.save_manifest(
        status="done" if status == "running" else status, return_final=None if ends else value, updates=n,
        env_steps=STEPS * n, reason="gradient not finite" if ends else None,
    )  # fmt: skip
    writer.close()


BLOCKS = """window.blocks = [];
new PerformanceObserver((list) => list.getEntries().forEach((one) => window.blocks.push(one.duration)))
  .observe({type: "longtask", buffered: true});"""
"""Notes how long each task kept the page from answering, those of 50 ms and more."""


def opened(page: Path) -> dict[str, float]:
    """Seconds of one opening in a fresh browser."""
    with browser() as seen:
        seen.call("Performance.enable", timeDomain="threadTicks")
        seen.call("Page.addScriptToEvaluateOnNewDocument", source=BLOCKS)
        start = time.monotonic()
        seen.open(page)
        seen.wait("document.readyState === 'complete' && document.querySelector('.chart svg')", timeout=300)
        usable = time.monotonic() - start
        seen.wait(DRAWN, timeout=600)
        drawn = time.monotonic() - start
        if seen.told:
            raise RuntimeError(f"{page}: the console says {seen.told}")
        spent = {one["name"]: one["value"] for one in seen.call("Performance.getMetrics")["metrics"]}
        block = seen.value("Math.max(0, ...window.blocks)") / 1000
    return {
        "usable_seconds": usable,
        "drawn_seconds": drawn,
        "page_cpu_seconds": spent["TaskDuration"],
        "longest_block_seconds": block,
    }


def measure(folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Write the runs if they are not there, build the page, open it."""
    if not (folder / "study.json").exists():
        write_study(folder, **sizes)
    begun, worked = time.monotonic(), time.process_time()
    report = publish.build(folder)
    found: dict[str, Any] = {
        **sizes, "runs": len(report.runs), "page_bytes": report.page.stat().st_size,
        "build_seconds": round(time.monotonic() - begun, 2),
        "build_cpu_seconds": round(time.process_time() - worked, 2), "load": os.getloadavg()[0],
    }  # fmt: skip
    if CHROMIUM is not None:
        times = [opened(report.page) for _ in range(3)]
        found |= {name: round(statistics.median(one[name] for one in times), 3) for name in times[0]}
    found["met"] = {name: found[name] < limit for name, limit in TARGETS.items() if name in found}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("runs", 200), ("updates", 500), ("tasks", 4), ("agents", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--keep", type=Path, help="write the study here and leave it; one that is there is used"
    )
    words = parser.parse_args()
    sizes = {"runs": words.runs, "updates": words.updates, "tasks": words.tasks, "agents": words.agents}
    if words.keep is not None:
        found = measure(words.keep, sizes)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder) / "study", sizes)
    print(json.dumps(found, indent=1))
    return 0 if all(found["met"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
