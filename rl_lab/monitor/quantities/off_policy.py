"""What an off-policy algorithm answers on a fixed set of states from its replay buffer, at the end of a stretch.

Its KL on those states, where its policy is stochastic, is probe_kl_mean and its kin.
"""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.quantities import given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update


def action_drift(u: "Update") -> float:
    """Root mean square change of the most likely action, over probe states and dimensions [0..1: shares of the range
    of the action]; missing for discrete actions."""
    drift = given(u.drift)
    moved = given(drift.new.actions) - given(drift.old.actions)
    return _rms(moved) / 2  # the actions are scaled to -1..1


def greedy_changed(u: "Update") -> float:
    """Share of the probe states in which the greedy action is another one than before [0..1], which is the total
    variation between the greedy policies; missing for continuous actions."""
    drift = given(u.drift)
    return float((given(drift.new.choices) != given(drift.old.choices)).mean())


def probe_entropy(u: "Update") -> float:
    """Mean over the probe states of the entropy of the Gaussian before its tanh [nats]; missing for a deterministic
    policy."""
    return float(given(given(u.drift).new.gaussian).entropy().mean())


def q_scale(u: "Update") -> float:
    """Root mean square over the probe states of the least critic's value of the policy's own action, of a DQN of the
    largest Q [units of return]."""
    return _rms(given(u.drift).new.values)


def _rms(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    return float(np.sqrt(np.mean(values**2)))
