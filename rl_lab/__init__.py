"""rl-lab: a stability laboratory for reinforcement learning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_lab.monitor.callback import DivergenceMonitor
    from rl_lab.monitor.loop import LoopMonitor

__version__ = "0.1.0"
__all__ = ["DivergenceMonitor", "LoopMonitor", "__version__"]

_PLACES = {"DivergenceMonitor": "rl_lab.monitor.callback", "LoopMonitor": "rl_lab.monitor.loop"}


def __getattr__(name: str) -> Any:
    """Load torch and stable-baselines3 only when a monitor is asked for, so `rl-lab --help` is quick."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
