"""The linear plants and PDEs of controlgym as environments that keep Gymnasium's contract.

controlgym 1.0.0 (Xiangyuan Zhang and others, MIT, arXiv:2311.18736) pins numpy < 2 and gymnasium 0.29.1, and no
version of it does without; its code runs with today's. docs/adapters.md says what is changed here and why.
"""

import importlib
import importlib.util
import sys
import warnings
from math import isfinite, sqrt
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.error import ResetNeeded

NAMESPACE = "controlgym"
INSTALL = "pip install --no-deps controlgym==1.0.0"
Floats = npt.NDArray[np.float64]

LINEAR = (
    *("toy", "ac1", "ac2", "ac3", "ac4", "ac5", "ac6", "ac7", "ac8", "ac9", "ac10", "bdt1", "bdt2", "cbm"),
    *("cdp", "cm1", "cm2", "cm3", "cm4", "cm5", "dis1", "dis2", "dlr", "he1", "he2", "he3", "he4", "he5"),
    *("he6", "iss", "je1", "je2", "lah", "pas", "psm", "rea", "umv"),
)
PDES = (
    *("allen_cahn", "burgers", "cahn_hilliard", "convection_diffusion_reaction", "fisher", "ginzburg_landau"),
    *("korteweg_de_vries", "kuramoto_sivashinsky", "schrodinger", "wave"),
)


def ids() -> list[str]:
    """Gymnasium ids, whether or not controlgym is installed."""
    return [f"{NAMESPACE}/{name}-v0" for name in (*LINEAR, *PDES)]


def register() -> None:
    """Make the ids known to Gymnasium; controlgym itself is loaded by the first `make`."""
    for name in (*LINEAR, *PDES):
        gymnasium.register(
            f"{NAMESPACE}/{name}-v0",
            entry_point="envs.adapters.controlgym:ControlEnv",
            kwargs={"plant": name},
        )


class ControlEnv(gymnasium.Env[Floats, Floats]):
    """A plant or PDE of controlgym, held near its target by a bounded action (docs/adapters.md).

    ## Action Space
    `Box(-action_limit, action_limit, (inputs,), float64)`. Values outside are clipped; a value that is not
    finite is refused with a ValueError and nothing moves.

    ## Observation Space
    `Box(-inf, inf, (sensors,), float64)`: the noisy sensors *after* the step.

    ## Rewards
    Minus the quadratic cost of the state before the step and of the (clipped) action.

    ## Episode End
    Termination: the state is not finite (the last finite observation is repeated) or the reward leaves
    ±`reward_limit`. Truncation: after `n_steps` steps.

    ## Arguments
    Those of controlgym by name (`n_steps`, `noise_cov`, `n_state`, ...), with `action_limit` 1 and
    `reward_limit` 1e15 where controlgym has no limit.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        plant: str,
        render_mode: None = None,
        action_limit: float = 1.0,
        reward_limit: float = 1e15,
        **settings: Any,
    ) -> None:
        self.name = f"{NAMESPACE}/{plant}-v0"
        if render_mode is not None:  # stable-baselines3 tries "rgb_array" and goes on without at a TypeError
            raise TypeError(f"{self.name}: there is nothing to render, got render_mode={render_mode!r}")
        for word, limit in (("action_limit", action_limit), ("reward_limit", reward_limit)):
            if not isinstance(limit, int | float) or not isfinite(limit) or limit <= 0:
                raise ValueError(f"{self.name}: {word} must be a positive number, got {limit!r}")
        make = controlgym_envs().make
        with warnings.catch_warnings():  # it opens its files by a deprecated function
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self.plant: Any = make(
                    plant, action_limit=action_limit, reward_limit=reward_limit, **settings
                )
            except (TypeError, AssertionError) as fault:
                raise ValueError(f"{self.name}: {fault}") from fault
        if getattr(self.plant, "integration_time", None):
            self.plant.integration_time = _whole_share(self.plant.sample_time, self.plant.integration_time)
        self.linear = plant in LINEAR
        self.render_mode = None
        self.action_space = spaces.Box(-action_limit, action_limit, (self.plant.n_action,), np.float64)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.plant.n_observation,), np.float64)
        self._initial = np.array(self.plant.init_state) if self.linear else None
        self._seen: Floats | None = None
        self._noise = np.empty(0)

    @property
    def state(self) -> Floats:
        """A copy of the plant's state."""
        return np.array(self.plant.state, dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start an episode; `options={"state": ...}` starts at exactly that state."""
        super().reset(seed=seed)
        chosen = self._chosen(options)
        self.plant.rng = Draws(self.np_random)
        if self.linear:
            self.plant.init_state = self._initial
        self.plant.reset()
        if chosen is not None:
            self.plant.state = chosen
        self._seen = self._observe()
        return self._seen.copy(), {"state": self.state}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """One sample time."""
        if self._seen is None:
            raise ResetNeeded(f"{self.name}: the episode is over; call reset() before step()")
        held = self._held(action)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            noise = (self._noise,) if self.linear else ()
            _, reward, clock_ended, out_of_range, _ = self.plant.step(held, *noise)
            seen = self._observe()
        finite = bool(np.isfinite(self.plant.state).all() and np.isfinite(seen).all())
        terminated = bool(out_of_range) or not finite or not isfinite(reward)
        truncated = bool(clock_ended) and not terminated
        observation = seen if finite else self._seen
        self._seen = None if terminated or truncated else observation
        paid = float(np.nan_to_num(reward, nan=-self.plant.reward_limit, neginf=-self.plant.reward_limit))
        return observation.copy(), paid, terminated, truncated, {"state": self.state}

    def _observe(self) -> Floats:
        """What the sensors say now. A plant's disturbance moves it too: the same one, in the next step."""
        if not self.linear:
            return np.asarray(self.plant._get_obs(), dtype=np.float64)
        size = self.plant.n_disturbance
        self._noise = self.plant.rng.multivariate_normal(np.zeros(size), self.plant.noise_cov * np.eye(size))
        return np.asarray(self.plant._get_obs(self._noise), dtype=np.float64)

    def _held(self, action: Floats) -> Floats:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (self.plant.n_action,):
            raise ValueError(
                f"{self.name}: expected {self.plant.n_action} values, got an action of shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{self.name}: the action must be finite, got {values.tolist()}")
        return np.clip(values, -self.plant.action_limit, self.plant.action_limit)

    def _chosen(self, options: dict[str, Any] | None) -> Floats | None:
        for name in options or {}:
            if name != "state":
                raise ValueError(f"{self.name}: {name} is not an option of reset; the only one is state")
        if not options:
            return None
        state = np.array(options["state"], dtype=np.float64)
        if state.shape != (self.plant.n_state,) or not np.isfinite(state).all():
            raise ValueError(f"{self.name}: the option state must give {self.plant.n_state} finite numbers")
        return state


class Draws:
    """The environment's generator, as controlgym uses one: its covariances are multiples of the identity."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.uniform = generator.uniform
        self._generator = generator

    def multivariate_normal(self, mean: Floats, covariance: Floats) -> Floats:
        """mean + sqrt(variance) times a standard normal vector; nothing is drawn at variance zero."""
        variance = float(covariance[0, 0]) if covariance.size else 0.0
        return mean + sqrt(variance) * self._generator.normal(size=len(mean)) if variance else mean.copy()


def _whole_share(whole: float, share: float) -> float:
    """`share`, smaller by the few roundings that make `whole // share` the number of shares that was meant."""
    count = round(whole / share)
    share = whole / count
    while whole // share < count:
        share = float(np.nextafter(share, 0.0))
    return share


def controlgym_envs() -> ModuleType:
    """controlgym.envs alone: the rest of the package wants matplotlib and turns all warnings into errors."""
    if (loaded := sys.modules.get("controlgym.envs")) is not None:
        return loaded
    found = importlib.util.find_spec("controlgym") if "controlgym" not in sys.modules else None
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the tasks {NAMESPACE}/... need controlgym: {INSTALL}")
    bare = ModuleType("controlgym")
    bare.__path__ = list(found.submodule_search_locations)
    sys.modules["controlgym"] = bare
    try:
        return importlib.import_module("controlgym.envs")
    finally:
        if sys.modules.get("controlgym") is bare:
            del sys.modules["controlgym"]
