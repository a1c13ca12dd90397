"""One chaotic task as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from envs.lanes import Lanes, state_option
from envs.task import resolve

ALL = np.zeros(1, dtype=np.intp)


class ChaosEnv(gymnasium.Env[npt.NDArray[Any], npt.NDArray[Any]]):
    """Control of a chaotic system (`envs.card(id)` and `rl-lab envs show ID` say all numbers of one of them).

    ## Description
    A chaotic system moves by its equations, plus a bounded push on one of them. Left alone it never settles
    and forgets its past within a few Lyapunov times; a small push at the right moment holds it at a state
    that is there all along but unstable.

    ## Action Space
    `Box(-1, 1, (pushes,), float32)`, scaled to ±`push` and held for `control_interval`. Values outside are
    clipped; a value that is not finite is refused with a ValueError and nothing moves.

    ## Observation Space
    `Box(-escape, escape, ...)`: each state as (value - centre) / half-range, with centre and half-range of
    the uncontrolled attractor at the default parameters; an angle as its cosine and sine (±1). float32, or
    float64 on request: float32 observations can flip the sign of a measured Lyapunov exponent.

    ## Rewards
    Minus the Euclidean distance to the target at the end of the control interval, in units of `reward_scale`
    (angles by chord, 2 - 2 cos). The best return is 0.

    ## Starting State
    A settled point of the uncontrolled orbit, drawn with the environment's generator; `options={"state":
    ...}` starts at a given state.

    ## Episode End
    Termination: escape, a state `escape` half-ranges from its centre (or not finite). The state stays at the
    last one inside, and the reward is at once what the farthest state inside would have cost in the steps
    left. Truncation: after `steps` steps.

    ## Arguments
    Parameters of the system by name (`rho=20.0`) and push, control_interval, steps, reward_scale, escape,
    dtype ("float32" or "float64"): `gym.make("chaos/Lorenz-v0", rho=20.0, push=5.0)`.

    ## Version History
    * v0: initial version.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, system: str, render_mode: None = None, **settings: Any) -> None:
        if render_mode is not None:  # stable-baselines3 tries "rgb_array" and goes on without at a TypeError
            raise TypeError(f"{system}: there is nothing to render, got render_mode={render_mode!r}")
        self.task = resolve(system, settings)
        self.action_space = self.task.action_space()
        self.observation_space = self.task.observation_space()
        self.render_mode = None
        self._lane = Lanes(self.task, 1)
        self._over = True
        self._reward = np.empty(1)
        self._ends = np.empty((2, 1), dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Start an episode; the same seed gives the same bits."""
        super().reset(seed=seed)
        drawn = self._lane.starts[[self._lane.draw(self.np_random)]]
        chosen = state_option(self.task, options)
        self._lane.place(ALL, drawn if chosen is None else chosen[None])
        self._over = False
        return self._lane.observe(ALL)[0].astype(self._lane.dtype), {}

    def step(self, action: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One control interval."""
        if self._over:
            raise ResetNeeded(f"{self.task.id}: the episode is over; call reset() before step()")
        lane, ends = self._lane, self._ends
        self._over = lane.advance(action, self._reward, ends) > 0
        seen = lane.seen[0].astype(lane.dtype)
        if not self._over:
            return seen, self._reward.item(), False, False, {}
        return seen, self._reward.item(), bool(ends[0, 0]), bool(ends[1, 0]), {}

    @property
    def state(self) -> npt.NDArray[np.float64]:
        """A copy of the system's state, [D]."""
        return self._lane.state[:, 0].copy()

    def get_state(self) -> dict[str, Any]:
        """Everything the future depends on, as plain values that JSON keeps exactly."""
        return {
            "state": self._lane.state[:, 0].tolist(),
            "step": int(self._lane.clock[0]),
            "over": self._over,
            "random": self.np_random.bit_generator.state,
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Go back to what get_state() returned, to the last bit."""
        self._lane.state[:, 0] = saved["state"]
        self._lane.clock[0] = saved["step"]
        self._over = saved["over"]
        self.np_random.bit_generator.state = saved["random"]
