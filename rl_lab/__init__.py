"""rl-lab: a stability laboratory for reinforcement learning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_lab.monitor.callback import DivergenceMonitor

__version__ = "0.1.0"
__all__ = ["DivergenceMonitor", "__version__"]


def __getattr__(name: str) -> Any:
    """Load torch and stable-baselines3 only when the monitor is asked for, so `rl-lab --help` is quick."""
    if name == "DivergenceMonitor":
        from rl_lab.monitor.callback import DivergenceMonitor

        return DivergenceMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
