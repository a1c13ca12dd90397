"""What one rollout of a stable-baselines3 algorithm held, and what a policy says about its states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from rl_lab.monitor.distributions import Categorical, Distribution, Floats, Gaussian

CHUNK = 8192
"""States per forward pass; bounds the memory that measuring an image rollout takes."""

Observations = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Rollout:
    """One rollout, flattened environment by environment: row = env * n_steps + step.

    An array is None where the training has none, as outside stable-baselines3.
    """

    observations: Observations
    actions: Tensor
    n_steps: int
    log_probs: NDArray[np.float32] | None = None
    """[N] log pi(a|s), stored when the action was taken."""
    rewards: NDArray[np.float32] | None = None
    values: NDArray[np.float32] | None = None
    returns: NDArray[np.float32] | None = None
    advantages: NDArray[np.float32] | None = None
    context: dict[str, Any] = field(default_factory=dict)
    """What else the policy needs: action masks, or recurrent states and episode starts."""

    def __len__(self) -> int:
        return int(self.actions.shape[0])

    def some(self, most: int) -> "Rollout":
        """At most so many of its rows, with what a policy needs to judge them: spread evenly over the rollout, or,
        because a recurrent policy must run along it, the beginning of environment 0."""
        if "lstm_states" in self.context:
            rows = np.arange(min(most, self.n_steps))
            context = {
                "episode_starts": self.context["episode_starts"][rows],
                "lstm_states": tuple(state[:, :1] for state in self.context["lstm_states"]),
            }
        else:
            rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
            context = {name: part[rows] for name, part in self.context.items()}
        seen = self.observations
        observations = {k: v[rows] for k, v in seen.items()} if isinstance(seen, dict) else seen[rows]
        return Rollout(observations, self.actions[rows], len(rows), context=context)

    def place(self, row: int) -> dict[str, int]:
        """Environment and step of a row."""
        env, step = divmod(row, self.n_steps)
        return {"env": env, "step": step}

    def observation(self, row: int) -> Any:
        """One observation as plain lists, for the record of an event."""
        if isinstance(self.observations, dict):
            return {key: value[row].tolist() for key, value in self.observations.items()}
        return self.observations[row].tolist()


def read(model: Any) -> Rollout:
    """Copy nothing, reference everything: SB3 makes new arrays for the next rollout.

    Call it when the rollout is complete and train() has not begun: train() flattens the buffer in place.
    """
    buffer = model.rollout_buffer
    flat = RolloutBuffer.swap_and_flatten

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(flat(array), device=model.device)

    observations: Observations
    if isinstance(buffer.observations, Mapping):
        observations = {key: tensor(value) for key, value in buffer.observations.items()}
    else:
        observations = tensor(buffer.observations)
    context: dict[str, Any] = {}
    if isinstance(buffer, MaskableRolloutBuffer | MaskableDictRolloutBuffer):
        masks = buffer.action_masks.reshape(buffer.buffer_size, buffer.n_envs, -1)
        context["action_masks"] = flat(masks)
    if isinstance(buffer, RecurrentRolloutBuffer | RecurrentDictRolloutBuffer):
        context["episode_starts"] = tensor(buffer.episode_starts).flatten()
        context["lstm_states"] = tuple(
            torch.as_tensor(states[0], device=model.device)
            for states in (buffer.hidden_states_pi, buffer.cell_states_pi)
        )
    actions = tensor(buffer.actions).float()  # as SB3's own samples of the buffer do
    return Rollout(
        observations=observations,
        actions=actions.long().flatten() if _is_discrete(model) else actions,
        n_steps=buffer.buffer_size,
        log_probs=flat(buffer.log_probs).ravel(),
        rewards=flat(buffer.rewards).ravel(),
        values=flat(buffer.values).ravel(),
        returns=flat(buffer.returns).ravel(),
        advantages=flat(buffer.advantages).ravel(),
        context=context,
    )


def judge(policy: Any, rollout: Rollout) -> tuple[Distribution, Floats]:
    """The policy's distribution on every state of the rollout, and the log-probability of its actions [N].

    A recurrent policy is run along the rollout from the recurrent state in which the rollout began.
    """
    was_training = policy.training
    policy.set_training_mode(False)
    try:
        with torch.no_grad():
            if "lstm_states" in rollout.context:
                return _read_distribution(_recurrent(policy, rollout), rollout.actions)
            size = rollout.actions.shape[0]
            pieces = [_piece(policy, rollout, slice(i, i + CHUNK)) for i in range(0, size, CHUNK)]
    finally:
        policy.set_training_mode(was_training)
    distribution = _join([d for d, _ in pieces])
    return distribution, np.concatenate([log_prob for _, log_prob in pieces])


def judge_or_nan(policy: Any, rollout: Rollout, old: Distribution) -> tuple[Distribution, Floats]:
    """`judge`, or all NaN in the shape of `old` when the policy's outputs are so broken that torch refuses them."""
    try:
        return judge(policy, rollout)
    except ValueError:  # torch.distributions says so of NaN parameters, and so would train() in its next step
        unknown = np.full(rollout.actions.shape[0], np.nan)
        if isinstance(old, Gaussian):
            return Gaussian(np.full_like(old.mean, np.nan), np.full_like(old.log_std, np.nan)), unknown
        return Categorical(tuple(np.full_like(p, np.nan) for p in old.log_probs)), unknown


def _piece(policy: Any, rollout: Rollout, rows: slice) -> tuple[Distribution, Floats]:
    observations = rollout.observations
    piece = (
        {k: v[rows] for k, v in observations.items()}
        if isinstance(observations, dict)
        else observations[rows]
    )
    if "action_masks" in rollout.context:
        distribution = policy.get_distribution(piece, rollout.context["action_masks"][rows])
    else:
        distribution = policy.get_distribution(piece)
    return _read_distribution(distribution, rollout.actions[rows])


def _recurrent(policy: Any, rollout: Rollout) -> Any:
    distribution, _ = policy.get_distribution(
        rollout.observations, rollout.context["lstm_states"], rollout.context["episode_starts"]
    )
    return distribution


def _read_distribution(distribution: Any, actions: Tensor) -> tuple[Distribution, Floats]:
    log_prob = _numbers(distribution.log_prob(actions))
    inner: Any = getattr(distribution, "distribution", None)
    if isinstance(distribution, sb3.DiagGaussianDistribution | sb3.StateDependentNoiseDistribution):
        return Gaussian(_numbers(inner.mean), _numbers(inner.stddev.log())), log_prob
    if isinstance(distribution, sb3.BernoulliDistribution):
        on, off = torch.nn.functional.logsigmoid(inner.logits), torch.nn.functional.logsigmoid(-inner.logits)
        both = _numbers(torch.stack([off, on], dim=-1))
        return Categorical(tuple(both[:, i] for i in range(both.shape[1]))), log_prob
    # SB3 keeps several choices in a list, sb3-contrib's maskable family in another attribute.
    several = inner if isinstance(inner, list) else getattr(distribution, "distributions", None)
    choices = several if several else [inner]
    if all(isinstance(choice, torch.distributions.Categorical) for choice in choices):
        log_probs = (torch.log_softmax(choice.logits.double(), dim=-1) for choice in choices)
        return Categorical(tuple(_numbers(p) for p in log_probs)), log_prob
    raise TypeError(f"the monitor cannot measure a {type(distribution).__name__} yet")


def _join(pieces: list[Distribution]) -> Distribution:
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], Gaussian):
        gaussians = [p for p in pieces if isinstance(p, Gaussian)]
        return Gaussian(
            np.concatenate([g.mean for g in gaussians]), np.concatenate([g.log_std for g in gaussians])
        )
    columns = zip(*(p.log_probs for p in pieces if isinstance(p, Categorical)), strict=True)
    return Categorical(tuple(np.concatenate(column) for column in columns))


def _numbers(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().cpu().double().numpy())  # in this order: not every device has float64


def _is_discrete(model: Any) -> bool:
    return isinstance(model.action_space, spaces.Discrete)
