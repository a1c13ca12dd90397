"""What an update depends on besides the algorithm: generators and threads, set for a while and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from rl_lab.monitor import provenance
from rl_lab.monitor.incident_files import machine
from rl_lab.replay.incident import Incident


@contextmanager
def generators_kept() -> Iterator[None]:
    """The global generators of Python, numpy and torch go on afterwards as if nothing had happened."""
    of_python, of_numpy = random.getstate(), np.random.get_state(legacy=False)
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


@contextmanager
def world_of(incident: Incident, device: torch.device) -> Iterator[None]:
    """Generators and number of threads as they were when train() began."""
    threads = torch.get_num_threads()
    with generators_kept():
        words = incident.document["generators"]
        python = incident.before["generator/python"].tolist()
        random.setstate((words["python"]["version"], tuple(python), words["python"]["gauss"]))
        of_numpy = incident.generator("numpy")
        if of_numpy is not None:
            np.random.set_state(of_numpy)
        torch.set_rng_state(incident.before["generator/torch"])
        if device.type == "cuda" and "generator/cuda" in incident.before:
            torch.cuda.set_rng_state(incident.before["generator/cuda"], device)
        torch.set_num_threads(int(incident.document["machine"]["threads"]))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def changed(incident: Incident, device: torch.device) -> list[str]:
    """What is different here from where the incident was recorded, one clause each."""
    then, now = dict(incident.document["machine"]), machine()
    now["threads"] = then.get("threads")  # replay takes as many
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
