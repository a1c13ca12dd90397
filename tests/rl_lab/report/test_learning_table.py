"""The table of what every rule reached: its columns, its readings, where it comes from."""

import json
import math
from types import SimpleNamespace

import pytest

from rl_lab.cli import work
from rl_lab.cli.told import print_report
from rl_lab.report import learning_table
from rl_lab.report.contrasts import Pair
from rl_lab.report.learning import learned, reading
from rl_lab.report.publish import gather
from rl_lab.report.statistics import Interval

COMMAND = "rl-lab report runs/learning --markdown docs/learning.md"


@pytest.fixture
def folder(run_writer, tmp_path):
    """ppo learns, trpo does not, ppo-noclip diverged once; ppo and its twin are equal."""
    finals = {
        "ppo": [-200.0, -210.0, -190.0],
        "ppo-noclip": [-200.0, math.nan, -1300.0],
        "trpo": [-1240.0, -1260.0, -1500.0],
        "twin": [-200.0, -210.0, -190.0],
    }
    for agent, values in finals.items():
        for seed, value in enumerate(values):
            status = "done" if math.isfinite(value) else "diverged"
            run_writer(
                tmp_path / "runs",
                env="Pendulum-v1",
                agent=agent,
                seed=seed,
                status=status,
                return_final=value,
            )
    contrasts = {"stock": [["ppo", "twin"]], "other": [["trpo", "ppo"]]}
    record = {"name": "learning", "file": "configs/learning.yaml", "cores": 3, "contrasts": contrasts}
    (tmp_path / "study.json").write_text(json.dumps(record))
    return tmp_path


def table(text, heading):
    """Rows of cells of the first Markdown table whose header begins with these words."""
    lines = text.split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading}"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_every_arm_has_its_row(folder):
    text = learning_table(gather(folder), COMMAND)
    rows = {row[1]: row for row in table(text, "task | rule")}
    assert rows["ppo"] == ["Pendulum-v1", "ppo", "3", "60,000", "−200 [−210, −190]", "−1,250", "yes"]
    assert rows["trpo"][-1] == "not shown", "its best seed is above the random policy, its worst far below"
    assert rows["ppo-noclip"][-1] == "not shown"
    assert "Pendulum-v1, ppo-noclip: 1 diverged run entered with the return of the random policy" in text


def test_differences_are_read_with_their_intervals(folder):
    text = learning_table(gather(folder), COMMAND)
    rows = table(text, "task | difference")
    assert rows[0] == ["Pendulum-v1", "ppo − twin", "3", "0 [0, 0]", "equal in every seed"]
    assert rows[1][1] == "trpo − ppo"
    assert rows[1][4] == "trpo is worse"
    assert "with 3 paired seeds" in text


def test_the_header_says_commands_machine_versions_and_dates(folder):
    head = learning_table(gather(folder), COMMAND).split("| task")[0]
    for words in (
        f"Written by `{COMMAND}`", "`rl-lab study configs/learning.yaml`", "a machine with 3 cores",
        "torch 2.13.0", "runs ended 2026-11-22",
    ):  # fmt: skip
        assert words in head


def test_a_path_of_one_machine_stays_there(folder):
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**record, "file": "/somebody/secret/learning.yaml"}))
    text = learning_table(gather(folder), COMMAND)
    assert "secret" not in text
    assert "`rl-lab study learning.yaml`" in text


def test_the_report_command_writes_the_table_and_tells_the_contrasts(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    markdown = folder / "docs" / "learning.md"
    assert work.report(folder, markdown=markdown, as_json=True) == 0
    assert markdown.read_text() == learning_table(
        gather(folder), f"rl-lab report {folder} --markdown {markdown}"
    )
    stock, other = json.loads(capsys.readouterr().out)["contrasts"]
    assert stock["pairs"] == [{"first": "ppo", "second": "twin", "difference": 0.0, "interval": [0.0, 0.0]}]
    assert other["pairs"][0]["difference"] < -1000


def test_the_contrasts_are_printed(folder, capsys):
    print_report(SimpleNamespace(**vars(gather(folder)), page="p", overview="o"), folder, as_json=False)
    printed = capsys.readouterr().out
    assert "trpo − ppo" in printed
    assert "with 3 paired seeds" in printed


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(-3, -1), "ppo is worse"),
        (Interval(1, 3), "ppo is better"),
        (Interval(-1, 1), "no difference shown"),
        (Interval(0, 1), "no difference shown"),
        (Interval(0, 0), "equal in every seed"),
        (None, "unknown: a single seed"),
    ],
)
def test_readings(interval, words):
    assert reading(Pair("ppo", "trpo", 0.0, interval)) == words


@pytest.mark.parametrize(
    ("interval", "random", "word"),
    [
        (Interval(2, 3), 1.0, "yes"),
        (Interval(1, 3), 1.0, "not shown"),
        (Interval(0, 1), 1.0, "no"),
        (None, 1.0, "unknown"),
        (Interval(2, 3), None, "unknown"),
    ],
)
def test_an_agent_has_learned_if_the_whole_interval_says_so(interval, random, word):
    assert learned(SimpleNamespace(final_return_interval=interval, random_return=random)) == word
