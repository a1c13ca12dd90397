"""What a run was made with: settings, versions, git revision, process."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
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


@cache
def versions() -> Mapping[str, str]:
    """Versions of what the numbers depend on; read once, because files of every package are."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str = "cpu") -> dict[str, Any]:
    """What decides the last bits of the same computation beside versions: system, instructions, threads, device.

    No name of a host or user is in it.
    """
    import torch  # here, because readers of runs need it not

    found: dict[str, Any] = {
        "platform": platform.platform(),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # AVX512, AVX2, ...: they decide torch's kernels
        "torch_threads": torch.get_num_threads(),
        "device": device,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }
    if device.startswith("cuda"):
        found["device_name"] = torch.cuda.get_device_name(device)
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
    rule = getattr(model, "rule", None)
    return {
        "env": environment_of(model),
        "agent": agent_of(model) if rule is None else agent_of_rule(model, rule),
        "seed": model.seed,
        "machine": machine(str(model.device)),
    }


def agent_of(model: Any) -> dict[str, Any]:
    """The algorithm by its class, and its hyperparameters."""
    name = type(model).__name__
    return {"name": name, "label": name.lower(), "settings": settings_of(model), "trust_region": None}


def agent_of_rule(model: Any, rule: Any) -> dict[str, Any]:
    """An algorithm that is told how to update by a `rule`: which one, and all settings of it and of its host.

    A rule that is one file in a package `rules` goes by the name of the file, with dashes: ppo_noclip.py is
    ppo-noclip. Settings of the parts override those that the model itself only carries for its parent class.
    """
    kind = type(rule)
    package, _, file = kind.__module__.rpartition(".")
    name = file.replace("_", "-") if package.rpartition(".")[2] == "rules" else kind.__name__
    data = {key: getattr(model, key, None) for key in ("n_envs", "n_steps", "gamma", "gae_lambda")}
    parts = (getattr(model, "stabilisers", None), getattr(model.policy, "network", None))
    settings = {
        **_fields_of(parts[0]),
        **_fields_of(parts[1]),
        **data,
        "device": str(model.device),
        **_fields_of(rule),
    }
    return {
        "name": name,
        "label": name.lower(),
        "settings": settings,
        "trust_region": getattr(kind, "trust_region", None),
        "rule": f"{kind.__module__}.{kind.__qualname__}",
    }


def _fields_of(part: Any) -> dict[str, Any]:
    """The fields of a dataclass that hold plain values or sequences of them; empty for anything else."""
    if not is_dataclass(part):
        return {}
    found = {field.name: getattr(part, field.name) for field in fields(part) if field.init}
    plain = (bool, int, float, str, type(None))
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if isinstance(value, plain)
        or (isinstance(value, tuple | list) and all(isinstance(item, plain) for item in value))
    }
