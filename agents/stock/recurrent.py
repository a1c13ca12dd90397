"""PPO with a memory: sb3-contrib's RecurrentPPO with its LSTM, and the same with a GRU."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import sb3_contrib
from annotated_types import Ge
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from agents.policy import EXTRACTORS
from agents.spaces import Space, policy_name
from agents.stock.on_policy import StockPPO
from agents.stock.terms import Width

States = tuple[Tensor, Tensor]
"""SB3's pair (h, c) of hidden and cell states, each [layers, B, H]."""


class GRUMemory(nn.Module):
    """A GRU where sb3-contrib expects an LSTM: the same call and the same pair of states.

    z = sigmoid(Wz x + Uz h),  r = sigmoid(Wr x + Ur h),  n = tanh(Wn x + r * (Un h)),  h' = (1 - z) * n + z * h,
    biases left out. A GRU has no cell state: c comes back as it was given.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.gru = nn.GRU(input_size, hidden_size, num_layers)

    def forward(self, sequence: Tensor, states: States) -> tuple[Tensor, States]:
        """Map sequences [T, B, F] to outputs [T, B, H] and the states after them."""
        hidden, cell = states
        output, hidden = self.gru(sequence, hidden)
        return output, (hidden, cell)


class GRUPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's recurrent actor-critic with a GRUMemory in the place of each LSTM.

    ValueError: `lstm_kwargs`, which are about LSTMs.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        lr_schedule: Schedule,
        **keywords: Any,
    ) -> None:
        if keywords.get("lstm_kwargs"):
            raise ValueError(
                f"lstm_kwargs {keywords['lstm_kwargs']} are about LSTMs, and this policy has GRUs"
            )
        super().__init__(observation_space, action_space, lr_schedule, **keywords)
        for name in ("lstm_actor", "lstm_critic"):
            lstm = getattr(self, name)
            if lstm is not None:
                setattr(self, name, GRUMemory(lstm.input_size, lstm.hidden_size, lstm.num_layers))
        optimizer: Any = self.optimizer_class  # the one that was built holds the weights of the LSTMs
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


@dataclass(frozen=True, kw_only=True)
class StockLSTM(StockPPO):
    """sb3-contrib's RecurrentPPO, unchanged: PPO whose policy and value function remember by an LSTM each.

    maximise  min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A)  with  pi(a|s, h).

    h is the state of the LSTM and begins at 0 in every episode. Gradients go back to the beginning of the
    episode or of the minibatch.
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = sb3_contrib.RecurrentPPO
    source: ClassVar[str] = (
        "Schulman et al. (arXiv:1707.06347), LSTM by Hochreiter and Schmidhuber (Neural Computation 9, 1735, 1997), "
        "as written in sb3-contrib"
    )
    # MultiBinary actions come back from sb3-contrib's recurrent buffer as integers, which its loss cannot take.
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete)
    of_policy: ClassVar[tuple[str, ...]] = ("net_arch", "lstm_hidden_size", "n_lstm_layers")

    n_steps: Annotated[int, Ge(1)] = 128
    """Steps of each environment in one rollout."""
    batch_size: Annotated[int, Ge(2)] = 128
    """Samples in one minibatch; their sequences are cut where it ends."""
    lstm_hidden_size: Annotated[int, Ge(1)] = 256
    """Units of the memory."""
    n_lstm_layers: Annotated[int, Ge(1)] = 1
    """Layers of the memory, one above the other."""
    net_arch: tuple[Width, ...] | None = None
    """Units of the hidden layers behind the memory; None leaves SB3's choice, which for vectors is 64, 64."""

    def policy(self, observation_space: Space) -> str | type[BasePolicy]:
        """Return sb3-contrib's name of the recurrent policy that reads these observations."""
        return policy_name(observation_space).replace("Policy", "LstmPolicy")


@dataclass(frozen=True, kw_only=True)
class StockGRU(StockLSTM):
    """sb3-contrib's RecurrentPPO with a GRU in the place of each LSTM, all else unchanged.

    maximise  min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A)  with  pi(a|s, h),
    z = sigmoid(Wz s + Uz h),  r = sigmoid(Wr s + Ur h),
    n = tanh(Wn s + r * (Un h)),  h' = (1 - z) * n + z * h.
    """

    source: ClassVar[str] = (
        "Schulman et al. (arXiv:1707.06347), GRU by Cho et al. (arXiv:1406.1078); algorithm of sb3-contrib"
    )

    def policy(self, observation_space: Space) -> str | type[BasePolicy]:
        """Return the policy with the GRU, which reads any observations."""
        del observation_space
        return GRUPolicy

    def keywords(self, env: VecEnv) -> dict[str, Any]:
        """Return the settings as the algorithm takes them, with the extractor for these observations."""
        chosen = super().keywords(env)
        extractor = EXTRACTORS[policy_name(env.observation_space)]
        chosen["policy_kwargs"]["features_extractor_class"] = extractor
        return chosen
