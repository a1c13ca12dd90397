"""What a control interval does besides the physics: compiled once, for all generated systems.

`constants` holds: P parameters, the step, the bound, the worst reward, K limits of
the pushes, and per state centre, density (1 / half-range), target and weight. `angles` [D] says which states are
angles. Arrays of N lanes have the lane last.
"""

from typing import Any

import numpy as np
from numba import njit

from envs.elementary import cos, sin, sqrt

HOW: dict[str, Any] = {"cache": True, "error_model": "numpy"}

HUGE = float(np.finfo(np.float64).max)
"""A bound that only infinities are outside of."""


@njit(**HOW)  # type: ignore[untyped-decorator]
def begin(action: Any, constants: Any, angles: Any, parameters: Any, push: Any, alive: Any, box: Any) -> Any:
    """Clip action [N, K] into push [K, N], set alive [N] and the escape bounds box [D, 2].

    Returns -1, or the first lane whose action is not finite.
    """
    for n in range(action.shape[0]):
        for k in range(action.shape[1]):
            if not np.isfinite(action[n, k]):
                return n
    for k in range(action.shape[1]):
        limit = constants[parameters + 3 + k]
        for n in range(action.shape[0]):
            push[k, n] = limit * min(max(action[n, k], -1.0), 1.0)
    alive[:] = 1.0
    size, first = angles.size, parameters + 3 + action.shape[1]
    for d in range(size):
        reach = HUGE if angles[d] else constants[parameters + 1] / constants[first + size + d]
        box[d, 0] = constants[first + d] - reach
        box[d, 1] = constants[first + d] + reach
    return -1


@njit(**HOW)  # type: ignore[untyped-decorator]
def observe(state: Any, constants: Any, angles: Any, first: Any, observation: Any) -> None:
    """What an agent sees of every lane: state [D, N] -> observation [N, O]; centres begin at `first`."""
    size, column = angles.size, 0
    for d in range(size):
        if angles[d]:
            for n in range(state.shape[1]):
                observation[n, column] = cos(state[d, n])
                observation[n, column + 1] = sin(state[d, n])
            column += 2
        else:
            centre, density = constants[first + d], constants[first + size + d]
            for n in range(state.shape[1]):
                observation[n, column] = (state[d, n] - centre) * density
            column += 1


@njit(**HOW)  # type: ignore[untyped-decorator]
def finish(
    state: Any,
    clock: Any,
    alive: Any,
    constants: Any,
    angles: Any,
    parameters: Any,
    pushes: Any,
    steps: Any,
    observation: Any,
    reward: Any,
    over: Any,
) -> Any:
    """Count, pay, end and observe every lane; returns how many lanes are over.

    A lane that escaped pays the worst reward there is inside the bounds for each step it leaves out.
    """
    size, first = angles.size, parameters + 3 + pushes
    reward[:] = 0.0
    for d in range(size):
        target, weight = constants[first + 2 * size + d], constants[first + 3 * size + d]
        if angles[d]:
            for n in range(state.shape[1]):
                reward[n] += 2.0 * (1.0 - cos(state[d, n] - target)) * weight
        else:
            for n in range(state.shape[1]):
                reward[n] += (state[d, n] - target) ** 2 * weight
    done, worst = 0, constants[parameters + 2]
    for n in range(state.shape[1]):
        clock[n] += 1
        escaped = alive[n] == 0.0
        reward[n] = -worst * (steps - clock[n] + 1) if escaped else -sqrt(reward[n])
        over[0, n] = escaped
        over[1, n] = (clock[n] >= steps) & (not escaped)
        done += over[0, n] | over[1, n]
    observe(state, constants, angles, first, observation)
    return done
