"""`rl-lab report A B`: arms that say where they come from, the same agents compared, and nothing mixed up."""

import json
import sys

import numpy as np
import pytest

from rl_lab.cli import main
from rl_lab.errors import UserError
from rl_lab.report.look import dashes
from rl_lab.report.outcomes import outcomes_of, risk_table, survival_table
from rl_lab.report.publish import gather
from rl_lab.report.studies import read_studies


def study(run_writer, root, name, gain, agents=("ppo", "trpo"), seeds=4):
    for agent in agents:
        for seed in range(seeds):
            rows = [
                {
                    "update": n,
                    "env_steps": 100 * n,
                    "kl_mean": 0.02,
                    "kl_max": 0.1,
                    "return_smooth": gain + seed + n,
                }
                for n in (1, 2, 3)
            ]
            run_writer(root / "runs", agent=agent, seed=seed, updates=rows)
    (root / "study.json").write_text(
        json.dumps({"name": name, "hash": name * 4, "runs": 8, "config": {"steps": 300}})
    )
    return root


@pytest.fixture
def two(run_writer, tmp_path):
    return [
        study(run_writer, tmp_path / "a", "old", -90.0),
        study(run_writer, tmp_path / "b", "new", -60.0, ("ppo", "spo")),
    ]


def test_arms_are_named_after_their_study_and_the_same_agents_are_paired_by_seed(two):
    content = gather(two)
    assert content.title == "old and new"
    assert {arm.agent for arm in content.arms} == {"old: ppo", "old: trpo", "new: ppo", "new: spo"}
    (contrast,) = content.contrasts
    (pair,) = contrast.pairs
    assert (pair.first, pair.second, pair.seeds) == ("old: ppo", "new: ppo", (0, 1, 2, 3))
    assert pair.difference == pytest.approx(-30.0)
    assert content.outcomes.pairs == (("old: ppo", "new: ppo"),)
    assert [*content.study["studies"]] == ["old", "new"]


def test_an_agent_keeps_its_colour_and_a_study_has_its_stroke(two):
    colours = read_studies(two).colours
    assert colours["old: ppo"] == colours["new: ppo"]
    assert len({colours["old: ppo"], colours["old: trpo"], colours["new: spo"]}) == 3
    assert dashes(colours)["old: ppo"] != dashes(colours)["new: ppo"]


def test_runs_of_one_seed_in_two_studies_do_not_replace_each_other(two):
    assert not any(one.repeat for one in read_studies(two).found)


def test_studies_of_one_name_are_told_apart_by_their_directories(run_writer, tmp_path):
    places = [study(run_writer, tmp_path / name, "same", -90.0, ("ppo",), 1) for name in ("x", "y")]
    assert [*read_studies(places).study["studies"]] == ["x", "y"]


def test_a_study_given_twice_is_one_clear_sentence(two):
    with pytest.raises(UserError, match=r"a is given twice; name each study once"):
        gather([two[0], two[1], two[0]])


def test_tables_say_how_many_runs_live_and_in_what_unit_risk_is_told(two):
    content = gather(two)
    survived = survival_table(content.outcomes)
    assert survived.rows[0][2:4] == ["4", "0"]
    assert survived.rows[0][5] == "more than half at the end"
    told = {row[1]: row for row in risk_table(content.outcomes).rows}
    assert told["old: ppo"][3] == "widths", "the random policy's return is in the manifests"
    assert told["old: ppo"][7].startswith("0 "), "a curve that only rises has no drawdown"


def test_without_contrasts_the_bare_are_compared_with_the_bounded(run_writer, tmp_path):
    root = study(run_writer, tmp_path / "c", "c", -90.0, ("ppo", "ppo-noclip"))
    content = gather(root)
    assert content.outcomes.pairs == (("ppo", "ppo-noclip"),)
    asked = outcomes_of(
        content.runs, content.arms, {"contrasts": {"x": [["ppo-noclip", "ppo"]]}}, np.random.default_rng(0)
    )
    assert asked.pairs == (("ppo-noclip", "ppo"),)


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes longer than all the rest, and other tests do it."""
    monkeypatch.setattr("rl_lab.report.publish.png", lambda drawing: b"")
    monkeypatch.setattr("rl_lab.report.page.frame.bundle", lambda: "")


def test_the_command_compares_and_touches_neither_study(two, undrawn, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["rl-lab", "report", *map(str, two), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert told["page"] == "runs/old-and-new/index.html"
    page = (tmp_path / told["page"]).read_text(encoding="utf-8")
    for words in ("old: ppo − new: ppo", "old (oldoldoldold); new (newnewnewnew)", "<h1>old and new</h1>"):
        assert words in page
    assert [
        p for p in sorted(tmp_path.rglob("*")) if p not in before and "runs/old-and-new" not in str(p)
    ] == [tmp_path / "runs"]


def test_the_command_refuses_a_study_given_twice(two, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rl-lab", "report", str(two[0]), str(two[0])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "is given twice" in capsys.readouterr().err
