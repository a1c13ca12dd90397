"""One chaotic task as a Gymnasium environment."""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from envs.lanes import Lanes, state_option
from envs.task import resolve

ALL = np.zeros(1, dtype=np.intp)


class ChaosEnv(gymnasium.Env[npt.NDArray[Any], Any]):
    """Control of a chaotic system (`envs.card(id)` and `rl-lab envs show ID` say all numbers of one of them).

    ## Description
    A chaotic system moves by its equations, plus a bounded push on one of them. Left alone it never settles
    and forgets its past within a few Lyapunov times; a small push at the right moment holds it at a state
    that is there all along but unstable.

    ## Action Space
    `Box(-1, 1, (pushes,), float32)`, scaled to ±`push` and held for `control_interval`. Values outside are
    clipped; a value that is not finite is refused with a ValueError and nothing moves. With `levels`,
    `Discrete(levels)` for one push, `MultiDiscrete` for several: evenly from -push to push.

    ## Observation Space
    `Box(-escape, escape, ...)`: each state as (value - centre) / half-range, with centre and half-range of
    the uncontrolled attractor at the default parameters; an angle as its cosine and sine (±1). float32, or
    float64 on request: float32 observations can flip the sign of a measured Lyapunov exponent. `sensors`
    chooses states, `units="raw"` leaves them as they are, `observe_rates` adds their rates,
    `observation_noise` adds noise (clipped to the box), `observation_delay` makes them late.

    ## Rewards
    What the goal says (envs/goals). `hold`: minus the Euclidean distance to the target at the end of the
    control interval, in units of `reward_scale` (angles by chord, 2 - 2 cos); the best return is 0.

    ## Starting State
    A settled point of the uncontrolled orbit, drawn with the environment's generator, or a point of
    `start_box`; `options={"state": ...}` starts at a given state.

    ## Episode End
    Termination: escape, a state `escape` half-ranges from its centre (or not finite). The state stays at the
    last one inside, and the reward is at once what the worst inside would have cost in the steps left. Some
    goals end episodes too. Truncation: after `steps` steps.

    ## Arguments
    Parameters of the system by name (`rho=20.0`), its structure, `goal` and the goal's own settings, and the
    fields of envs.task.Task: `gym.make("chaos/Lorenz-v0", rho=20.0, push=5.0, sensors=("x",))`.

    ## Version History
    * v0: initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, system: str, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"{system}: render_mode must be 'rgb_array' or None, got {render_mode!r}")
        self.task = resolve(system, settings)
        self.action_space = self.task.action_space()
        self.observation_space = self.task.observation_space()
        self.render_mode = render_mode
        self._lane = Lanes(self.task, 1)
        self._over = True
        self._reward = np.empty(1)
        self._ends = np.empty((2, 1), dtype=np.bool_)
        self._trail: deque[npt.NDArray[np.float64]] = deque(maxlen=160)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Start an episode; the same seed gives the same bits."""
        super().reset(seed=seed)
        drawn = self._lane.draw([self.np_random])
        chosen = state_option(self.task, options)
        self._lane.place(ALL, drawn if chosen is None else chosen[None])
        self._over = False
        self._trail.clear()
        self._remember()
        return self._lane.observe(ALL, [self.np_random])[0].astype(self._lane.dtype), {}

    def step(self, action: Any) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One control interval."""
        if self._over:
            raise ResetNeeded(f"{self.task.id}: the episode is over; call reset() before step()")
        lane, ends = self._lane, self._ends
        done, seen = lane.advance(action, self._reward, ends, (self.np_random,))
        self._over = done > 0
        if self.render_mode:
            self._remember()
        observation = seen[0].astype(lane.dtype)
        if not self._over:
            return observation, self._reward.item(), False, False, {}
        return observation, self._reward.item(), bool(ends[0, 0]), bool(ends[1, 0]), {}

    def render(self) -> Any:
        """A picture of the episode so far, uint8 [H, W, 3], in the render mode "rgb_array"; else None."""
        if self.render_mode is None:
            return None
        if not self._trail:
            raise ResetNeeded(f"{self.task.id}: call reset() before render()")
        from envs import render  # drawing is imported by those who look

        return render.frame(self.task, np.array(self._trail), self._lane.push[:, 0], int(self._lane.clock[0]))

    def _remember(self) -> None:
        if self.render_mode:
            self._trail.append(self.state)

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
            **self._lane.extras(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Go back to what get_state() returned, to the last bit."""
        self._lane.state[:, 0] = saved["state"]
        self._lane.clock[0] = saved["step"]
        self._lane.set_extras(saved)
        self._over = saved["over"]
        self.np_random.bit_generator.state = saved["random"]
        self._trail.clear()
        self._remember()
