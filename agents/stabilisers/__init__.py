"""What holds training steady besides the rule: switches that every rule in the host has.

A module per thing that is steadied, each with its settings as a frozen dataclass and its components as pure
functions or torch modules. All default to what stable-baselines3 does.
"""

from dataclasses import dataclass

from agents.stabilisers.entropy import EntropySettings
from agents.stabilisers.gradient import GradientSettings
from agents.stabilisers.smoothness import SmoothnessSettings
from agents.stabilisers.value import ValueSettings


@dataclass(frozen=True, kw_only=True)
class Stabilisers(GradientSettings, ValueSettings, EntropySettings, SmoothnessSettings):
    """The switches that act inside an update; those of the network and of the rollout are the host's."""
