"""The table of the catalogue: every published row is there, verdicts are fair, only our own files are replaced."""

from math import erf, sqrt

import numpy as np
import pytest

import envs
from rl_lab.errors import UserError
from rl_lab.report import exponents
from rl_lab.report.exponents import (
    AGREES,
    CHANCE,
    DIFFERS,
    UNKNOWN,
    Job,
    document,
    jobs,
    limit,
    markdown,
    measure,
)


def test_there_is_a_row_for_every_published_set_of_parameters():
    todo = jobs("chaos", [], 1.0)
    for name, cls in envs.systems().items():
        rows = [job for job in todo if job.name == name]
        known = [r for r in (cls.reference, *cls.other_references) if r]
        assert len(rows) == max(1, len(known))
        assert all(job.system.published is not None for job in rows if known)


def test_a_name_or_an_id_chooses_and_a_wrong_one_is_told():
    assert [job.name for job in jobs("chaos", ["chaos/Henon-v0"], 1.0)] == ["Henon"]
    with pytest.raises(UserError, match=r"--only Henn: there is no such system\. Did you mean Henon\?"):
        jobs("chaos", ["Henn"], 1.0)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_right_row_is_called_wrong_as_often_as_stated_however_many_exponents_it_has(count):
    """Of many right rows, the share whose farthest of k independent normal deviations exceeds the limit."""
    farthest = np.abs(np.random.default_rng(0).normal(size=(200_000, count))).max(axis=1)
    wrong = float(np.mean(farthest > limit(count)))
    assert wrong == pytest.approx(CHANCE, abs=5 * sqrt(CHANCE / 200_000))
    assert limit(1) == pytest.approx(3.0, abs=1e-3)
    assert 1 - erf(limit(1) / sqrt(2)) == pytest.approx(CHANCE)


def test_henons_row_agrees_and_a_reference_that_is_off_differs(monkeypatch):
    job = Job("chaos", "Henon", {}, 0.02)
    row = measure(job)
    assert row.verdict == AGREES
    assert len(row.deviations) == 2
    assert row.kaplan_yorke == pytest.approx(1.258, abs=0.01)
    wrong = envs.Reference((0.5, -1.7), stderr=1e-5, source="nobody")
    monkeypatch.setattr(envs.systems()["Henon"], "reference", wrong)
    assert measure(job).verdict == DIFFERS
    monkeypatch.setattr(envs.systems()["Henon"], "reference", None)
    bare = measure(job)
    assert (bare.verdict, bare.deviations, bare.farthest) == (UNKNOWN, None, None)


def test_what_cannot_be_measured_is_a_row_that_says_why():
    row = measure(Job("chaos", "Henon", {"a": 3.0}, 0.02))
    assert row.verdict.startswith("failed: ")
    assert "runs away" in row.verdict
    assert "| Henon |" in markdown([row], exponents.COMMAND)


def test_as_many_exponents_are_measured_as_are_published(monkeypatch):
    short = envs.Reference((0.41929,), stderr=1e-4, source="one of two")
    monkeypatch.setattr(envs.systems()["Henon"], "reference", short)
    row = measure(Job("chaos", "Henon", {}, 0.02))
    assert len(row.exponents) == len(row.deviations) == 1
    assert row.kaplan_yorke is None, "one positive exponent says nothing about the dimension"


def test_the_page_names_its_command_and_has_a_line_for_each_row():
    row = measure(Job("chaos", "Henon", {}, 0.02))
    page = markdown([row, row], exponents.COMMAND)
    assert page.startswith(f"<!-- Written by `{exponents.COMMAND}`")
    assert page.count("\n| Henon | default | 0.4") == 2
    assert document([row], exponents.COMMAND)["written_by"] == exponents.COMMAND


def test_only_files_that_we_wrote_are_replaced(tmp_path):
    page = tmp_path / "exponents.md"
    exponents.write(page, f"<!-- Written by `{exponents.COMMAND}` -->\nold")
    exponents.write(page, f"<!-- Written by `{exponents.COMMAND}` -->\nnew")
    assert page.read_text().endswith("new")
    page.write_text("# My notes")
    with pytest.raises(UserError, match="was not written by"):
        exponents.write(page, "new")
    assert page.read_text() == "# My notes"
    assert [p.name for p in tmp_path.iterdir()] == ["exponents.md"], "no half-written file is left"
