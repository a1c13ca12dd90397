"""Every example runs as it stands, only shorter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {
    "watch_my_own_run.py": ["--steps", "4096"],
    "compare_trust_regions.py": ["--steps", "4096", "--seeds", "1", "--out", "out"],
    "bring_your_own_environment.py": ["--steps", "4096", "--out", "out"],
    "plain_pytorch_loop.py": ["--steps", "4096", "--out", "out"],
    "why_did_the_kl_explode.py": ["--steps", "2048", "--out", "out"],
    "where_did_the_nan_come_from.py": ["--out", "out"],
    "which_update_differs.py": ["--steps", "2048", "--out", "out"],
}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)


LONG = ("compare_trust_regions.py",)
"""A whole study and its page: what `make quickstart` and the tests of the study do too."""


CHILDREN = """
import json, os, runpy, sys
import stable_baselines3, torch._dynamo, rl_lab

for order in sys.stdin:
    child = os.fork()
    if child == 0:
        folder, *sys.argv = json.loads(order)
        os.chdir(folder)
        said = os.open("said", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1), os.dup2(said, 2)
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def run():
    """Run a script in a folder, in a process of its own: its exit code and what it said.

    The processes are children of one that has imported what takes longer than the scripts.
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILDREN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "WANDB_MODE": "offline"},
    )

    def ran(folder, script, *words):
        print(json.dumps([str(folder), str(script), *words]), file=parent.stdin, flush=True)
        code = parent.stdout.readline()
        return int(code), (folder / "said").read_text()

    yield ran
    parent.communicate(timeout=60)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] if name in LONG else []) for name in SHORT]
)
def test_example(name, run, tmp_path):
    code, said = run(tmp_path, EXAMPLES / name, *SHORT[name])
    assert code == 0, said
    found = list(tmp_path.rglob("updates.jsonl"))
    assert len(found) == {"compare_trust_regions.py": 3, "which_update_differs.py": 2}.get(name, 1)
    assert all(path.read_text().count("\n") >= 2 for path in found), "at least two updates each"
