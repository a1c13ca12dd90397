"""The monitor: what did this update do? measure -> detect -> record -> act."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rl_lab.monitor.event import Event

if TYPE_CHECKING:
    from rl_lab.monitor.callback import DivergenceMonitor
    from rl_lab.monitor.loop import LoopMonitor

__all__ = ["DivergenceMonitor", "Event", "LoopMonitor"]

_PLACES = {"DivergenceMonitor": "rl_lab.monitor.callback", "LoopMonitor": "rl_lab.monitor.loop"}


def __getattr__(name: str) -> Any:
    """Load torch and stable-baselines3 only when a monitor is asked for: readers of runs need neither."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
