"""The monitor: what did this update do? measure -> detect -> record."""

from typing import TYPE_CHECKING, Any

from rl_lab.monitor.event import Event

if TYPE_CHECKING:
    from rl_lab.monitor.callback import DivergenceMonitor

__all__ = ["DivergenceMonitor", "Event"]


def __getattr__(name: str) -> Any:
    """Load torch and stable-baselines3 only when the callback is asked for: readers of runs need neither."""
    if name == "DivergenceMonitor":
        from rl_lab.monitor.callback import DivergenceMonitor

        return DivergenceMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
