"""What a run was made with: settings, versions, git revision, process."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("rl-lab", "torch", "stable-baselines3", "sb3-contrib", "gymnasium", "numpy", "wandb")
SETTINGS = [
    "learning_rate",
    "n_steps",
    "batch_size",
    "n_epochs",
    "gamma",
    "gae_lambda",
    "clip_range",
    "clip_range_vf",
    "normalize_advantage",
    "ent_coef",
    "vf_coef",
    "max_grad_norm",
    "target_kl",
    "use_sde",
    "cg_max_steps",
    "cg_damping",
    "line_search_shrinking_factor",
    "line_search_max_iter",
    "n_critic_updates",
    "sub_sampling_factor",
    "use_rms_prop",
    "rms_prop_eps",
    "buffer_size",
    "learning_starts",
    "train_freq",
    "gradient_steps",
    "tau",
    "target_update_interval",
    "target_entropy",
    "policy_delay",
    "target_policy_noise",
    "target_noise_clip",
    "exploration_fraction",
    "exploration_initial_eps",
    "exploration_final_eps",
]
"""Hyperparameters read off a stable-baselines3 model: an allow-list, so that no object's repr gets in."""


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git() -> dict[str, Any] | None:
    """Revision of the repository one works in and whether it has uncommitted changes; None outside one."""

    def ask(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return {"revision": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def settings_of(model: Any) -> dict[str, Any]:
    """The model's hyperparameters as plain values; a schedule is given by its first value."""
    found: dict[str, Any] = {}
    for name in SETTINGS:
        value: Any = getattr(model, name, None)
        if callable(value):
            value = float(value(1.0))
        if hasattr(value, "frequency"):  # SB3's TrainFreq; importing it here would cost readers of runs
            value = f"{value.frequency} {value.unit.value}"
        if isinstance(value, bool | int | float | str):
            found[name] = value
    return found


def environment_of(model: Any) -> dict[str, Any]:
    """Id and settings of the environment as Gymnasium registered it, or its class name."""
    spec = spec_of(model)
    if spec is None:
        return {"id": type(model.get_env()).__name__ if model.get_env() else "unknown", "settings": {}}
    return {"id": spec.id, "settings": {k: v for k, v in spec.kwargs.items() if k != "render_mode"}}


def spec_of(model: Any) -> Any | None:
    """Gymnasium's spec of the first training environment, None if it has none."""
    try:
        return model.get_env().get_attr("spec")[0]
    except Exception:  # vector environments differ in what they raise for an attribute they lack
        return None


def plain_spec_of(model: Any) -> Any | None:
    """The spec without SB3's Monitor and without rendering; None if other wrappers were added by hand.

    Such wrappers may change the reward, and a reference measured without them would be on another scale.
    """
    spec = spec_of(model)
    if spec is None or any(wrapper.name != "Monitor" for wrapper in spec.additional_wrappers):
        return None
    kwargs = {key: value for key, value in spec.kwargs.items() if key != "render_mode"}
    return replace(spec, additional_wrappers=(), kwargs=kwargs)


def identity(model: Any) -> Mapping[str, Any]:
    """What the manifest says of a model that nobody described further."""
    name = type(model).__name__
    return {
        "env": environment_of(model),
        "agent": {"name": name, "label": name.lower(), "settings": settings_of(model), "trust_region": None},
        "seed": model.seed,
    }
