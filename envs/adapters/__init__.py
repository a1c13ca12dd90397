"""Other people's catalogues, mended and posed as tasks of this room; docs/adapters.md says what is changed."""

from envs.adapters import controlgym, dysts
from envs.system import System


def ids() -> list[str]:
    """Gymnasium ids of all adapted tasks, installed or not: make() names the command that installs one."""
    return [*dysts.ids(), *controlgym.ids()]


def system_class(env_id: str) -> type[System] | None:
    """The system behind an adapted id or None; ModuleNotFoundError if its package is not installed."""
    by_id = dict(zip(dysts.ids(), dysts.names(), strict=True))
    return dysts.system(by_id[env_id]) if env_id in by_id else None
