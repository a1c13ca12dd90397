"""What the first different part of an update says about why two runs differ."""

from collections.abc import Mapping

IN_WORDS = {
    "before": "the parameters before the update",
    "start": "the observations with which the rollout begins",
    "answers": "what the policy answers to the first observations",
    "random": "the random numbers",
    "observations": "the observations",
    "actions": "the actions",
    "values": "the log-probabilities or values",
    "rewards": "the rewards",
    "returns": "the returns or advantages",
    "after": "the parameters after the update",
    "optimizer": "the state of the optimizer",
}
_COMPUTED = "the networks are computed otherwise (threads, device, instruction set, version of torch)"

CAUSES = {
    "before": "something that is no update changed the parameters before update {update}: a guard, a callback",
    "start": (
        "the environments stood in different states when the rollout began, though everything recorded before it is "
        "the same: the last step of the rollout before, or a reset, is not deterministic"
    ),
    "answers": f"same parameters, observations and random numbers, different answers: {_COMPUTED}",
    "random": (
        "different random numbers were drawn while the rollout was collected: an environment or a callback draws from "
        "a global generator"
    ),
    "observations": (
        "they begin alike and the actions are drawn with the same random numbers, so the environment is not "
        "deterministic (a generator of its own, a clock, threads, its version)"
    ),
    "actions": f"the same observations got different actions: {_COMPUTED}",
    "values": f"the same observations and actions got different log-probabilities or values: {_COMPUTED}",
    "rewards": "the same observations and actions were paid differently: the environment is not deterministic",
    "returns": (
        "the same rewards gave different returns: by what followed on the last step of the rollout, or by gamma or "
        "gae_lambda"
    ),
    "after": (
        "the same rollout gave different parameters, so it is the update itself (its settings, its code, threads, "
        "device, instruction set, version of torch) or what a callback did before the monitor looked"
    ),
    "optimizer": "the same step left a different state of the optimizer or of the rule behind",
}
"""By part: what it means if it is the first that differs, everything before it in causal order being the same."""

AT_THE_BEGINNING = {
    "before": "they began with different parameters",
    "start": "the environments began in different states: the seeds differ, or do not decide the first reset",
}
"""The same in the first update of a run."""

OTHER_NUMBERS = "the same policy drew different actions for the same observations: the random numbers differ"

LEARNS_MEANWHILE = (
    "acting and learning alternate in such a stretch, so it is the environment or a gradient step; records of single "
    "steps (every=1) would tell which"
)
"""Of an off-policy algorithm, whose parts of one record are not in causal order."""

GENERATORS_UNKNOWN = (
    "other random numbers were drawn, the environment is not deterministic, or the networks are computed otherwise; "
    "the generators of random numbers were not recorded here"
)
"""Of a loop of somebody's own."""


def cause(update: int, part: str, digests: Mapping[str, tuple[str, str]]) -> str:
    """One clause: why `part` is the first that differs, given the digests of both runs in that update."""
    if "random" not in digests and part in ("answers", "observations", "actions"):
        return GENERATORS_UNKNOWN
    if part == "answers" and len(set(digests["random"])) > 1:
        return OTHER_NUMBERS
    # A replay buffer stores no values, a rollout of stable-baselines3 does.
    if "random" in digests and "values" not in digests and part in ("observations", "actions", "rewards"):
        return LEARNS_MEANWHILE
    if update == 1 and part in AT_THE_BEGINNING:
        return AT_THE_BEGINNING[part]
    return CAUSES[part].format(update=update)
