"""What one rollout of a stable-baselines3 algorithm held, and what a policy says about its states."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from rl_lab.monitor.measure.distributions import Categorical, Distribution, Floats, Gaussian
from rl_lab.monitor.measure.numbers import float64

CHUNK = 8192
"""States per forward pass; bounds the memory that measuring an image rollout takes."""

READABLE = (
    sb3.DiagGaussianDistribution,
    sb3.StateDependentNoiseDistribution,
    sb3.CategoricalDistribution,
    sb3.MultiCategoricalDistribution,
    sb3.BernoulliDistribution,
    MaskableDistribution,
)
"""Families of action distributions whose divergences are known exactly."""

Observations = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Rollout:
    """One rollout, flattened environment by environment: row = env * n_steps + step.

    An array is None where the training has none, as outside stable-baselines3.
    """

    observations: Observations
    actions: Tensor
    n_steps: int | None
    """Steps of each environment; None: the rows are in no known order."""
    log_probs: NDArray[np.float32] | None = None
    """[N] log pi(a|s), stored when the action was taken."""
    rewards: NDArray[np.float32] | None = None
    values: NDArray[np.float32] | None = None
    returns: NDArray[np.float32] | None = None
    advantages: NDArray[np.float32] | None = None
    starts: NDArray[np.float32] | None = None
    """[N] 1 where an episode begins with this observation."""
    context: dict[str, Any] = field(default_factory=dict)
    """What else the policy needs: action masks, or recurrent states and episode starts."""

    def __len__(self) -> int:
        return int(self.actions.shape[0])

    def continuous(self) -> list[Tensor]:
        """The parts of the observations that measure something: floats, and the bytes of images."""
        seen = self.observations
        parts = list(seen.values()) if isinstance(seen, dict) else [seen]
        return [p for p in parts if p.numel() and (p.is_floating_point() or p.dtype == torch.uint8)]

    def some(self, most: int) -> "Rollout":
        """At most so many of its rows, with what a policy needs to judge them: spread evenly over the rollout, or,
        because a recurrent policy must run along it, the first steps of all environments."""
        if "lstm_states" in self.context:
            return self._beginnings(most)
        rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
        return self._at(rows, len(rows), {name: part[rows] for name, part in self.context.items()})

    def _beginnings(self, most: int) -> "Rollout":
        length = self.n_steps or len(self)
        n_envs = min(len(self) // length, most)
        n_steps = min(length, most // n_envs)
        rows = np.add.outer(np.arange(n_envs) * length, np.arange(n_steps)).ravel()
        context = {
            name: part[rows] if name == "episode_starts" else tuple(state[:, :n_envs] for state in part)
            for name, part in self.context.items()
        }
        return self._at(rows, n_steps, context)

    def _at(self, rows: NDArray[np.int64], n_steps: int, context: dict[str, Any]) -> "Rollout":
        seen = self.observations
        observations = {k: v[rows] for k, v in seen.items()} if isinstance(seen, dict) else seen[rows]
        return Rollout(observations, self.actions[rows], n_steps, context=context)

    def place(self, row: int) -> dict[str, int]:
        """Environment and step of a row, where they are known."""
        if self.n_steps is None:
            return {}
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
        for name, part in (("lstm_states", "pi"), ("lstm_states_of_value", "vf")):
            context[name] = tuple(
                torch.as_tensor(states[0], device=model.device)
                for states in (
                    getattr(buffer, f"hidden_states_{part}"),
                    getattr(buffer, f"cell_states_{part}"),
                )
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
        starts=flat(buffer.episode_starts).ravel(),
        context=context,
    )


def judge(policy: Any, rollout: Rollout) -> tuple[Distribution, Floats]:
    """The policy's distribution on every state of the rollout, and the log-probability of its actions [N].

    A recurrent policy is run along the rollout from the recurrent state in which the rollout began.
    """
    with acting(policy), torch.no_grad():
        if "lstm_states" in rollout.context:
            return _read_distribution(_recurrent(policy, rollout), rollout.actions)
        size = rollout.actions.shape[0]
        pieces = [_piece(policy, rollout, slice(i, i + CHUNK)) for i in range(0, size, CHUNK)]
    distribution = _join([d for d, _ in pieces])
    return distribution, np.concatenate([log_prob for _, log_prob in pieces])


@contextmanager
def acting(policy: Any) -> Iterator[None]:
    """The policy in the mode in which it acts, without dropout and its like, and in its own afterwards."""
    was_training = policy.training
    if was_training:  # setting the mode walks through all modules
        policy.set_training_mode(False)
    try:
        yield
    finally:
        if was_training:
            policy.set_training_mode(True)


def appraise(policy: Any, rollout: Rollout) -> Floats:
    """The value function's prediction for every state of the rollout [N], by the policy as it is now."""
    with acting(policy), torch.no_grad():
        if "lstm_states" in rollout.context:
            starts = rollout.context["episode_starts"]
            values = policy.predict_values(
                rollout.observations, rollout.context["lstm_states_of_value"], starts
            )
            return float64(values).ravel()
        size = rollout.actions.shape[0]
        pieces = [
            policy.predict_values(_some_rows(rollout.observations, slice(i, i + CHUNK)))
            for i in range(0, size, CHUNK)
        ]
    return np.concatenate([float64(values).ravel() for values in pieces])


def judge_or_nan(policy: Any, rollout: Rollout, old: Distribution) -> tuple[Distribution, Floats]:
    """`judge`, or all NaN in the shape of `old` when the policy's outputs are so broken that torch refuses them."""
    try:
        return judge(policy, rollout)
    except ValueError:  # torch.distributions says so of NaN parameters, and so would train() in its next step
        return unknown(old, len(rollout))


def unknown(like: Distribution, size: int) -> tuple[Distribution, Floats]:
    """All NaN, in the shape of another distribution."""
    log_prob = np.full(size, np.nan)
    if isinstance(like, Gaussian):
        return Gaussian(np.full_like(like.mean, np.nan), np.full_like(like.log_std, np.nan)), log_prob
    return Categorical(tuple(np.full_like(p, np.nan) for p in like.log_probs)), log_prob


def _piece(policy: Any, rollout: Rollout, rows: slice) -> tuple[Distribution, Floats]:
    piece = _some_rows(rollout.observations, rows)
    if "action_masks" in rollout.context:
        distribution = policy.get_distribution(piece, rollout.context["action_masks"][rows])
    else:
        distribution = policy.get_distribution(piece)
    return _read_distribution(distribution, rollout.actions[rows])


def _some_rows(observations: Observations, rows: slice) -> Observations:
    if isinstance(observations, dict):
        return {name: part[rows] for name, part in observations.items()}
    return observations[rows]


def _recurrent(policy: Any, rollout: Rollout) -> Any:
    distribution, _ = policy.get_distribution(
        rollout.observations, rollout.context["lstm_states"], rollout.context["episode_starts"]
    )
    return distribution


def _read_distribution(distribution: Any, actions: Tensor) -> tuple[Distribution, Floats]:
    log_prob = float64(distribution.log_prob(actions))
    inner: Any = getattr(distribution, "distribution", None)
    if isinstance(distribution, sb3.DiagGaussianDistribution | sb3.StateDependentNoiseDistribution):
        return Gaussian(float64(inner.mean), float64(inner.stddev.log())), log_prob
    if isinstance(distribution, sb3.BernoulliDistribution):
        on, off = torch.nn.functional.logsigmoid(inner.logits), torch.nn.functional.logsigmoid(-inner.logits)
        both = float64(torch.stack([off, on], dim=-1))
        return Categorical(tuple(both[:, i] for i in range(both.shape[1]))), log_prob
    # SB3 keeps several choices in a list, sb3-contrib's maskable family in another attribute.
    several = inner if isinstance(inner, list) else getattr(distribution, "distributions", None)
    choices = several if several else [inner]
    if all(isinstance(choice, torch.distributions.Categorical) for choice in choices):
        log_probs = (torch.log_softmax(choice.logits.double(), dim=-1) for choice in choices)
        return Categorical(tuple(float64(p) for p in log_probs)), log_prob
    raise TypeError(_cannot_measure(distribution))


def refuse_unknown(policy: Any, observation: Any) -> None:
    """TypeError, before training begins, if its actions have a distribution that cannot be read."""
    if isinstance(getattr(policy, "action_dist", None), READABLE):
        return
    try:
        with acting(policy), torch.no_grad():
            distribution = policy.get_distribution(policy.obs_to_tensor(observation)[0])
            actions = distribution.mode()
    except Exception:
        return  # it wants to be asked in another way: the first rollout will tell
    _read_distribution(distribution, actions)


def _cannot_measure(distribution: Any) -> str:
    names = ", ".join(kind.__name__.removesuffix("Distribution") for kind in READABLE)
    return f"the monitor cannot measure a {type(distribution).__name__}; it knows those of the kinds {names}"


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


def _is_discrete(model: Any) -> bool:
    return isinstance(model.action_space, spaces.Discrete)
