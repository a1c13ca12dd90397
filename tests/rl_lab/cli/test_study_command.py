"""A study from the command line: what is finished stays finished, what dies is done again."""

import json
import os
import signal
import subprocess
import time

import pytest
from command import PROGRAM, document, environment, rl_lab

from rl_lab.monitor.record.run_directory import read_run

YAML = """
envs: [Pendulum-v1]
agents: [ppo, ppo-noclip]
seeds: 2
steps: {steps}
settings: {{n_envs: 4, n_steps: 64, n_epochs: 4, learning_rate: 3e-3}}
"""


def write(folder, steps=1024):
    path = folder / "little.yaml"
    path.write_text(YAML.format(steps=steps))
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
    assert [run.name for run in runs] == [
        f"Pendulum-v1-{a}-s{s}" for a in ("ppo-noclip", "ppo") for s in (0, 1)
    ]
    for path in runs:
        run = read_run(path)
        assert (run.status, len(run.updates), run.problems) == ("done", 4, [])
        assert list(path.glob("wandb/offline-run-*/*.wandb"))
    assert {"page", "overview", "arms", "findings", "runs"} <= set(result)
    assert (out / "report" / "index.html").exists()


def test_arms_are_paired_same_seed_same_first_rollout(done_study):
    """The first rollout is collected by the same initial policy in the same episodes; only then do arms differ."""
    _, out, _ = done_study
    for seed in (0, 1):
        first = [
            read_run(out / "runs" / f"Pendulum-v1-{agent}-s{seed}").updates[0]
            for agent in ("ppo", "ppo-noclip")
        ]
        assert first[0]["value_scale"] == first[1]["value_scale"]
        assert first[0]["kl_mean"] != first[1]["kl_mean"]


def test_the_random_policy_is_measured_once_and_shared(done_study):
    _, out, _ = done_study
    study = json.loads((out / "study.json").read_text())
    references = [read_run(path).manifest["random_return"] for path in (out / "runs").iterdir()]
    assert all(reference == study["random_returns"]["Pendulum-v1"] for reference in references)
    assert -1500 < references[0]["mean"] < -900


def test_a_finished_study_is_not_repeated(done_study):
    config, out, _ = done_study
    before = files(out / "runs")
    document(rl_lab("study", config, "--out", out, "--json"))
    assert files(out / "runs") == before


def test_another_study_in_the_same_directory_is_refused(done_study, tmp_path):
    _, out, _ = done_study
    before = files(out)
    done = rl_lab("study", write(tmp_path, steps=2048), "--out", out)
    assert done.returncode == 2
    assert "already holds another study (it differs in: envs)" in done.stderr
    assert files(out) == before


def test_a_foreign_directory_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    done = rl_lab("study", write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "holds no study" in done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_report_reads_truncated_and_empty_files(done_study, tmp_path):
    import shutil

    _, out, _ = done_study
    shutil.copytree(out / "runs", tmp_path / "runs")
    cut, empty, _, _ = sorted((tmp_path / "runs").iterdir())
    path = cut / "updates.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    (empty / "updates.jsonl").write_bytes(b"")
    result = document(rl_lab("report", tmp_path, "--json"))
    assert len(result["runs"]) == 4


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def start(config, out):
    return subprocess.Popen(
        [*PROGRAM, "study", str(config), "--out", str(out), "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def runs_of(out):
    return [read_run(path.parent) for path in sorted(out.glob("runs/*/manifest.json"))]


def process_of(run):
    return run.manifest["process"]["pid"]


def test_a_study_killed_with_kill_9_continues_where_it_stood(tmp_path):
    """The supervisor dies in mid-study: its workers stop, a second start repeats no finished run."""
    config, out = write(tmp_path, steps=20_000), tmp_path / "out"
    process = start(config, out)
    wait_for(lambda: len(runs_of(out)) >= 3 and any(run.status == "done" for run in runs_of(out)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = {run.path: files(run.path) for run in runs_of(out) if run.manifest["status"] == "done"}
    done = rl_lab("study", config, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert {run.status for run in runs_of(out)} == {"done"}
    assert len(runs_of(out)) == 4
    assert finished
    for path, content in finished.items():
        assert files(path) == content, "a finished run was touched"
    kept = [read_run(path) for path in (out / "attempts").iterdir()]
    assert kept, "the interrupted attempts are still there"
    assert all(run.updates or run.manifest for run in kept)


def test_one_worker_killed_does_not_take_the_others_and_is_done_again_next_time(tmp_path):
    config, out = write(tmp_path, steps=10_000), tmp_path / "out"
    process = start(config, out)
    wait_for(lambda: any(run.status == "running" and run.updates for run in runs_of(out)))
    victim = next(run for run in runs_of(out) if run.status == "running" and run.updates)
    os.kill(process_of(victim), signal.SIGKILL)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 3, stderr
    statuses = {run.path.name: run.status for run in runs_of(out)}
    assert statuses.pop(victim.path.name) == "failed"
    assert set(statuses.values()) == {"done"}
    assert len(statuses) == 3
    assert "killed by SIGKILL" in read_run(victim.path).manifest["reason"]
    assert document(rl_lab("study", config, "--out", out, "--json"))
    assert {run.status for run in runs_of(out)} == {"done"}


def test_ctrl_c_stops_every_worker_and_says_130(tmp_path):
    config, out = write(tmp_path, steps=10**7), tmp_path / "out"
    process = start(config, out)
    wait_for(lambda: sum(bool(run.updates) for run in runs_of(out)) == 2)
    second = rl_lab("study", config, "--out", out)
    assert second.returncode == 2
    assert "another rl-lab is working on this study" in second.stderr
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert {run.manifest["status"] for run in runs_of(out)} == {"interrupted"}
    for run in runs_of(out):
        with pytest.raises(ProcessLookupError):
            os.kill(process_of(run), 0)
