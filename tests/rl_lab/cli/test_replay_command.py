"""`rl-lab replay`: a table or one document, a page, exit codes."""

import json
import shutil

import pytest
from stable_baselines3 import PPO

from rl_lab import DivergenceMonitor


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two updates that go much too far, each with its incident."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    settings = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
    model = PPO("MlpPolicy", "Pendulum-v1", learning_rate=1.0, seed=1, device="cpu", **settings)
    model.learn(64, callback=DivergenceMonitor(out, random_return=-1200.0, say=lambda _: None, wandb=False))
    return out


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes longer than all the rest, and one test does it."""
    monkeypatch.setattr("rl_lab.report.replayed.png", lambda drawing: b"")
    monkeypatch.setattr("rl_lab.report.page.frame.bundle", lambda: "")


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_the_newest_incident_of_a_run_again_under_several_rules(run, say, tmp_path):
    before = names(run)
    out = tmp_path / "out"
    words = ("--rules", "trpo,ppo-noclip", "--evaluate", 2, "--out", out, "--json", "--strict")
    code, printed, said = say("replay", run, *words)
    document = json.loads(printed)
    assert code == 0, said
    assert document["identical"]
    assert [one["rule"] for one in document["rules"]] == ["ppo-sb3", "trpo", "ppo-noclip"]
    assert [one["original"] for one in document["rules"]] == [True, False, False]
    original, trpo, noclip = document["rules"]
    assert noclip["kl_mean"] > 1, "this case is too easy to test anything"
    assert original["kl_mean"] > 1 > 0.01 >= trpo["kl_mean"]
    assert all(
        one["return"]["low"] <= one["return"]["mean"] <= one["return"]["high"] for one in document["rules"]
    )
    assert document["before"]["ended"] == document["episodes"] == 2
    assert document["update"] == 2
    assert "is the newest of 2 incidents" in document["notes"][0]
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "replay.json", "replay.png"]
    assert json.loads((out / "replay.json").read_text())["rules"] == document["rules"]
    assert (out / "replay.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "index.html").read_text()
    assert page.count('class="chart"') == 4
    assert "bit-identical to what happened" in page
    assert names(run) == before, "something was written beside the incident"

    code, printed, said = say("replay", run, "--rules", "none", "--out", out)
    assert (code, printed) == (2, "")
    assert "holds index.html already; nothing was changed, choose another --out" in said


def test_people_are_shown_a_table_and_files_go_to_the_working_directory(
    run, say, tmp_path, monkeypatch, undrawn
):
    monkeypatch.chdir(tmp_path)
    incident = next(path for path in (run / "incidents").iterdir() if path.name.endswith("-kl_spike"))
    for place in ("", "-2"):
        code, printed, _ = say("replay", incident, "--rules", "none")
        assert code == 0
        assert "ppo-sb3 (original)" in printed
        assert "bit-identical to what happened" in printed
        assert (tmp_path / "replays" / f"mine-{incident.name}{place}" / "index.html").is_file()


def test_a_replay_that_is_not_identical_is_told_and_strict_about_it(run, say, tmp_path, undrawn):
    incident = next(iter((run / "incidents").iterdir()))
    copy = shutil.copytree(incident, tmp_path / incident.name)
    document = json.loads((copy / "incident.json").read_text())
    document["algorithm"]["settings"]["learning_rate"] = 0.5
    (copy / "incident.json").write_text(json.dumps(document))
    words = ("replay", copy, "--rules", "none", "--out")
    code, printed, _ = say(*words, tmp_path / "a")
    assert code == 0
    assert "NOT bit-identical to what happened: parameters differ by up to" in printed
    assert say(*words, tmp_path / "b", "--strict")[0] == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["RUN/nowhere"], "nowhere: there is no such incident"),
        (["a" * 5000], "aaa...: File name too long"),
        (["RUN/manifest.json"], "manifest.json is a file; name the run's directory"),
        (["RUN/checkpoints"], "no incident was recorded there"),
        (["RUN", "--rules", "trop"], "trop is not a rule; an update is done again under the rules"),
        (["RUN", "--rules", ","], "name rules separated by commas"),
        (["RUN", "--evaluate", "-1"], "Invalid value for '--evaluate'"),
        (["RUN", "--evaluate", "many"], "Invalid value for '--evaluate'"),
        (["RUN", "--env", "CartPole-v1"], "does not go without --evaluate"),
        (["RUN", "--evaluate", "2", "--env", "CartPole-v1"], "CartPole-v1 has the observation space"),
        (["RUN", "--out", "INCIDENT/replay"], "nothing is written inside an incident"),
        (["RUN", "--out", "RUN/manifest.json"], "manifest.json is a file; --out needs a directory"),
        ([], "Missing argument 'incident'"),
    ],
)
def test_wrong_input_is_one_sentence_and_writes_nothing(words, sentence, run, say, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    incident = next(iter((run / "incidents").iterdir()))
    filled = [word.replace("RUN", str(run)).replace("INCIDENT", str(incident)) for word in words]
    before = names(run)
    code, printed, said = say("replay", *filled)
    assert (code, printed) == (2, "")
    assert sentence in said
    assert "Traceback" not in said
    assert names(run) == before
    assert list(tmp_path.iterdir()) == []
