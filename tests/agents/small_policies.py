"""Small policies and batches that need no environment."""

from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor

from agents.batch import Batch
from agents.host import HostSettings, policy_arguments
from agents.learner import Learner
from agents.policy import LabPolicy
from agents.rule import Rule

ACTION_SPACES = {
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "discrete": spaces.Discrete(3),
    "multidiscrete": spaces.MultiDiscrete([2, 3]),
    "multibinary": spaces.MultiBinary(2),
}
BOX = ACTION_SPACES["box"]
OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))


def make_learner(
    rule: Rule,
    space: spaces.Space = BOX,
    seed: int = 0,
    net_arch: tuple[int, ...] = (16,),
    extractor: type[BaseFeaturesExtractor] = FlattenExtractor,
) -> Learner:
    """A fresh policy with the optimizer of a rule; the same seed gives the same weights."""
    optimizer_class, kwargs = rule.optimizer
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = ActorCriticPolicy(
            OBSERVATIONS,
            space,
            lambda _: rule.learning_rate,
            net_arch=list(net_arch),
            features_extractor_class=extractor,
            optimizer_class=optimizer_class,
            optimizer_kwargs=dict(kwargs),
        )
    return Learner(policy)


def make_stabilised(
    rule: Rule,
    space: spaces.Space = BOX,
    sees: spaces.Space = OBSERVATIONS,
    net_arch: tuple[int, ...] = (16,),
    **settings: object,
) -> Learner:
    """The same with the host's policy and its stabilisers, switched on by `settings`."""
    chosen = HostSettings(net_arch=net_arch, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = LabPolicy(sees, space, lambda _: rule.learning_rate, **policy_arguments(rule, chosen))
    return Learner(policy, chosen)


def make_batch(learner: Learner, size: int = 128, seed: int = 1) -> Batch:
    """States, the policy's own actions on them, and advantages that prefer some actions to others."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        dtype = next(iter(learner.parameters)).dtype
        observations = (torch.rand(size, 3) * 2 - 1).to(dtype)
        learner.policy.set_training_mode(False)
        actions, values, log_prob = learner.policy(observations)
        signal = actions.reshape(size, -1)[:, 0] * observations[:, 0]
        advantages = 3.0 * signal + 0.3 * torch.randn(size) + 1.0
    values = values.flatten()
    return Batch(observations, actions, log_prob, advantages, values + advantages, values)


def bits(learner: Learner) -> bytes:
    """All parameters as bytes: equal only where every bit is."""
    return b"".join(parameter.detach().numpy().tobytes() for parameter in learner.parameters)


def optimizer_bits(learner: Learner) -> list[tuple[str, bytes]]:
    state = learner.policy.optimizer.state
    return [
        (key, np.asarray(value).tobytes())
        for parameter in learner.parameters
        for key, value in state.get(parameter, {}).items()
    ]


def copy_of(batch: Batch) -> Batch:
    return replace(batch, **{name: value.clone() for name, value in vars(batch).items()})


def rng(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def mean_kl(learner: Learner, batch: Batch, old) -> float:
    """The ruler: exact mean KL(old || present policy) over the batch."""
    return old.kl(learner.behaviour(batch.observations)).mean().item()
