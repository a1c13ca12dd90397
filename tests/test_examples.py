"""Every example runs as it stands, only shorter."""

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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] if name in LONG else []) for name in SHORT]
)
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *SHORT[name]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "WANDB_MODE": "offline"},
    )
    assert done.returncode == 0, done.stderr
    found = list(tmp_path.rglob("updates.jsonl"))
    assert len(found) == {"compare_trust_regions.py": 3, "which_update_differs.py": 2}.get(name, 1)
    assert all(path.read_text().count("\n") >= 2 for path in found), "at least two updates each"
