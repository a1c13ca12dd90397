"""The table of what every rule reached: its columns, its readings, where it comes from."""

import json
import math
import sys
from types import SimpleNamespace

import pytest

from rl_lab.cli import main, work
from rl_lab.cli.told import print_report
from rl_lab.report import learning_table
from rl_lab.report.contrasts import BIAS, Pair
from rl_lab.report.learning import TERMS, learned, reading
from rl_lab.report.publish import gather
from rl_lab.report.statistics import Interval
from rl_lab.study.settings import fields_of

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
    assert rows["ppo"] == ["Pendulum-v1", "ppo", "3", "60,000", "−200 [−210, −190]", "−1,250 ± 1.5", "a hint"]
    assert rows["trpo"][-1] == "not shown", "its best seed is above the random policy, its worst far below"
    assert rows["ppo-noclip"][-1] == "not shown"
    assert "Pendulum-v1, ppo-noclip: 1 diverged run entered with the return of the random policy" in text


def test_differences_are_read_with_their_intervals(folder):
    text = learning_table(gather(folder), COMMAND)
    rows = table(text, "task | contrast")
    assert rows[0] == ["Pendulum-v1", "stock", "–", "ppo − twin", "3", "0 [0, 0]", "identical"]
    assert rows[1][1:4] == ["other", "–", "trpo − ppo"]
    assert rows[1][6] == "a hint: trpo may be worse"
    assert "with 3 paired seeds" in text
    assert (
        "one comes out wholly on one side of 0 in about 49 % of cases with 2 seeds, 26 % of cases with 3"
        in text
    )


def test_several_pairs_have_their_largest_difference_and_what_it_is_worth(folder):
    record = json.loads((folder / "study.json").read_text())
    named = {"both": [["ppo", "twin"], ["trpo", "ppo"]]}
    (folder / "study.json").write_text(json.dumps({**record, "contrasts": named}))
    text = learning_table(gather(folder), COMMAND)
    first, second = table(text, "task | contrast")
    assert first[1] == "both"
    assert first[2].startswith("1,130 [")
    assert first[2].endswith("] (3 seeds)")
    assert second[1:4] == ["both", "", "trpo − ppo"]
    assert f"* {BIAS}." in text


def test_what_cannot_be_compared_yet_is_said(folder):
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**record, "contrasts": {"stock": [["ppo", "ppo-sb3"]]}}))
    text = learning_table(gather(folder), COMMAND)
    assert "* not yet: no run of ppo-sb3 in Pendulum-v1 has ended." in text
    assert "| task | contrast" not in text


def test_the_note_says_what_a_diverged_run_enters_with(folder):
    text = learning_table(gather(folder), COMMAND)
    assert "the return of the random policy, or with its own last return where that is lower" in text


def test_a_reader_sees_on_which_terms_the_arms_were_compared(run_writer, tmp_path):
    """Of an agent that is not ours no setting is known to be a default."""
    common = {"n_envs": 3, "gamma": fields_of("ppo")["gamma"].default}
    wide = {**common, "batch_size": 77, "clip_range": fields_of("ppo")["clip_range"].default}
    agents = [
        ("ppo", "ppo", wide),
        ("wide", "ppo", {**wide, "clip_range": 0.9}),
        ("theirs", "theirs", {**common, "x": 1}),
    ]
    for seed, (label, name, settings) in enumerate(agents):
        record = {"name": name, "label": label, "trust_region": None, "settings": settings}
        run_writer(tmp_path / "runs", env="Pendulum-v1", agent=label, seed=seed, agent_record=record)
    slow = {"name": "ppo", "label": "ppo", "trust_region": None, "settings": {**wide, "batch_size": 7}}
    run_writer(tmp_path / "runs", env="chaos/Lorenz-v0", agent="ppo", agent_record=slow)
    lines = learning_table(gather(tmp_path), COMMAND).split(TERMS)[1].strip().split("\n")
    assert lines == [
        "* every arm: n_envs=3.",
        "* every arm in chaos/Lorenz-v0: batch_size=7.",
        "* ppo: nothing else (in chaos/Lorenz-v0).",
        "* ppo: batch_size=77 (in Pendulum-v1).",
        "* theirs: x=1.",
        "* wide (ppo): batch_size=77, clip_range=0.9.",
    ]


def test_no_text_breaks_a_row(run_writer, tmp_path):
    record = {"name": "a|b", "label": "a|b\nc", "trust_region": None, "settings": {"x": "y\nz"}}
    run_writer(tmp_path / "runs", env="Pendulum-v1", agent="ppo", agent_record=record, return_final=-1.0)
    text = learning_table(gather(tmp_path), COMMAND)
    assert "| Pendulum-v1 | a\\|b c |" in text
    assert "\nc" not in text
    assert "\nz" not in text


def test_the_header_says_commands_machine_versions_and_dates(folder):
    head = learning_table(gather(folder), COMMAND).split("| task")[0]
    for words in (
        f"written by `{COMMAND}`", "`rl-lab study configs/learning.yaml`", "a machine with 3 cores",
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
    assert work.report([folder], markdown=markdown, as_json=True) == 0
    assert markdown.read_text() == learning_table(
        gather(folder), f"rl-lab report {folder} --markdown {markdown}"
    )
    stock, other = json.loads(capsys.readouterr().out)["contrasts"]
    assert [stock["pairs"][0][key] for key in ("first", "second", "interval")] == ["ppo", "twin", [0.0, 0.0]]
    assert other["pairs"][0]["difference"] < -1000


def test_the_report_command_writes_its_own_table_again_and_nothing_else(folder, capsys):
    markdown = folder / "learning.md"
    assert work.report([folder], markdown=markdown, as_json=True) == 0
    first = markdown.read_text()
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**record, "name": "another"}))
    link = folder / "link.md"
    link.symlink_to(markdown)
    assert work.report([folder], markdown=link, as_json=True) == 0
    assert link.is_symlink()
    assert markdown.read_text() != first
    assert sorted(path.name for path in folder.iterdir()) == [
        "learning.md",
        "link.md",
        "report",
        "runs",
        "study.json",
    ]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("study.json", "is a file that this command did not write; nothing was changed"),
        ("empty.md", "is a file that this command did not write; nothing was changed"),
        ("exponents.md", "is a file that this command did not write; nothing was changed"),
        ("/dev/null", "is a file that this command did not write; nothing was changed"),
        ("study.json/table.md", "study.json is a file, so nothing can lie in it"),
        ("runs", "is a directory; name a file"),
        ("", "is a directory; name a file"),
        ("x" * 300, "cannot be used (File name too long)"),
    ],
)
def test_a_table_never_takes_the_place_of_another_file(folder, monkeypatch, capsys, place, words):
    """One sentence and exit code 2, before the report is built."""
    monkeypatch.chdir(folder)
    (folder / "empty.md").touch()
    (folder / "exponents.md").write_text(
        "<!-- Written by `rl-lab probe lyapunov --all`. Do not edit: run it again. -->"
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", ["rl-lab", "report", str(folder), "--markdown", place])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_contrasts_are_printed(folder, capsys):
    print_report(SimpleNamespace(**vars(gather(folder)), page="p", overview="o"), folder, as_json=False)
    printed = capsys.readouterr().out
    assert "trpo − ppo" in printed
    assert "with 3 paired seeds" in printed


@pytest.mark.parametrize(
    ("n", "interval", "words"),
    [
        (6, Interval(-3, -1), "ppo is worse"),
        (6, Interval(1, 3), "ppo is better"),
        (5, Interval(-3, -1), "a hint: ppo may be worse"),
        (2, Interval(1, 3), "a hint: ppo may be better"),
        (6, Interval(-1, 1), "no difference shown"),
        (6, Interval(0, 1), "no difference shown"),
        (1, None, "unknown: a single seed"),
    ],
)
def test_readings(n, interval, words):
    assert reading(Pair("ppo", "trpo", tuple(range(n)), 0.0, interval)) == words


def test_equal_returns_are_identical_also_in_a_single_seed():
    assert reading(Pair("ppo", "trpo", (0,), 0.0, None, identical=True)) == "identical"


@pytest.mark.parametrize(
    ("interval", "random", "stderr", "runs", "word"),
    [
        (Interval(2, 3), 1.0, 0.4, 4, "yes"),
        (Interval(2, 3), 1.0, 0.6, 4, "not shown"),
        (Interval(2, 3), 1.0, 0.4, 3, "a hint"),
        (Interval(1, 3), 1.0, 0.0, 4, "not shown"),
        (Interval(0, 1), 1.0, 0.4, 4, "no"),
        (Interval(0, 1), 1.0, 0.4, 3, "not shown"),
        (None, 1.0, 0.4, 4, "unknown"),
        (Interval(2, 3), None, None, 4, "unknown"),
        (Interval(2, 3), 1.0, None, 4, "unknown"),
    ],
)
def test_an_agent_has_learned_if_the_interval_is_above_random_by_two_standard_errors(
    interval, random, stderr, runs, word
):
    arm = SimpleNamespace(
        final_return_interval=interval,
        random_return=random,
        random_stderr=stderr,
        final_returns=(2.5,) * runs,
    )
    assert learned(arm) == word
