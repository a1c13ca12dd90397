"""What an update depends on besides the algorithm: generators and threads, set for a while and put back."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.incident_files import DOCUMENT, machine
from rl_lab.replay.incident import Incident, named_in_errors


@contextmanager
def world_of(incident: Incident, device: torch.device) -> Iterator[None]:
    """Generators and number of threads as they were when train() began."""
    threads = torch.get_num_threads()
    with generators_kept():
        with named_in_errors(incident.path / DOCUMENT):
            _set_generators(incident, device)
            torch.set_num_threads(threads_of(incident))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _set_generators(incident: Incident, device: torch.device) -> None:
    words = incident.document["generators"]
    python = incident.before["generator/python"].tolist()
    random.setstate((words["python"]["version"], tuple(python), words["python"]["gauss"]))
    of_numpy = incident.generator("numpy")
    if of_numpy is not None:
        np.random.set_state(of_numpy)
    torch.set_rng_state(incident.before["generator/torch"])
    if device.type == "cuda" and "generator/cuda" in incident.before:
        torch.cuda.set_rng_state(incident.before["generator/cuda"], device)


def threads_of(incident: Incident) -> int:
    """As many threads as then, but no more than this machine can run, and one at least."""
    return min(max(int(incident.document["machine"]["threads"]), 1), os.cpu_count() or 1)


def changed(incident: Incident, device: torch.device) -> list[str]:
    """What is different here from where the incident was recorded, one clause each."""
    then, now = dict(incident.document["machine"]), machine()
    now["threads"] = threads_of(incident)
    versions = provenance.versions()
    pairs = [(name, then.get(name), now[name]) for name in now if name != "gpu"]
    pairs += [
        (name, incident.document["versions"].get(name), versions.get(name))
        for name in ("torch", "stable-baselines3", "sb3-contrib", "numpy")
    ]
    pairs.append(("device", incident.algorithm["device"], str(device)))
    if device.type == "cuda":
        pairs.append(("gpu", then.get("gpu"), now["gpu"]))
    return [f"{name} was {was} and is {here}" for name, was, here in pairs if was != here]
