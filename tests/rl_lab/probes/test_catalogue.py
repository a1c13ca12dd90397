"""Every published spectrum, measured again: within 3 standard errors of both, allowing for the number of exponents."""

import os

import pytest

from rl_lab.report import exponents

PATIENCE = float(os.environ.get("RL_LAB_PATIENCE", "1"))
JOBS = exponents.jobs("chaos", (), 0.15 * PATIENCE)


LONG = ("SpiralWaves", "NineModeShear", "Sabra")
ROWS = [
    pytest.param(job, marks=pytest.mark.nightly if job.name in LONG else pytest.mark.slow) for job in JOBS
]


@pytest.mark.parametrize("job", ROWS, ids=[f"{job.name}-{dict(job.at)}" for job in JOBS])
def test_the_published_spectrum_is_found_again(job):
    row = exponents.measure(job)
    assert row.verdict == exponents.AGREES, (
        row.exponents,
        row.stderr,
        row.reference,
        row.deviations,
        row.note,
    )
