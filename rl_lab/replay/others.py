"""The same update under another rule: same batch, minibatches, parameters and, where it fits, optimizer state."""

from dataclasses import fields
from typing import Any

from rl_lab.errors import UserError, did_you_mean
from rl_lab.monitor.record.incident_files import DOCUMENT
from rl_lab.monitor.record.recipe import full_name
from rl_lab.replay import allowed
from rl_lab.replay.build import (
    load_start,
    minibatch_state,
    own_rule,
    policy_kwargs_of,
    rule_algorithm,
    stabilisers_of,
)
from rl_lab.replay.incident import Incident, named_in_errors
from rl_lab.study.checkout import room

NOT_SHARED = frozenset({"target_kl"})
"""Settings that mean something else in each algorithm that has them: an estimate to stop at, a limit, a mean."""


def rules() -> dict[str, type]:
    """The rules of the checkout by name."""
    room("agents")
    from agents.discovery import find_rules

    return {name: found.rule for name, found in find_rules().items()}


def own_name(incident: Incident) -> str:
    """What the original rule is called: its name in the roster, or else the algorithm's."""
    with named_in_errors(incident.path / DOCUMENT):
        return _own_name(incident.algorithm)


def _own_name(written: dict[str, Any]) -> str:
    if written["class"] == allowed.RULE_ALGORITHM:
        kind = str(written["rule"]["!dataclass"]).rpartition(".")[2]
        return next((name for name, rule in rules().items() if rule.__qualname__ == kind), kind)
    if written["policy"]["class"].endswith(".GRUPolicy"):
        return "ppo-gru"
    return STOCK.get(written["class"], str(written["class"]).rpartition(".")[2])


STOCK = {
    "stable_baselines3.ppo.ppo.PPO": "ppo-sb3",
    "stable_baselines3.a2c.a2c.A2C": "a2c-sb3",
    "sb3_contrib.trpo.trpo.TRPO": "trpo-sb3",
    "sb3_contrib.ppo_recurrent.ppo_recurrent.RecurrentPPO": "ppo-lstm",
    "sb3_contrib.ppo_mask.ppo_mask.MaskablePPO": "ppo-mask",
}
"""The names that the roster gives to what is stock, and one for what it has not."""


def complaint(incident: Incident, name: str) -> str | None:
    """Why this rule cannot do this update, in one sentence, or None. UserError: nobody has such a rule."""
    known = rules()
    if name not in known:
        stock = " is a stock algorithm, and" if name in STOCK.values() else " is not a rule;"
        raise UserError(
            f"--rules: {name}{stock} an update is done again under the rules of agents/rules/."
            f"{did_you_mean(name, known)} (rules: {', '.join(known)})"
        )
    with named_in_errors(incident.path / DOCUMENT):
        return _complaint(incident, name)


def _complaint(incident: Incident, name: str) -> str | None:
    written = incident.algorithm
    if any(array.startswith("hidden_states") for array in incident.batch):
        return f"{name} cannot do this update: its policy is recurrent, and only its own algorithm runs along episodes"
    if "action_masks" in incident.batch:
        return f"{name} cannot do this update: its actions were masked, and only its own algorithm knows of masks"
    if written["settings"].get("use_sde"):
        return f"{name} cannot do this update: the policy explores by gSDE, whose divergence the rules do not know"
    action_space, observation_space = (
        allowed.space(written[f"{kind}_space"]) for kind in ("action", "observation")
    )
    refusal = room("agents").refusal(name, action_space, observation_space)
    return None if refusal is None else str(refusal)


def under(incident: Incident, name: str) -> tuple[Any, tuple[str, ...]]:
    """The algorithm that does the update by this rule, and what one should know of it.

    The rule has its own defaults, except where the original has the same setting.
    """
    kind: Any = rules()[name]
    with named_in_errors(incident.path / DOCUMENT):
        return _under(incident, name, kind)


def _under(incident: Incident, name: str, kind: Any) -> tuple[Any, tuple[str, ...]]:
    carried = shared_settings(incident, kind)
    try:
        rule = kind(**carried)
    except ValueError as error:
        raise UserError(f"{name} cannot do this update with the original's settings: {error}") from error
    model = rule_algorithm(incident, rule, stabilisers_for(incident), _keywords(incident, rule))
    same = load_start(model, incident)
    own = rule_memory(incident)
    model.memory.update({k: v.to(model.device) for k, v in incident.part("memory").items() if k not in own})
    shared = ", ".join(f"{setting}={value}" for setting, value in carried.items()) or "nothing"
    notes = [f"{name} has of the original {shared}; all else is its default"]
    if not same:
        notes.append(
            f"{name}: its optimizer is another one, {type(model.policy.optimizer).__name__}, and begins anew"
        )
    if minibatch_state(incident) is None:
        notes.append(f"{name}: the order of the minibatches is not known, so it draws its own")
    return model, tuple(notes)


def shared_settings(incident: Incident, kind: Any) -> dict[str, Any]:
    """The settings of this rule that the original has too, as it had them."""
    theirs, found = incident.settings, {}
    for item in fields(kind):
        value = theirs.get(item.name)
        if item.init and item.name in theirs and item.name not in NOT_SHARED and value is not None:
            found[item.name] = tuple(value) if isinstance(value, list) else value
    return found


def stabilisers_for(incident: Incident) -> Any:
    """The original's own; of a stock algorithm, the one it has: value clipping."""
    room("agents")
    from agents.stabilisers import Stabilisers

    own = stabilisers_of(incident)
    return own or Stabilisers(clip_range_vf=incident.settings.get("clip_range_vf"))


def rule_memory(incident: Incident) -> frozenset[str]:
    """What the original rule itself remembered: another one begins with its own."""
    if incident.algorithm["class"] != allowed.RULE_ALGORITHM:
        return frozenset()
    return frozenset(own_rule(incident).memory())


def _keywords(incident: Incident, rule: Any) -> dict[str, Any]:
    """The policy's keywords, with the optimizer that the rule steps with."""
    own = policy_kwargs_of(incident)
    original = incident.document["optimizers"]["policy.optimizer"]["class"]
    optimizer, kwargs = rule.optimizer
    if full_name(optimizer) == original:
        return own
    return {**own, "optimizer_class": optimizer, "optimizer_kwargs": dict(kwargs)}
