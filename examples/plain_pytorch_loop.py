"""Watch a training loop of your own: PPO in one file and plain PyTorch, as CleanRL writes it.

    python examples/plain_pytorch_loop.py [--steps 100000] [--learning-rate 0.00025] [--level full]

Nothing of stable-baselines3 takes part. Three things are the monitor's: it is told of every environment step, it
watches the update, and it is closed at the end.
"""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from rl_lab import LoopMonitor

N_ENVS, N_STEPS, N_EPOCHS, MINIBATCH = 8, 128, 4, 256
GAMMA, GAE_LAMBDA, CLIP_RANGE, MAX_GRAD_NORM = 0.99, 0.95, 0.2, 0.5


class Agent(nn.Module):
    """A policy and a value function with networks of their own."""

    def __init__(self, observations: int, actions: int) -> None:
        super().__init__()
        self.actor = network(observations, actions, gain=0.01)
        self.critic = network(observations, 1, gain=1.0)

    def policy(self, observations: Tensor) -> Categorical:
        """What it would do in these states."""
        return Categorical(logits=self.actor(observations))


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """Two tanh layers of 64, orthogonal weights."""
    layers = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for layer, scale in zip(layers, (np.sqrt(2), np.sqrt(2), gain), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def advantages_of(rewards: Tensor, values: Tensor, dones: Tensor, last_value: Tensor) -> Tensor:
    """GAE(gamma, lambda), all shapes [T, N]; `dones` of the step that led to the next state."""
    found, running = torch.zeros_like(rewards), torch.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        following = last_value if t == len(rewards) - 1 else values[t + 1]
        alive = 1 - dones[t]
        running = rewards[t] + GAMMA * alive * following - values[t] + GAMMA * GAE_LAMBDA * alive * running
        found[t] = running
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--learning-rate", type=float, default=2.5e-4)
    parser.add_argument("--level", default="standard")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    shuffle = np.random.default_rng(arguments.seed)
    same_step = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    envs = gym.make_vec("CartPole-v1", N_ENVS, "sync", vector_kwargs=same_step)
    agent = Agent(4, 2)
    optimizer = torch.optim.Adam(agent.parameters(), lr=arguments.learning_rate, eps=1e-5)

    with LoopMonitor(
        arguments.out,
        env="CartPole-v1",
        agent="cleanrl-ppo",
        seed=arguments.seed,
        settings={"learning_rate": arguments.learning_rate},
        n_envs=N_ENVS,
        clip_range=CLIP_RANGE,
        max_grad_norm=MAX_GRAD_NORM,
        level=arguments.level,
    ) as monitor:
        seen = torch.as_tensor(envs.reset(seed=arguments.seed)[0])
        while monitor.env_steps < arguments.steps and not monitor.should_stop:
            rollout: dict[str, list[Tensor]] = {name: [] for name in ("s", "a", "logp", "v", "r", "d")}
            for _ in range(N_STEPS):
                with torch.no_grad():
                    policy, value = agent.policy(seen), agent.critic(seen).flatten()
                action = policy.sample()
                following, reward, terminated, truncated, _ = envs.step(action.numpy())
                done = np.logical_or(terminated, truncated)
                monitor.step(reward, done, following)
                step = (seen, action, policy.log_prob(action), value, reward, done)
                for name, part in zip(rollout, step, strict=True):
                    rollout[name].append(torch.as_tensor(part))
                seen = torch.as_tensor(following)
            with torch.no_grad():
                last_value = agent.critic(seen).flatten()
            s, a, logp, v, r, d = (torch.stack(rollout[name]) for name in rollout)
            advantages = advantages_of(r.float(), v, d.float(), last_value)
            batch: dict[str, Any] = {
                name: part.flatten(0, 1)
                for name, part in {
                    "observations": s, "actions": a, "log_probs": logp, "rewards": r.float(), "values": v,
                    "returns": advantages + v, "advantages": advantages,
                }.items()
            }  # fmt: skip
            with monitor.update(agent.policy, batch, agent, optimizer):
                for _ in range(N_EPOCHS):
                    for rows in np.array_split(
                        shuffle.permutation(len(batch["actions"])), N_STEPS * N_ENVS // MINIBATCH
                    ):
                        descend(agent, optimizer, {name: part[rows] for name, part in batch.items()})


def descend(agent: Agent, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> None:
    """One gradient step of PPO on a minibatch."""
    policy = agent.policy(batch["observations"])
    ratio = (policy.log_prob(batch["actions"]) - batch["log_probs"]).exp()
    advantage = (batch["advantages"] - batch["advantages"].mean()) / (batch["advantages"].std() + 1e-8)
    clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
    policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * (agent.critic(batch["observations"]).flatten() - batch["returns"]).square().mean()
    optimizer.zero_grad()
    (policy_loss + 0.5 * value_loss - 0.01 * policy.entropy().mean()).backward()
    nn.utils.clip_grad_norm_(agent.parameters(), MAX_GRAD_NORM)
    optimizer.step()


if __name__ == "__main__":
    main()
