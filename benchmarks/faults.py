"""Faults that benchmarks/alarm.py injects into training from outside, one small class each.

A fault begins with one update, `k`: `begin` is called before the rollout of update k, when update k - 1 is over and
recorded; `before_update` when a rollout from k on is complete, before anyone trains on it or measures it. What the
environments return and receive passes through `Tampered`, which a fault may tell to change it.

`changes_policy` says whether the fault makes the policy's updates themselves wrong: its targets, its data, its step
or its parameters. Where it says no, the updates do what they should, with a worse value function or in another world.
`counts` are the events that name this fault; any other event after it is not counted as its detection.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

Array = np.ndarray[Any, np.dtype[Any]]

POLICY = frozenset(
    {"kl_spike", "ratio_break", "entropy_collapse", "exponential_growth", "nonfinite", "performance_collapse"}
)
"""What a policy that moves wrongly shows."""
VALUE = frozenset({"gradient_explosion", "value_divergence", "rank_collapse"})
"""What gradients and the value function show."""
DATA = frozenset({"invariant_break", "observation_shift", "reward_outlier"})
"""What the rollout shows, before anyone learns from it."""


class Tampered(VecEnvWrapper):
    """Environments whose returns and actions a fault may change; without one, they pass untouched.

    Episode returns are reported as they were paid, a changed reward included.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.observe: Callable[[Array], Array] | None = None
        self.pay: Callable[[Array], Array] | None = None
        self.push: Callable[[Array], Array] | None = None
        self.paid: deque[float] = deque(maxlen=256)
        """Mean size of the rewards of the last steps."""
        self._extra = np.zeros(venv.num_envs)

    def reset(self) -> Any:
        """Begin new episodes everywhere."""
        self._extra[:] = 0.0
        return self.venv.reset()

    def step_async(self, actions: Array) -> None:
        """Pass the actions on."""
        self.venv.step_async(actions if self.push is None else self.push(actions))

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.paid.append(float(np.abs(rewards).mean()))
        if self.pay is not None:
            changed = self.pay(rewards.copy())
            self._extra += changed - rewards
            rewards = changed
        if self.observe is not None:
            observations = self.observe(np.array(observations))
        for i in np.flatnonzero(dones & (self._extra != 0)).tolist():
            if "episode" in infos[i]:
                episode = infos[i]["episode"]
                infos[i] = {**infos[i], "episode": {**episode, "r": episode["r"] + float(self._extra[i])}}
        self._extra[dones] = 0.0
        return observations, rewards, dones, infos


@dataclass(frozen=True)
class Past:
    """What the updates before this one started from."""

    policy: Mapping[str, torch.Tensor]
    """state_dict() of the policy that collected the rollout."""
    rollout: Mapping[str, Array]
    """The rollout's arrays by name, copies."""


def remember(model: Any) -> Past:
    """Copy the policy and the complete rollout."""
    arrays = {k: v.copy() for k, v in vars(model.rollout_buffer).items() if isinstance(v, np.ndarray)}
    return Past({name: value.clone() for name, value in model.policy.state_dict().items()}, arrays)


class Fault(ABC):
    """One thing that goes wrong from update k on."""

    name: ClassVar[str]
    changes_policy: ClassVar[bool] = True
    changes_returns: ClassVar[bool] = False
    """Whether returns change with rollout k itself, whatever the updates do: they are in another unit, or those of
    another world. Nothing builds up then but the episodes that must end before anyone can know."""
    counts: ClassVar[frozenset[str]] = POLICY | VALUE | DATA
    ends: ClassVar[str]
    """How it makes a run collapse, in one clause."""

    def fits(self, model: Any) -> bool:
        """Whether this algorithm has what goes wrong."""
        del model
        return True

    @abstractmethod
    def begin(self, model: Any, env: Tampered) -> None:
        """Before the rollout of update k."""

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """After each rollout from k on; `past` are the updates before this one, the newest last."""
        del model, past


def _set(model: Any, name: str, factor: float) -> None:
    """Multiply a setting, of the rule or of the algorithm itself."""
    if hasattr(model, "rule"):
        model.rule = replace(
            model.rule, **{name: type(getattr(model.rule, name))(factor * getattr(model.rule, name))}
        )
    elif name == "learning_rate":
        usual = model.lr_schedule
        model.lr_schedule = lambda remaining: factor * usual(remaining)
    else:
        setattr(model, name, type(getattr(model, name))(factor * getattr(model, name)))


def _steps_by_gradient(model: Any) -> bool:
    """Whether the optimizer moves the policy: not so with TRPO, where it moves the value function alone."""
    return not (hasattr(model, "cg_max_steps") or hasattr(getattr(model, "rule", None), "cg_iterations"))


class LearningRate(Fault):
    """The learning rate is 100 times what it was, from update k on."""

    name = "learning_rate_x100"
    ends = "the policy is thrown far away in one update, mostly to where it cannot learn any more"

    def fits(self, model: Any) -> bool:
        """Algorithms whose optimizer moves the policy."""
        return _steps_by_gradient(model)

    def begin(self, model: Any, env: Tampered) -> None:
        """Change the schedule."""
        _set(model, "learning_rate", 100.0)


class RewardOutlier(Fault):
    """One reward of one environment, in the middle of rollout k, is 1000 times as large as rewards usually are."""

    name = "reward_outlier"
    changes_returns = True
    ends = "one sample is all of the normalised advantages; the value function leaves its scale"

    def begin(self, model: Any, env: Tampered) -> None:
        """Wait for the middle of the rollout."""
        left, size = [model.n_steps // 2], 1000 * float(np.mean(env.paid))

        def pay(rewards: Array) -> Array:
            left[0] -= 1
            if left[0] == 0:
                rewards[0] = size if rewards[0] >= 0 else -size
            return rewards

        env.pay = pay


class RewardScale(Fault):
    """All rewards are 100 times as large, from update k on."""

    name = "reward_scale_x100"
    changes_returns = True
    ends = "the value function is wrong by a factor, and its gradients crowd out the policy's where both are clipped"

    def begin(self, model: Any, env: Tampered) -> None:
        """Change what is paid."""
        env.pay = lambda rewards: rewards * 100


class ZeroedStd(Fault):
    """The policy becomes deterministic at once: log_std = -20, or logits 1000 times as large, before rollout k."""

    name = "zeroed_std"
    ends = "no exploration, and any change of the mean is an infinite KL"

    def begin(self, model: Any, env: Tampered) -> None:
        """Write into the policy."""
        policy = model.policy
        with torch.no_grad():
            if isinstance(getattr(policy, "log_std", None), torch.Tensor):
                policy.log_std.fill_(-20.0)
            else:
                policy.action_net.weight.mul_(1000)
                policy.action_net.bias.mul_(1000)


class StaleLogProbs(Fault):
    """The buffer's log-probabilities are those of the policy of five updates ago, from update k on."""

    name = "stale_log_probs"
    counts = POLICY | {"invariant_break"}
    ends = "ratios start away from 1, so the trust region is around the wrong policy"
    ago = 5

    def begin(self, model: Any, env: Tampered) -> None:
        """Nothing yet."""

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """Judge the rollout's actions by the old policy."""
        buffer = model.rollout_buffer
        earlier = deepcopy(model.policy)
        earlier.load_state_dict(dict(past[-self.ago].policy))
        earlier.set_training_mode(False)
        shape = buffer.log_probs.shape
        with torch.no_grad():
            observations = torch.as_tensor(buffer.observations.reshape(-1, *buffer.obs_shape))
            actions = torch.as_tensor(buffer.actions.reshape(np.prod(shape), -1))
            if isinstance(model.action_space, spaces.Discrete):
                actions = actions.long().flatten()
            _, log_prob, _ = earlier.evaluate_actions(observations, actions)
        buffer.log_probs[:] = log_prob.numpy().reshape(shape)


class NormaliserSkipped(Fault):
    """Observations are no longer normalised, from rollout k on: the policy acts on and learns from raw ones."""

    name = "normaliser_skipped"
    ends = "the policy is asked about states in units that it has never seen"

    def fits(self, model: Any) -> bool:
        """Algorithms behind VecNormalize with normalised observations."""
        normalizer = model.get_vec_normalize_env()
        return normalizer is not None and bool(normalizer.norm_obs)

    def begin(self, model: Any, env: Tampered) -> None:
        """Switch it off, for the observation that rollout k begins with too."""
        normalizer: VecNormalize = model.get_vec_normalize_env()
        normalizer.norm_obs = False
        model._last_obs = np.asarray(normalizer.get_original_obs(), dtype=np.float32)


class NormaliserSkippedInTraining(NormaliserSkipped):
    """The policy acts on normalised observations, but raw ones are stored and learned from, from update k on."""

    name = "normaliser_skipped_in_training"
    ends = "what is learned is about other states than those in which the policy acts"

    def begin(self, model: Any, env: Tampered) -> None:
        """Nothing yet."""

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """Undo the normalisation of what was stored."""
        buffer, normalizer = model.rollout_buffer, model.get_vec_normalize_env()
        buffer.observations[:] = normalizer.unnormalize_obs(buffer.observations)


class NaNObservation(Fault):
    """One number of one observation, in the middle of rollout k, is NaN."""

    name = "nan_observation"
    counts = frozenset({"nonfinite"})
    ends = "the policy's output is NaN at once"

    def begin(self, model: Any, env: Tampered) -> None:
        """Wait for the middle of the rollout."""
        left = [model.n_steps // 2]

        def observe(observations: Array) -> Array:
            left[0] -= 1
            if left[0] == 0:
                observations[0].flat[0] = np.nan
            return observations

        env.observe = observe


class NaNReward(Fault):
    """One reward, in the middle of rollout k, is NaN."""

    name = "nan_reward"
    counts = frozenset({"nonfinite"})
    ends = "advantages, loss and parameters are NaN after the update"

    def begin(self, model: Any, env: Tampered) -> None:
        """Wait for the middle of the rollout."""
        left = [model.n_steps // 2]

        def pay(rewards: Array) -> Array:
            left[0] -= 1
            if left[0] == 0:
                rewards[0] = np.nan
            return rewards

        env.pay = pay


class NaNGradient(Fault):
    """The first gradient of update k that reaches the policy's last layer is NaN."""

    name = "nan_gradient"
    counts = frozenset({"nonfinite"})
    ends = "parameters are NaN after one step, or the rule gives up"

    def begin(self, model: Any, env: Tampered) -> None:
        """Nothing yet."""
        self._is_over = False

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """Listen to one gradient."""
        if self._is_over:
            return

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            handle.remove()
            return gradient * torch.nan

        handle = model.policy.action_net.weight.register_hook(spoil)
        self._is_over = True


class ManyEpochs(Fault):
    """The rollouts of updates k, k + 1 and k + 2 are trained on 10 times as often.

    On the tuning tasks this moved the policy by no more than an update usually does, because a clip or a KL holds it.
    """

    name = "epochs_x10"
    changes_policy = False
    ends = "the value function is fitted to the noise of one rollout, and the policy where nothing holds it"

    def fits(self, model: Any) -> bool:
        """Algorithms that pass over a rollout with the optimizer, several times."""
        epochs = getattr(getattr(model, "rule", model), "n_epochs", 1)
        return _steps_by_gradient(model) and epochs > 1

    def begin(self, model: Any, env: Tampered) -> None:
        """Change the number of epochs."""
        _set(model, "n_epochs", 10)
        self._left = 3

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """Change it back after three updates."""
        if self._left == 0:
            _set(model, "n_epochs", 0.1)
        self._left -= 1


class RolloutRepeated(Fault):
    """The buffer hands out the rollout of update k - 1 again and again, with what was stored beside it."""

    name = "rollout_repeated"
    ends = "the policy is fitted to one rollout, whose probabilities are more out of date with every update"

    def begin(self, model: Any, env: Tampered) -> None:
        """Nothing yet."""
        self._kept: Past | None = None

    def before_update(self, model: Any, past: Sequence[Past]) -> None:
        """Put the old arrays back."""
        self._kept = self._kept or past[-1]
        for name, array in self._kept.rollout.items():
            getattr(model.rollout_buffer, name)[:] = array


class DeadValue(Fault):
    """The value function's last layer is 0 and stays 0, from rollout k on."""

    name = "dead_value"
    changes_policy = False
    ends = "advantages without a baseline are noisy; most tasks are learned more slowly, not lost"

    def begin(self, model: Any, env: Tampered) -> None:
        """Zero it, and let no gradient and no momentum reach it any more."""
        for parameter in model.policy.value_net.parameters():
            with torch.no_grad():
                parameter.zero_()
            model.policy.optimizer.state.pop(parameter, None)
            parameter.register_hook(torch.zeros_like)


class PushFlipped(Fault):
    """The world changes: every action does what its opposite did, from rollout k on."""

    name = "push_flipped"
    changes_policy = False
    changes_returns = True
    ends = "what was learned is wrong at once; the updates are those of an agent that learns anew"

    def begin(self, model: Any, env: Tampered) -> None:
        """Change what actions do."""
        space = env.action_space
        if isinstance(space, spaces.Discrete):
            last = int(space.n) - 1
            env.push = lambda actions: last - actions
        else:
            assert isinstance(space, spaces.Box)
            ends = space.low + space.high
            env.push = lambda actions: (ends - actions).astype(actions.dtype)


FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        LearningRate,
        ManyEpochs,
        RewardOutlier,
        RewardScale,
        ZeroedStd,
        StaleLogProbs,
        RolloutRepeated,
        NormaliserSkipped,
        NormaliserSkippedInTraining,
        NaNObservation,
        NaNReward,
        NaNGradient,
        DeadValue,
        PushFlipped,
    )
}
"""All of them, in the order of the table."""
