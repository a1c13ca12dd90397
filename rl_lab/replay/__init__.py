"""Counterfactual replay: the very same update again, under its own rule to the bit, and under others.

incident = read(Path("runs/mine/incidents/3-kl_spike"))
found = replay(incident, ["trpo", "spo"], episodes=20)
found.verdict.identical, found.document()["rules"]
"""

from rl_lab.replay.incident import Incident, find, read
from rl_lab.replay.replay import Replay, replay

__all__ = ["Incident", "Replay", "find", "read", "replay"]
