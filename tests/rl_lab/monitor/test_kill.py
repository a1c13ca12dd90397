"""kill -9 at any moment: what was announced is on disk, in our files at once, in W&B's after less than a second."""

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest
from wandb.proto import wandb_internal_pb2

from rl_lab.monitor.record.run_directory import read_run

SCRIPT = """
import os
import sys
import time
from pathlib import Path

import wandb

from rl_lab.monitor.event import Finding
from rl_lab.monitor.guards.alert import Alert
from rl_lab.monitor.observer import Observer
from rl_lab.monitor.measure.returns import EpisodeReturns

def announce(run, said, pause):
    print(os.getpid(), file=said, flush=True)
    observer = Observer(
        Path(run),
        {"env": {"id": "e"}, "agent": {"label": "a"}, "seed": 0, "steps": 0, "study": None},
        returns=EpisodeReturns(1),
        guards=[Alert(seconds=0)],
        wandb="offline",
        say=lambda text: None,
    )
    for number in range(10**9):
        # A new kind for every tenth event, so that there are alerts all the time.
        finding = Finding(event=f"kind_{number // 10}", value=float(number), threshold=None, message="m" * 40)
        for event in observer.announce([finding], 1):
            print(event.id, event.event, time.time(), file=said, flush=True)
        time.sleep(pause)

for order in sys.argv[1:]:
    if os.fork() == 0:  # a child each, because importing takes longer than all the rest
        run, pause = order.split(",")
        announce(run, open(run + ".said", "w"), float(pause))
for _ in sys.argv[1:]:
    os.wait()
"""
AFTER = [0.2, 1.5, 0.8]
"""Seconds from one death to the next, to which up to 0.4 come by chance."""
PAUSES = [0.005, 0.2, 0.005]
"""Seconds between two events: so many that blocks fill, and so few that only a clock makes W&B write: 32 KiB of
them are more than 4 s."""
BLOCK = 32768
FEWEST = 6
"""Events before the time to the death begins."""
SLACK = 1.0
"""Seconds before the death of which W&B's file need not know."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Run directories of processes that were killed, with what they had said and when they were killed."""
    folder = tmp_path_factory.mktemp("killed")
    runs = [folder / f"run-{i}" for i in range(len(AFTER))]
    orders = [f"{run},{pause}" for run, pause in zip(runs, PAUSES, strict=True)]
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, *orders])
    deaths, children = [], []
    try:
        for run, after in zip(runs, AFTER, strict=True):
            said = run.with_suffix(".said")
            deadline = time.monotonic() + 120
            while not (said.exists() and len(lines(said)) >= FEWEST) and parent.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            children.append(int(said.read_text().split("\n")[0]))
            time.sleep(after + random.uniform(0, 0.4))
            deaths.append(time.time())
            os.kill(children[-1], signal.SIGKILL)
        assert parent.wait(60) == 0, "each of them was still at work"
    finally:
        parent.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    return [(run, lines(run.with_suffix(".said")), death) for run, death in zip(runs, deaths, strict=True)]


def lines(path):
    """(id, event, time) of every whole line but the first, which is the process."""
    found = [line.split() for line in path.read_text().split("\n")[1:-1]]
    return [(int(number), name, float(at)) for number, name, at in found]


def records(path):
    """The records of a .wandb file up to its torn end.

    LevelDB's log format: blocks of 32 KiB, each piece of a record with its checksum.
    """
    data = path.read_bytes()
    assert struct.unpack("<4sHB", data[:7]) == (b":W&B", 0xBEE1, 0)
    at, parts = 7, []
    while True:
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        if len(data) - at < 7:
            return
        checksum, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part = data[at + 7 : at + 7 + size]
        if len(part) < size or kind == 0:
            return
        assert zlib.crc32(part, zlib.crc32(data[at + 6 : at + 7])) == checksum
        at += 7 + size
        parts.append(part)
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []


def in_wandb(run):
    """Ids of the events and titles of the alerts in the run's .wandb file."""
    (path,) = run.glob("wandb/offline-run-*/*.wandb")
    ids, alerts = set(), []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if "event/id" in items:
                ids.add(int(items["event/id"]))
        elif record.WhichOneof("record_type") == "alert":
            alerts.append(record.alert.title)
    return ids, alerts


def test_every_event_that_was_announced_at_all_is_in_our_file(killed):
    for run, said, _ in killed:
        assert len(said) >= FEWEST
        found = read_run(run)
        ids = [event["id"] for event in found.events]
        assert ids == list(range(1, len(ids) + 1)), "none is missing in between"
        assert {number for number, _, _ in said} <= set(ids)
        assert len(ids) - said[-1][0] <= 3, "nothing is there that nobody has announced"
        assert found.status == "interrupted"
        assert len([problem for problem in found.problems if "events.jsonl" in problem]) <= 1


def test_every_event_and_alert_before_the_last_second_is_in_wandbs_file(killed):
    checked = 0
    for run, said, death in killed:
        ids, alerts = in_wandb(run)
        old = [(number, name) for number, name, at in said if at < death - SLACK]
        assert [number for number, _ in old if number not in ids] == []
        assert {name for _, name in old} <= set(alerts)
        checked += len(old)
    assert checked > 30, "the processes lived too short to show anything"
