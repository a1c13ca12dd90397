"""Text of the generated modules of delay equations, in the notation of envs.templates.

`<<s:...>>` repeats for every variable, `<<j:...>>` for every entry of the derivative by the variables now (a) or
one delay ago (b). A history is a ring while it moves: a step overwrites the two oldest samples, at head - 1
(the midpoint) and head - 2 (the new value, which is the next head), and nothing is shifted; only the result is
put back in order.
"""

KERNELS = '''"""$title: generated from its equations by envs.delay_codegen; edits are lost."""

from math import $smooth

import numpy as np
from numba import njit

from envs.elementary import $stepped

# numpy's error model (1/0 is inf) keeps loops free of branches; no fast-math, so that a lane of a batch
# and a single state go through the same roundings.
HOW = {"cache": True, "error_model": "numpy"}


@njit(**HOW)
def law($arguments):
    """The rate of every variable."""
$law

@njit(**HOW)
def slopes($arguments):
    """Its derivative by the variables now, then by those one delay ago, row by row."""
$slopes

@njit(**HOW)
def turn(<<j:a#>>, <<j:b#>>, <<s:v#>>, <<s:w#>>):
    """The derivative times the vectors v (now) and w (one delay ago)."""
    return $turned


$move

@njit(**HOW)
def advance(states, push, h, steps, parameters):
    """Move N histories in place: states [D, N], push [pushes, N]."""
    <<p:p# = parameters[#]|; >>
    length, lanes = states.shape[0] // $d, states.shape[1]
    ring, head = states.copy(), 0
    for _ in range(steps):
        l, m, e = (head - 1) % length, (head - 2) % length, (head - 3) % length
        for n in range(lanes):
            <<s:t#>>, <<s:r#>>, = move(
                <<s:ring[# * length + head, n]>>,
                <<s:ring[# * length + l, n]>>,
                <<s:ring[# * length + m, n]>>,
                <<s:ring[# * length + e, n]>>,
                <<u:push[#, n]>>, h, <<p:p#>>
            )
            <<s:ring[# * length + m, n] = t#|; >>
            <<s:ring[# * length + l, n] = r#|; >>
        head = m
    for j in range(length):
        now = (head + j) % length
        for n in range(lanes):
            <<s:states[# * length + j, n] = ring[# * length + now, n]|; >>


@njit(**HOW)
def carry(states, push, alive, h, steps, low, high, parameters):
    """Like advance, but a lane stays at its history, and its alive becomes 0.0, where the next value would
    leave low ... high [D] or not be finite."""
    <<p:p# = parameters[#]|; >>
    length, lanes = states.shape[0] // $d, states.shape[1]
    <<s:low#, high# = low[# * length], high[# * length]|; >>
    ring, head = states.copy(), 0
    heads = np.zeros(lanes, dtype=np.int64)
    for _ in range(steps):
        l, m, e = (head - 1) % length, (head - 2) % length, (head - 3) % length
        for n in range(lanes):
            <<s:o# = ring[# * length + m, n]|; >>
            <<s:q# = ring[# * length + l, n]|; >>
            <<s:t#>>, <<s:r#>>, = move(
                <<s:ring[# * length + head, n]>>,
                <<s:q#>>,
                <<s:o#>>,
                <<s:ring[# * length + e, n]>>,
                <<u:push[#, n]>>, h, <<p:p#>>
            )
            inside = (alive[n] > 0.0) & <<s:(t# - t# == 0.0) & (low# <= t#) & (t# <= high#)| & >>
            inside = inside & <<s:(low# <= r#) & (r# <= high#)| & >>
            <<s:ring[# * length + m, n] = t# if inside else o#|; >>
            <<s:ring[# * length + l, n] = r# if inside else q#|; >>
            heads[n] = m if inside else heads[n]
            alive[n] = 1.0 if inside else 0.0
        head = m
    for j in range(length):
        for n in range(lanes):
            now = (heads[n] + j) % length
            <<s:states[# * length + j, n] = ring[# * length + now, n]|; >>


@njit(**HOW)
def orbit(state, samples, every, h, parameters):
    """The uncontrolled orbit after a history: [samples, D]."""
    points = np.empty((samples, len(state)))
    moved, push = state.copy().reshape(len(state), 1), np.zeros(($k, 1))
    for n in range(samples):
        advance(moved, push, h, every, parameters)
        points[n] = moved[:, 0]
    return points


@njit(**HOW)
def bend(ring, frame, head, push, h, parameters):
    """One step of a history [D] and of tangent vectors [D, k], both rings, in place; returns the new head."""
    <<p:p# = parameters[#]|; >>
    <<u:u# = push[#]|; >>
    length = len(ring) // $d
    l, m, e = (head - 1) % length, (head - 2) % length, (head - 3) % length
    <<s:s# = ring[# * length + head]|; >>
    <<s:l# = ring[# * length + l]|; >>
    <<s:m# = ring[# * length + m]|; >>
    <<s:e# = ring[# * length + e]|; >>
$tangent
    return m


@njit(**HOW)
def unroll(ring, head):
    """The rows of a ring [D, k] in order: x0 (now), x1, ..."""
    ordered, length = np.empty_like(ring), len(ring) // $d
    for c in range($d):
        for j in range(length):
            ordered[c * length + j] = ring[c * length + (head + j) % length]
    return ordered


@njit(**HOW)
def orthonormalise(frame):
    """Modified Gram-Schmidt in place; returns the logarithms of the lengths, [k]."""
    rows, vectors = frame.shape
    lengths = np.empty(vectors)
    for j in range(vectors):
        for i in range(j):
            overlap = 0.0
            for d in range(rows):
                overlap += frame[d, i] * frame[d, j]
            for d in range(rows):
                frame[d, j] -= overlap * frame[d, i]
        square = 0.0
        for d in range(rows):
            square += frame[d, j] ** 2
        lengths[j] = 0.5 * log(square)
        for d in range(rows):
            frame[d, j] /= sqrt(square)
    return lengths


@njit(**HOW)
def stretch(state, frame, steps, qr_every, h, parameters):
    """Move history and frame in place without push; returns the log growth of the frame's vectors, [k]."""
    growth, head, push = np.zeros(frame.shape[1]), 0, np.zeros($k)
    for n in range(steps):
        head = bend(state, frame, head, push, h, parameters)
        if (n + 1) % qr_every == 0 or n + 1 == steps:
            growth += orthonormalise(frame)
    state[:] = unroll(state.reshape(len(state), 1), head)[:, 0]
    frame[:] = unroll(frame, head)
    return growth
'''

MOVE = '''@njit(**HOW)
def move(<<s:s#>>, <<s:l#>>, <<s:m#>>, <<s:e#>>, <<u:u#>>, h, <<p:p#>>):
    """One RK4 step with the push held, and its midpoint.

    s: now; l, m, e: one delay before the beginning, the middle, the end of the step.
    """
    half, sixth, share = 0.5 * h, h / 6.0, h / 24.0
    <<s:a#>>, = law(<<s:s#>>, <<s:l#>>, <<u:u#>>, <<p:p#>>)
    <<s:b#>>, = law(<<s:s# + half * a#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<s:c#>>, = law(<<s:s# + half * b#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<s:d#>>, = law(<<s:s# + h * c#>>, <<s:e#>>, <<u:u#>>, <<p:p#>>)
    return (
        <<s:s# + sixth * (a# + 2.0 * (b# + c#) + d#)>>,
        <<s:s# + share * (5.0 * a# + 4.0 * (b# + c#) - d#)>>,
    )
'''

TANGENT = """\
    half, sixth, share = 0.5 * h, h / 6.0, h / 24.0
    <<s:a#>>, = law(<<s:s#>>, <<s:l#>>, <<u:u#>>, <<p:p#>>)
    <<s:f# = s# + half * a#|; >>
    <<s:b#>>, = law(<<s:f#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<s:g# = s# + half * b#|; >>
    <<s:c#>>, = law(<<s:g#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<s:i# = s# + h * c#|; >>
    <<s:d#>>, = law(<<s:i#>>, <<s:e#>>, <<u:u#>>, <<p:p#>>)
    <<j:aa#>>, <<j:ab#>>, = slopes(<<s:s#>>, <<s:l#>>, <<u:u#>>, <<p:p#>>)
    <<j:ba#>>, <<j:bb#>>, = slopes(<<s:f#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<j:ca#>>, <<j:cb#>>, = slopes(<<s:g#>>, <<s:m#>>, <<u:u#>>, <<p:p#>>)
    <<j:da#>>, <<j:db#>>, = slopes(<<s:i#>>, <<s:e#>>, <<u:u#>>, <<p:p#>>)
    for j in range(frame.shape[1]):
        <<s:v# = frame[# * length + head, j]|; >>
        <<s:x# = frame[# * length + m, j]|; >>
        <<s:w# = frame[# * length + l, j]|; >>
        <<s:y# = frame[# * length + e, j]|; >>
        <<s:va#>>, = turn(<<j:aa#>>, <<j:ab#>>, <<s:v#>>, <<s:w#>>)
        <<s:vb#>>, = turn(<<j:ba#>>, <<j:bb#>>, <<s:v# + half * va#>>, <<s:x#>>)
        <<s:vc#>>, = turn(<<j:ca#>>, <<j:cb#>>, <<s:v# + half * vb#>>, <<s:x#>>)
        <<s:vd#>>, = turn(<<j:da#>>, <<j:db#>>, <<s:v# + h * vc#>>, <<s:y#>>)
        <<s:frame[# * length + m, j] = v# + sixth * (va# + 2.0 * (vb# + vc#) + vd#)|; >>
        <<s:frame[# * length + l, j] = v# + share * (5.0 * va# + 4.0 * (vb# + vc#) - vd#)|; >>
    <<s:ring[# * length + m] = s# + sixth * (a# + 2.0 * (b# + c#) + d#)|; >>
    <<s:ring[# * length + l] = s# + share * (5.0 * a# + 4.0 * (b# + c#) - d#)|; >>
"""

TENSORS = '''"""$title: generated from its equations by envs.delay_codegen; edits are lost."""

from torch import cat, stack

from envs.functions import $known


def law($arguments):
    """The rate of every variable."""
$law

$move

def step(states, push, h, <<p:p#>>):
    """One step of N histories: [D, N], [pushes, N] -> [D, N]; parameters are floats or tensors [N]."""
    length = len(states) // $d
    <<u:u#>>, = push
    <<s:t#>>, <<s:r#>>, = move(
        <<s:states[# * length]>>,
        <<s:states[# * length + length - 1]>>,
        <<s:states[# * length + length - 2]>>,
        <<s:states[# * length + length - 3]>>,
        <<u:u#>>, h, <<p:p#>>
    )
    return cat([<<s:stack([t#, r#]), states[# * length : # * length + length - 2]>>])
'''
