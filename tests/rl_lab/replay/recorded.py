"""Small trainings of every kind, and the incident of their last update, written without any detector."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import agents
from agents.stock.recurrent import GRUPolicy
from rl_lab.monitor.measure.snapshot import take
from rl_lab.monitor.record.incident_files import scene_of, write_incident
from rl_lab.replay import read


class Little(gym.Env):
    """A task for any spaces: pays for the action, episodes last 17 steps."""

    def __init__(self, actions, sees=None, pay=float):
        self.action_space, self.pay = actions, pay
        self.observation_space = sees or spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), self.pay(np.sum(action)), False, self.t == 17, {}

    def action_masks(self):
        masks = np.ones(self.action_space.n, bool)
        masks[self.t % self.action_space.n] = False
        return masks


BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(4)
DICT = spaces.Dict({"b": spaces.Box(-1, 1, (2,), np.float32), "a": spaces.Discrete(3)})
SMALL = {"n_steps": 32, "seed": 3, "device": "cpu"}
BATCHES = {"batch_size": 16, "n_epochs": 3}


def falling(start):
    return lambda remaining: start * remaining


def environments(actions, sees=None, pay=float):
    return make_vec_env(lambda: Little(actions, sees, pay), n_envs=2, seed=3)


def stock(algorithm, policy="MlpPolicy", actions=BOX, sees=None, **settings):
    return lambda: algorithm(policy, environments(actions, sees), **{**SMALL, **settings})


def ours(name, actions=BOX, **settings):
    chosen = {"n_steps": 32, "net_arch": (8,), **settings}
    return lambda: agents.make(name, environments(actions), 3, chosen)


def normalised():
    return PPO("MlpPolicy", VecNormalize(environments(BOX)), **SMALL, **BATCHES)


# fmt: off
MAKE = {
    "ppo": stock(
        PPO, **BATCHES, learning_rate=falling(0.03), clip_range=falling(0.3), clip_range_vf=falling(0.4)
    ),
    "ppo-discrete": stock(PPO, actions=DISCRETE, **BATCHES),
    "ppo-dict": stock(PPO, "MultiInputPolicy", sees=DICT, **BATCHES),
    "ppo-gsde": stock(PPO, **BATCHES, use_sde=True),
    "ppo-normalised": normalised,
    "a2c": stock(A2C, actions=spaces.MultiDiscrete([2, 3])),
    "trpo": stock(TRPO, batch_size=16, n_critic_updates=2),
    "maskable": stock(MaskablePPO, actions=DISCRETE, **BATCHES),
    "lstm": stock(
        RecurrentPPO, "MlpLstmPolicy", **BATCHES,
        # Dropout draws from torch's generator.
        policy_kwargs={"lstm_hidden_size": 8, "n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.3}},
    ),
    "gru": stock(RecurrentPPO, GRUPolicy, **BATCHES, policy_kwargs={"lstm_hidden_size": 8}),
    "our-ppo": ours("ppo", **BATCHES, anneal_learning_rate=True, normalize_layers="batch"),
    "our-ppo-kl": ours("ppo-kl", **BATCHES, clip_spikes=True, l2_init=0.01),
    "our-trpo": ours("trpo", batch_size=16, n_epochs=2, value_loss="hl_gauss"),
}
# fmt: on


class Keeping(BaseCallback):
    """Stops after so many updates, in the next rollout, and writes the incident of the last of them."""

    def __init__(self, path, updates=1, raised=None):
        super().__init__()
        self.path, self.left, self.raised = path, updates, raised

    def _on_step(self):
        return self.left > 0

    def _on_rollout_end(self):
        self.left -= 1
        self.before = take(self.model)

    def _on_training_end(self):
        self.write()

    def write(self):
        event = {
            "id": 1,
            "event": "kl_spike",
            "update": 2,
            "value": 1.0,
            "threshold": None,
            "message": "too far",
        }
        told = {"event": event, "update": 2, "run_id": "mine", "env": {"id": "Pendulum-v1", "settings": {}}}
        self.path.mkdir(parents=True)
        write_incident(self.path, scene_of(self.model, self.before, self.raised), told)


def recorded(make, path, updates=2):
    """The incident of the last of so many updates, half way through its training, and the algorithm that made it."""
    model, path = make(), path / "1-kl_spike"
    model.learn(2 * updates * model.n_steps * model.n_envs, callback=Keeping(path, updates))
    return read(path), model
