"""Text of the generated module of a lattice, before its law is filled in; `$name` is filled in by codegen.

A block of lanes is stored as [component, (LEFT + sites + RIGHT) * lanes], sites outside, lanes inside, with a
border of sites beyond both ends. The value k sites to the right is then k * lanes further on, for all sites and
lanes in one loop without branches, which becomes vector instructions; for the tangent the vectors of the frame
take the place of the lanes. Indices of such loops are unsigned: a signed one could be negative and count from
the end, and the question costs the vector instructions.
"""

KERNELS = '''"""$title: generated from its law by envs.lattice_codegen; edits are lost."""

from math import atan, cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh

import numpy as np
from numba import njit, uint64

from envs.elementary import absolute, sign
from envs.gram_schmidt import orthonormalise

# numpy's error model (1/0 is inf) keeps loops free of branches; no fast-math, so that a lane of a batch
# and a single state go through the same roundings.
HOW = {"cache": True, "error_model": "numpy"}
COMPONENTS, PROFILES, TOTALS, PARAMETERS = $components, $profiles, $totals, $parameters
LEFT, RIGHT, STAGES = $left, $right, $stages
BLOCK = 2048
"""Numbers in the state of a block of lanes: small enough that a step's stages stay in the nearest cache."""


@njit(**HOW)
def law(s, out, sums, profile, push, lanes, parameters):
    """The equations at every site of every lane: block s -> out [component, sites * lanes]."""
    size = uint64(out.shape[1])
    sites = out.shape[1] // lanes
$border
$law


@njit(**HOW)
def turn(s, v, out, sums, profile, push, vectors, parameters):
    """Their derivative at one state (after `law` there) times every vector of block v."""
    sites = out.shape[1] // vectors
$frame_border
$turn


@njit(**HOW)
def combine(t, s, rates, h, stage, stages, lanes):
    """What the stage leads to: t = image of a map; s + h rate; s + h (a + 2 (b + c) + d) / 6 in the end of RK4."""
    start, part, sixth = uint64(LEFT * lanes), h if stage == 2 else 0.5 * h, h / 6.0
    for k in range(COMPONENTS):
        if stages == 1:
            for m in range(uint64(rates.shape[2])):
                t[k, start + m] = rates[0, k, m]
        elif stage < 3:
            for m in range(uint64(rates.shape[2])):
                t[k, start + m] = s[k, start + m] + part * rates[stage, k, m]
        else:
            for m in range(uint64(rates.shape[2])):
                inner = rates[1, k, m] + rates[2, k, m]
                t[k, start + m] = s[k, start + m] + sixth * (rates[0, k, m] + 2.0 * inner + rates[3, k, m])


@njit(**HOW)
def run(states, held, alive, h, steps, stages, low, high, frame, parameters):
    """Move lanes [D, N] in place, block by block, with held pushes [pushes, N].

    With bounds (low not empty) a lane whose next state leaves them or is not finite stays where it was, no
    longer alive. With vectors in the frame [D, k] (for one lane) they are carried along. `stages` is 4 for RK4
    and 1 for the equations themselves.
    """
    count, sites, vectors = states.shape[1], states.shape[0] // COMPONENTS, frame.shape[1]
    width = max(1, min(count, BLOCK // states.shape[0]))
    places = parameters[PARAMETERS + PROFILES * sites :]
    v = np.zeros((COMPONENTS, (LEFT + sites + RIGHT) * vectors))
    w, turns = np.zeros_like(v), np.empty((stages, COMPONENTS, sites * vectors))
    for d in range(states.shape[0]):
        for j in range(vectors):
            v[d // sites, (LEFT + d % sites) * vectors + j] = frame[d, j]
    for first in range(0, count, width):
        lanes = min(width, count - first)
        long, size = (LEFT + sites + RIGHT) * lanes, sites * lanes
        s, t, rates = np.zeros((COMPONENTS, long)), np.zeros((COMPONENTS, long)), np.empty((stages, COMPONENTS, size))
        profile, push, sums = np.zeros((PROFILES, long)), np.zeros(size), np.empty((TOTALS, size))
        for d in range(states.shape[0]):
            for n in range(lanes):
                s[d // sites, (LEFT + d % sites) * lanes + n] = states[d, first + n]
        for c in range(PROFILES):
            for i in range(-LEFT, sites + RIGHT):
                if $inside:
                    for n in range(lanes):
                        profile[c, (LEFT + i) * lanes + n] = parameters[PARAMETERS + c * sites + i % sites]
        for j in range(held.shape[0]):
            for n in range(lanes if places[j] < 0.0 else 0):
                push[int(-1.0 - places[j]) * lanes + n] = held[j, first + n]
        good = alive[first : first + lanes].copy() if low.size > 0 else np.ones(lanes)
        for _ in range(steps):
            here, before = s, v
            for stage in range(stages):
                law(here, rates[stage], sums, profile, push, lanes, parameters)
                for j in range(held.shape[0]):
                    d = int(places[j])
                    for n in range(lanes if d >= 0 else 0):
                        rates[stage, d // sites, d % sites * lanes + n] += held[j, first + n]
                if vectors > 0:
                    turn(here, before, turns[stage], sums, profile, push, vectors, parameters)
                    combine(w, v, turns, h, stage, stages, vectors)
                combine(t, s, rates, h, stage, stages, lanes)
                here, before = t, w
            for d in range(low.size):
                c, start = d // sites, uint64((LEFT + d % sites) * lanes)
                least, most = low[d], high[d]
                for n in range(uint64(lanes)):
                    value = t[c, start + n]
                    inside = (value >= least) & (value <= most) & (value - value == 0.0)
                    good[n] = good[n] if inside else 0.0
            for n in range(lanes):
                if good[n] == 0.0:
                    for m in range(LEFT * lanes + n, (LEFT + sites) * lanes, lanes):
                        for c in range(COMPONENTS):
                            t[c, m] = s[c, m]
            s, t, v, w = t, s, w, v
        for d in range(states.shape[0]):
            for n in range(lanes):
                states[d, first + n] = s[d // sites, (LEFT + d % sites) * lanes + n]
        if low.size > 0:
            alive[first : first + lanes] = good
    for d in range(states.shape[0]):
        for j in range(vectors):
            frame[d, j] = v[d // sites, (LEFT + d % sites) * vectors + j]


def carry(states, push, alive, h, steps, low, high, parameters):
    """Move N states in place: states [D, N], push [pushes, N], alive [N] of 1.0 or 0.0, bounds [D].

    A lane whose next state leaves the bounds or is not finite stays where it was, no longer alive.
    """
    run(states, push, alive, h, steps, STAGES, low, high, NO_FRAME, parameters)


def advance(states, push, h, steps, parameters):
    """Move N states in place: states [D, N], push [pushes, N]."""
    run(states, push, NONE, h, steps, STAGES, NONE, NONE, NO_FRAME, parameters)


def step(state, push, h, parameters):
    """One step of one state: [D] -> [D]."""
    moved = state.reshape(-1, 1).copy()
    advance(moved, push.reshape(-1, 1), h, 1, parameters)
    return moved.ravel()


def law_at(state, push, parameters):
    """The equations at one state: [D] -> [D]."""
    found = state.reshape(-1, 1).copy()
    run(found, push.reshape(-1, 1), NONE, 1.0, 1, 1, NONE, NONE, NO_FRAME, parameters)
    return found.ravel()


def jacobian(state, push, parameters):
    """The derivative of the equations at one state: [D] -> [D, D]."""
    found, frame = state.reshape(-1, 1).copy(), np.eye(state.size)
    run(found, push.reshape(-1, 1), NONE, 1.0, 1, 1, NONE, NONE, frame, parameters)
    return frame


def orbit(state, samples, every, h, parameters):
    """The uncontrolled orbit after a state: [samples, D]."""
    moved, points = state.reshape(-1, 1).copy(), np.empty((samples, state.size))
    for point in points:
        advance(moved, NO_PUSH, h, every, parameters)
        point[:] = moved[:, 0]
    return points


def stretch(state, frame, steps, qr_every, h, parameters):
    """Move state and frame in place without push; returns the log growth of the frame's vectors, [k]."""
    moved, growth = state.reshape(-1, 1), np.zeros(frame.shape[1])
    for done in range(0, steps, qr_every):
        part = min(qr_every, steps - done)
        run(moved, NO_PUSH, NONE, h, part, STAGES, NONE, NONE, frame, parameters)
        growth += orthonormalise(frame)
    return growth


NONE, NO_PUSH, NO_FRAME = np.empty(0), np.empty((0, 1)), np.empty((0, 0))
'''

RING = """\
    for c in range(COMPONENTS):
        for r in range(LEFT + RIGHT):
            i = r if r < LEFT else r + sites
            j = (i - LEFT) % sites + LEFT
            for n in range(lanes):
                s[c, i * lanes + n] = s[c, j * lanes + n]
"""

OPEN = """\
    # Beyond the ends a block is zero from the beginning, and nothing ever writes there.
"""
