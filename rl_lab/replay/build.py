"""An incident's algorithm, built again as it was when its rollout was complete and train() had not begun."""

import inspect
from typing import Any

import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import ConstantSchedule
from torch import Tensor

from rl_lab.errors import UserError
from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.monitor.record.incident_files import BEFORE, DOCUMENT
from rl_lab.monitor.record.recipe import SCHEDULES, full_name
from rl_lab.replay import allowed
from rl_lab.replay.incident import Incident, named_in_errors
from rl_lab.study.checkout import room

OPTIMIZER = "policy.optimizer"


def rebuild(incident: Incident) -> Any:
    """The incident's own algorithm: same class, settings, networks, optimizer, memory, rollout.

    UserError: it is of a kind that cannot be built here, or its files do not fit together.
    """
    with named_in_errors(incident.path / DOCUMENT):
        return _rebuilt(incident)


def _rebuilt(incident: Incident) -> Any:
    written = incident.algorithm
    if written["class"] == allowed.RULE_ALGORITHM:
        rule = own_rule(incident)
        model = rule_algorithm(incident, rule, stabilisers_of(incident), policy_kwargs_of(incident))
    else:
        kind = stock_class(incident)
        model = _set_up(kind(
            allowed.policy_class(written["policy"]["class"]), None,
            policy_kwargs=policy_kwargs_of(incident), device=allowed.device(written["device"]),
            _init_setup_model=False, **_arguments(kind, written["settings"]),
        ), incident)  # fmt: skip
    _load_policy(model, incident)
    _load_optimizer(model, incident)
    if hasattr(model, "memory"):
        model.memory.update({k: v.to(model.device) for k, v in incident.part("memory").items()})
    return model


def rule_algorithm(incident: Incident, rule: Any, stabilisers: Any, policy_kwargs: dict[str, Any]) -> Any:
    """Our host with this rule, and the incident's networks and rollout; parameters are still those of its making."""
    room("agents")
    from agents.host import RuleAlgorithm

    written = incident.algorithm
    model = RuleAlgorithm(
        allowed.policy_class(written["policy"]["class"]), None, rule, stabilisers=stabilisers,  # type: ignore[arg-type]
        n_steps=written["settings"]["n_steps"], gamma=written["settings"]["gamma"],
        gae_lambda=written["settings"]["gae_lambda"], policy_kwargs=policy_kwargs,
        device=allowed.device(written["device"]), _init_setup_model=False,
    )  # fmt: skip
    _set_up(model, incident)
    state = minibatch_state(incident)
    if state is not None:
        model.minibatch_rng.set_state(state)
    return model


def stock_class(incident: Incident) -> Any:
    """The algorithm's class, or the one of stable-baselines3 or sb3-contrib that it derives from."""
    names = (incident.algorithm["class"], *incident.algorithm.get("parents", ()))
    found = next((allowed.ALGORITHMS[name] for name in names if name in allowed.ALGORITHMS), None)
    return found or allowed.looked_up(names[0], {}, "the algorithm")


def own_rule(incident: Incident) -> Any:
    """The rule that made the update. UserError: it is not among the checkout's agents/rules."""
    written = incident.algorithm["rule"]
    room("agents")
    from agents.discovery import find_rules

    known = {full_name(found.rule): found.rule for found in find_rules().values()}
    by_name = {kind.__qualname__: kind for kind in known.values()}
    name = written["!dataclass"]
    kind = known.get(name) or by_name.get(name.rpartition(".")[2])
    if kind is None:
        raise UserError(
            f"{incident.path}: its rule {name} is not in agents/rules/ of this checkout; put its file there"
        )
    with named_in_errors(incident.path / DOCUMENT):
        return kind(**allowed.fields(written))


def stabilisers_of(incident: Incident) -> Any:
    """The stabilisers of an algorithm of ours; None: it has none."""
    written = incident.algorithm.get("stabilisers")
    return None if written is None else allowed.value(written, "stabilisers")


def policy_kwargs_of(incident: Incident) -> dict[str, Any]:
    """The policy's keywords."""
    found: dict[str, Any] = allowed.value(incident.algorithm["policy"]["kwargs"], "policy_kwargs")
    return found


def minibatch_state(incident: Incident) -> tuple[Any, ...] | None:
    """State of the generator from which the update draws its minibatches; None: it was none that is known here."""
    own = incident.algorithm["class"] == allowed.RULE_ALGORITHM
    return incident.generator("minibatch" if own else "numpy")


def _set_up(model: Any, incident: Incident) -> Any:
    """What stable-baselines3 does when it has seen an environment, and the rollout."""
    written = incident.algorithm
    buffer_class = allowed.looked_up(written["buffer"]["class"], allowed.BUFFERS, "the rollout buffer")
    model.observation_space = allowed.space(written["observation_space"])
    model.action_space = allowed.space(written["action_space"])
    model.n_envs = written["n_envs"]
    with generators_kept():  # networks begin with random weights, and nobody else should notice
        model._setup_model()
    if type(model.rollout_buffer) is not buffer_class:
        raise UserError(f"{incident.path}: its rollout buffer is another one than this algorithm has")
    model._current_progress_remaining = float(written["progress_remaining"])
    model.set_logger(Logger(None, []))
    _fill(model.rollout_buffer, incident)
    return model


def _arguments(kind: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the constructor of this class takes."""
    taken = inspect.signature(kind.__init__).parameters
    found = {name: allowed.value(v, f"settings.{name}") for name, v in settings.items() if name in taken}
    # As schedules, because one that has fallen to 0 would be refused as a number.
    return {
        name: ConstantSchedule(v) if name in SCHEDULES and v is not None else v for name, v in found.items()
    }


def _fill(buffer: Any, incident: Incident) -> None:
    for name, array in incident.batch.items():
        whole, _, key = name.partition(".")
        empty = getattr(buffer, whole)[key] if key else getattr(buffer, whole)
        if empty.shape != array.shape:
            raise ValueError(f"batch.safetensors: {name} has shape {array.shape}, and not {empty.shape}")
        if key:
            getattr(buffer, whole)[key] = array
        else:
            setattr(buffer, whole, array)
    buffer.pos, buffer.full, buffer.generator_ready = buffer.buffer_size, True, False


def _load_policy(model: Any, incident: Incident) -> None:
    with named_in_errors(incident.path / BEFORE):
        model.policy.load_state_dict(incident.part("policy"))


def _load_optimizer(model: Any, incident: Incident) -> None:
    with named_in_errors(incident.path / BEFORE):
        model.policy.optimizer.load_state_dict(optimizer_state(incident))


def load_start(model: Any, incident: Incident) -> bool:
    """Put the incident's parameters into an algorithm with another rule; whether its optimizer's state fits too."""
    _load_policy(model, incident)
    same: bool = incident.document["optimizers"][OPTIMIZER]["class"] == full_name(
        type(model.policy.optimizer)
    )
    if same:
        _load_optimizer(model, incident)
    return same


def optimizer_state(incident: Incident) -> dict[str, Any]:
    """state_dict() of the policy's optimizer."""
    written = incident.document["optimizers"][OPTIMIZER]
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in written["entries"].items()}
    for name, tensor in incident.part(f"optimizer/{OPTIMIZER}").items():
        number, _, entry = name.partition("/")
        state.setdefault(int(number), {})[entry] = tensor.clone()  # the optimizer edits it in place
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in written["groups"]]
    return {"state": state, "param_groups": groups}


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Largest absolute difference of any number in two states of the same names; NaN equals NaN."""
    largest = 0.0
    for name, value in wanted.items():
        a, b = found[name].detach().cpu().double(), value.double()
        both = torch.isnan(a) & torch.isnan(b) | (a == b)
        apart = torch.where(both, torch.zeros_like(a), (a - b).abs())
        if apart.numel():
            largest = max(largest, float("inf") if apart.isnan().any() else float(apart.max()))
    return largest
