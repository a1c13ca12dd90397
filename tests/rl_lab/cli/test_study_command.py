"""A study from the command line: what is finished stays finished, what dies is done again."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from command import PROGRAM, document, environment, rl_lab

from rl_lab.monitor.record.run_directory import read_run

YAML = """
envs: [Pendulum-v1]
agents: [{agents}]
seeds: {seeds}
steps: {steps}
settings: {{n_envs: 4, n_steps: 64, n_epochs: 2, learning_rate: 3e-3}}
"""


def write(folder, steps=1024, agents="ppo, ppo-noclip", seeds=1):
    path = folder / "little.yaml"
    path.write_text(YAML.format(steps=steps, agents=agents, seeds=seeds))
    return path


def files(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def done_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    config = write(folder)
    return config, folder / "out", document(rl_lab("study", config, "--out", folder / "out", "--json"))


def test_every_run_has_its_own_complete_directory(done_study):
    _, out, result = done_study
    runs = sorted((out / "runs").iterdir())
    assert [run.name for run in runs] == ["Pendulum-v1-ppo-noclip-s0", "Pendulum-v1-ppo-s0"]
    for path in runs:
        run = read_run(path)
        assert (run.status, len(run.updates), run.problems) == ("done", 4, [])
        assert list(path.glob("wandb/offline-run-*/*.wandb"))
    assert {"page", "overview", "arms", "findings", "runs"} <= set(result)
    assert (out / "report" / "index.html").exists()


def test_arms_are_paired_same_seed_same_first_rollout(done_study):
    """The first rollout is collected by the same initial policy in the same episodes; only then do arms differ."""
    _, out, _ = done_study
    first, second = (read_run(path).updates for path in (out / "runs").iterdir())
    assert first[0]["value_scale"] == second[0]["value_scale"]
    assert first[0]["kl_mean"] != second[0]["kl_mean"]
    assert first[1]["value_scale"] != second[1]["value_scale"]


def test_the_random_policy_is_measured_once_and_shared(done_study):
    _, out, _ = done_study
    study = json.loads((out / "study.json").read_text())
    references = [read_run(path).manifest["random_return"] for path in (out / "runs").iterdir()]
    assert all(reference == study["random_returns"]["Pendulum-v1"] for reference in references)
    assert -1500 < references[0]["mean"] < -900


def test_a_finished_study_is_not_repeated(done_study, say):
    config, out, _ = done_study
    before = files(out / "runs")
    code, printed, said = say("study", config, "--out", out, "--json")
    assert code == 0, said
    assert len(json.loads(printed)["runs"]) == 2
    assert files(out / "runs") == before


def test_another_study_in_the_same_directory_is_refused(done_study, say, tmp_path):
    _, out, _ = done_study
    before = files(out)
    code, _, said = say("study", write(tmp_path, steps=2048), "--out", out)
    assert code == 2
    assert "already holds another study (it differs in: envs)" in said
    assert files(out) == before


def test_a_foreign_directory_is_refused(say, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    code, _, said = say("study", write(tmp_path), "--out", tmp_path / "out")
    assert code == 2
    assert "holds no study" in said
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_report_reads_truncated_and_empty_files(done_study, say, tmp_path):
    _, out, _ = done_study
    runs = shutil.copytree(out / "runs", tmp_path / "runs")
    cut, empty = (shutil.copytree(run, runs / f"{run.name}-broken") for run in sorted(runs.iterdir()))
    path = cut / "updates.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    (empty / "updates.jsonl").write_bytes(b"")
    code, printed, said = say("report", tmp_path, "--json")
    assert code == 0, said
    assert len(json.loads(printed)["runs"]) == 4


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def start():
    """Start a study, without W&B, whose process costs more than these runs; it does not outlive the test."""
    begun = []

    def started(config, out, jobs):
        words = ["study", str(config), "--out", str(out), "--jobs", str(jobs), "--wandb", "off"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen([*PROGRAM, *words], **streams, env=environment()))
        return begun[-1]

    yield started
    for process in begun:
        process.kill()
        process.communicate()


def runs_of(out):
    return [read_run(path.parent) for path in sorted(out.glob("runs/*/manifest.json"))]


def at_work(out):
    """Runs that have something to lose."""
    return [run for run in runs_of(out) if run.status == "running" and run.updates]


def process_of(run):
    return run.manifest["process"]["pid"]


def test_a_study_killed_with_kill_9_continues_where_it_stood(start, say, tmp_path):
    """The supervisor dies in mid-study: its workers stop, a second start repeats no finished run."""
    config, out = write(tmp_path, steps=10_000, agents="ppo", seeds=2), tmp_path / "out"
    process = start(config, out, jobs=1)
    wait_for(lambda: at_work(out) and any(run.status == "done" for run in runs_of(out)))
    worker = process_of(at_work(out)[0])
    os.kill(worker, signal.SIGSTOP)  # or it might be done before the signal comes
    process.send_signal(signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    process.communicate()
    (finished,) = [run.path for run in runs_of(out) if run.manifest["status"] == "done"]
    before = files(finished)
    code, _, said = say("study", config, "--out", out, "--wandb", "off", "--json")
    assert code == 0, said
    assert [run.status for run in runs_of(out)] == ["done"] * 2
    assert files(finished) == before, "a finished run was touched"
    (kept,) = (read_run(path) for path in (out / "attempts").iterdir())
    assert kept.status == "interrupted", "the worker stopped before its run was done"
    assert kept.updates, "the interrupted attempt is still there"
    with pytest.raises(ProcessLookupError):
        os.kill(process_of(kept), 0)


def test_one_worker_killed_does_not_take_the_others_and_is_done_again_next_time(start, say, tmp_path):
    config, out = write(tmp_path, steps=5_000, agents="ppo", seeds=2), tmp_path / "out"
    process = start(config, out, jobs=2)
    wait_for(lambda: at_work(out))
    victim = at_work(out)[0]
    os.kill(process_of(victim), signal.SIGKILL)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 3, stderr
    statuses = {run.path.name: run.status for run in runs_of(out)}
    assert statuses.pop(victim.path.name) == "failed"
    assert list(statuses.values()) == ["done"]
    assert "killed by SIGKILL" in read_run(victim.path).manifest["reason"]
    code, _, said = say("study", config, "--out", out, "--wandb", "off", "--json")
    assert code == 0, said
    assert [run.status for run in runs_of(out)] == ["done"] * 2


def test_ctrl_c_stops_every_worker_and_says_130(start, say, tmp_path):
    config, out = write(tmp_path, steps=10**7), tmp_path / "out"
    process = start(config, out, jobs=2)
    wait_for(lambda: len(at_work(out)) == 2)
    code, _, said = say("study", config, "--out", out)
    assert code == 2
    assert "another rl-lab is working on this study" in said
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert {run.manifest["status"] for run in runs_of(out)} == {"interrupted"}
    for run in runs_of(out):
        with pytest.raises(ProcessLookupError):
            os.kill(process_of(run), 0)
