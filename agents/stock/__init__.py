"""The algorithms of stable-baselines3 and sb3-contrib as they are: which of their settings may be chosen.

Names and defaults are theirs (a test holds them to the installed version), except `device`: theirs is "auto",
and SB3 itself warns that small networks are slower on a GPU. A new one is a class in this package and a line in
STOCK.
"""

from collections.abc import Mapping

from agents.stock.off_policy import StockDQN, StockSAC, StockTD3
from agents.stock.on_policy import StockA2C, StockPPO, StockTRPO
from agents.stock.recurrent import StockGRU, StockLSTM
from agents.stock.terms import SHARED, Stock

STOCK: Mapping[str, type[Stock]] = {
    "ppo-sb3": StockPPO,
    "a2c-sb3": StockA2C,
    "trpo-sb3": StockTRPO,
    "ppo-lstm": StockLSTM,
    "ppo-gru": StockGRU,
    "sac": StockSAC,
    "td3": StockTD3,
    "dqn": StockDQN,
}

__all__ = ["SHARED", "STOCK", "Stock"]
