"""What is on disk survives, and can be read whatever happened."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rl_lab.monitor.record.run_directory import (
    RunDirectoryError,
    RunWriter,
    decode,
    encode,
    process_identity,
    read_run,
)

MANIFEST = {"run_id": "r", "status": "running"}


def test_nonfinite_numbers_survive_json_and_the_file_is_strict_json(tmp_path):
    writer = RunWriter(tmp_path / "run", MANIFEST)
    writer.update({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5, "e": None})
    writer.close()
    text = (tmp_path / "run" / "updates.jsonl").read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    (row,) = read_run(tmp_path / "run").updates
    assert math.isnan(row["a"])
    assert (row["b"], row["c"], row["d"], row["e"]) == (math.inf, -math.inf, 1.5, None)


def test_encode_and_decode_are_inverse():
    value = {"x": [1, 2.5, None, True, "text"], "y": {"z": math.inf}}
    assert decode(encode(value)) == value


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_off_by_a_crash_costs_that_line_only(tmp_path, cut):
    writer = RunWriter(tmp_path / "run", MANIFEST)
    for update in (1, 2, 3):
        writer.update({"update": update, "kl_mean": 0.01})
    writer.close()
    path = tmp_path / "run" / "updates.jsonl"
    path.write_bytes(path.read_bytes()[: -cut - 1])
    run = read_run(tmp_path / "run")
    assert [row["update"] for row in run.updates] == [1, 2]
    assert "the last line was cut off" in run.problems[0]


def test_after_a_line_that_failed_the_next_one_begins_afresh(tmp_path):
    class Half:
        name = str(tmp_path / "run" / "updates.jsonl")

        def write(self, text):
            good.write(text[:9])
            raise OSError(28, "No space left on device")

    writer = RunWriter(tmp_path / "run", MANIFEST)
    good, writer._updates = writer._updates, Half()
    with pytest.raises(OSError, match="No space left"):
        writer.update({"update": 1})
    writer._updates = good
    writer.update({"update": 2})
    writer.update({"update": 3})
    writer.close()
    assert [row["update"] for row in read_run(tmp_path / "run").updates] == [2, 3]


def test_a_damaged_line_in_the_middle_is_named_and_left_out(tmp_path):
    writer = RunWriter(tmp_path / "run", MANIFEST)
    writer.close()
    (tmp_path / "run" / "updates.jsonl").write_bytes(b'{"update": 1}\n\x00\x00\xff\n[3]\n{"update": 4}\n')
    run = read_run(tmp_path / "run")
    assert [row["update"] for row in run.updates] == [1, 4]
    assert ["line 2" in run.problems[0], "line 3" in run.problems[1]] == [True, True]


def test_an_empty_directory_is_a_failed_run_with_problems_not_an_exception(tmp_path):
    run = read_run(tmp_path)
    assert (run.status, run.updates, run.events) == ("failed", [], [])
    assert len(run.problems) == 3


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_broken_manifest_is_said(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    assert "manifest.json" in read_run(tmp_path).problems[0]


def test_an_existing_run_is_never_overwritten(tmp_path):
    RunWriter(tmp_path / "run", MANIFEST).close()
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        RunWriter(tmp_path / "run", MANIFEST)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}


def test_a_manifest_is_not_there_or_is_whole(tmp_path, monkeypatch):
    """A board that looked at the wrong moment once showed a starting run as a failed one."""
    path, seen = tmp_path / "run" / "manifest.json", []
    sync = os.fsync

    def look(handle):
        seen.append(path.read_text() if path.exists() else None)
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    RunWriter(tmp_path / "run", MANIFEST).close()
    assert seen[0] is None
    assert {json.loads(text)["run_id"] for text in seen if text is not None} <= {"r"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["events.jsonl", "manifest.json", "updates.jsonl"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "a file system without links"])
def test_of_many_that_begin_at_once_one_gets_the_directory(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    gate = threading.Barrier(8)

    def begin(name):
        gate.wait()
        try:
            return RunWriter(tmp_path / "run", {**MANIFEST, "run_id": name})
        except RunDirectoryError:
            return None

    with ThreadPoolExecutor(8) as pool:
        writers = [writer for writer in pool.map(begin, map(str, range(8))) if writer is not None]
    assert len(writers) == 1
    assert read_run(tmp_path / "run").manifest["run_id"] == writers[0].manifest["run_id"]


def test_somebody_elses_files_are_not_mixed_with_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunDirectoryError, match="not empty"):
        RunWriter(tmp_path, MANIFEST)


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirectoryError, match="is a file"):
        RunWriter(tmp_path / "run", MANIFEST)
    with pytest.raises(RunDirectoryError, match="cannot write there"):
        RunWriter(tmp_path / "run" / "below", MANIFEST)


def test_a_running_manifest_of_a_dead_process_reads_as_interrupted(tmp_path):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        writer = RunWriter(tmp_path / "run", {**MANIFEST, "process": process_identity(sleeper.pid)})
        writer.close()
        assert read_run(tmp_path / "run").status == "running"
    finally:
        sleeper.kill()
        sleeper.wait()
    assert read_run(tmp_path / "run").status == "interrupted"


def test_a_recycled_pid_is_not_taken_for_the_old_process(tmp_path):
    mine = process_identity(os.getpid())
    RunWriter(tmp_path / "run", {**MANIFEST, "process": {**mine, "started": "1"}}).close()
    assert read_run(tmp_path / "run").status == "interrupted"


SCRIPT = """
import sys
from stable_baselines3 import PPO
from rl_lab import DivergenceMonitor
PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, n_epochs=1, device="cpu").learn(
    10**9, callback=DivergenceMonitor(sys.argv[1], random_return=20.0))
"""


def test_after_kill_9_every_finished_update_is_there(tmp_path):
    run_dir = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(run_dir)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(read_run(run_dir).updates) < 5:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = read_run(run_dir)
    assert len(run.updates) >= 5
    assert [row["update"] for row in run.updates] == list(range(1, len(run.updates) + 1))
    assert run.status == "interrupted"
    assert not [p for p in run.problems if "manifest" in p]
