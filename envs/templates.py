"""Text of the generated modules, before the equations are filled in.

`<<s:...>>` repeats its content for every state and `<<u:...>>` for every push, with `#` as the index; the copies are
joined by ", " or by what follows `|`. `$name` is filled in by codegen. Tuples of numbers: state s, push u,
parameters p, tangent vector v, Jacobian j row by row; the step is h. Arrays of N lanes have the lane last, so that
the loop over lanes runs through contiguous memory and becomes vector instructions. What numba compiles is kept
small, as every operation costs a millisecond of type inference: array expressions are avoided altogether.
"""

KERNELS = '''"""$title: generated from its equations by envs.codegen; edits are lost."""

import numpy as np
from numba import njit

from envs import interval as around
from envs.elementary import absolute, atan, cos, cosh, exp, log, sign, sin, sinh, sqrt, tan, tanh
from envs.elementary import interpreted, within

# numpy's error model (1/0 is inf) keeps loops free of branches; no fast-math, so that a lane of a batch
# and a single state go through the same roundings.
HOW = {"cache": True, "error_model": "numpy"}
ANGLES = np.array([$angles])
ANYWHERE, NOWHERE = np.zeros(($d, 2)), np.empty((0, $d, 0))


@within
def law(_s, _u, _p):
    """The equations: rate of a flow, image of a map."""
$unpack
$law

@within
def slopes(_s, _u, _p):
    """Their derivative by the state, row by row."""
$unpack
$slopes

@within
def turn(j, v):
    """Jacobian times the vector v."""
    return $turned

$parts

@within
def load(array, n):
    """Column n of an array."""
    return <<s:array[#, n]>>,


@within
def store(array, n, v):
    """Write column n of an array."""
    <<s:array[#, n]>>, = v


@within
def bounds(box):
    """Both columns of [D, 2]."""
    return (<<s:box[#, 0]>>,), (<<s:box[#, 1]>>,)


@within
def contained(s, low, high):
    """Whether a state is inside its bounds; NaN never is."""
    return <<s:(low[#] <= s[#]) & (s[#] <= high[#])| & >>


@within
def dot(v, w):
    """Scalar product."""
    return <<s:v[#] * w[#]| + >>


@njit(**HOW)
def run(states, push, alive, h, samples, every, box, bounded, parameters, points):
    """Move N lanes in place: states [D, N], push [pushes, N]; points [samples or 0, D, N] keeps the orbit.

    `bounded`: a lane whose next state leaves the bounds box [D, 2] or is not finite stays where it was and its
    alive [N] becomes 0.0; a lane that is not alive stays.
    """
    p = ($parameters)
    low, high = bounds(box)
    for m in range(samples):
        for _ in range(every):
            for n in range(states.shape[1]):
                s = load(states, n)
                t = move(s, (<<u:push[#, n]>>,), h, p)
                good = ((alive[n] > 0.0) & contained(t, low, high)) | (not bounded)
                store(states, n, t if good else s)
                alive[n] = 1.0 if good else 0.0
        if m < points.shape[0]:
            for d in range($d):
                for n in range(states.shape[1]):
                    points[m, d, n] = states[d, n]


@njit(**HOW)
def drag(state, frame, growth, steps, qr_every, h, parameters):
    """Move state [D] and frame [D, k] in place without push; add the frame's log growth to growth [k]."""
    s, u, p = (<<s:state[#]>>,), (<<u:0.0>>,), ($parameters)
    vectors, wait = frame.shape[1], qr_every
    for n in range(steps):
$tangent
        wait -= 1
        if wait > 0 and n + 1 < steps:
            continue
        wait = qr_every
        # modified Gram-Schmidt
        for j in range(vectors):
            v = load(frame, j)
            for i in range(j):
                w = load(frame, i)
                v = ahead(v, -dot(v, w), w)
            length = sqrt(dot(v, v))
            growth[j] += log(length)
            store(frame, j, (<<s:v[#] / length>>,))
    <<s:state[#]>>, = s


def carry(states, push, alive, h, steps, low, high, parameters):
    """Move N lanes in place inside bounds [D]; a lane that would leave them stays, and alive [N] says so."""
    box = np.empty(($d, 2))
    np.maximum(low, -around.HUGE, out=box[:, 0])
    np.minimum(high, around.HUGE, out=box[:, 1])
    run(states, push, alive, h, 1, steps, box, True, parameters, NOWHERE)


def advance(states, push, h, steps, parameters):
    """Move N states in place: states [D, N], push [pushes, N]."""
    run(states, push, np.ones(states.shape[1]), h, 1, steps, ANYWHERE, False, parameters, NOWHERE)


def step(state, push, h, parameters):
    """One step of one state: [D] -> [D]."""
    moved = state.copy()
    advance(moved[:, None], push[:, None], h, 1, parameters)
    return moved


def orbit(state, samples, every, h, parameters):
    """The uncontrolled orbit after a state: [samples, D]."""
    points, moved = np.empty((samples, $d, 1)), state.copy()[:, None]
    run(moved, np.zeros(($k, 1)), np.ones(1), h, samples, every, ANYWHERE, False, parameters, points)
    return points[:, :, 0]


def stretch(state, frame, steps, qr_every, h, parameters):
    """Move state and frame in place without push; returns the log growth of the frame's vectors, [k]."""
    growth = np.zeros(frame.shape[1])
    drag(state, frame, growth, steps, qr_every, h, parameters)
    return growth


def law_at(state, push, parameters):
    """The equations at one state, [D] -> [D], or at several, [D, N] -> [D, N]."""
    return interpreted(law, state, push, parameters)


def jacobian(state, push, parameters):
    """The derivative of the equations at one state, [D] -> [D, D], or at several, [D, N] -> [D, D, N]."""
    found = interpreted(slopes, state, push, parameters)
    return found.reshape($d, $d, *found.shape[1:])


def observe(state, constants, observation):
    """What an agent sees of every lane: state [D, N] -> observation [N, O]."""
    around.observe(state, constants, ANGLES, $p + 3 + $k, observation)


def interval(state, clock, action, constants, substeps, steps, observation, reward, over):
    """One control interval of every lane, the whole of Env.step but the reset.

    state [D, N] and clock [N] are moved in place; action [N, pushes]; observation [N, O], reward [N] and
    over [2, N] (terminated, truncated) are written. Returns how many lanes are over, or -1 - n if the action
    of lane n is not finite (then nothing was moved). A lane that escapes stays at its last state inside the
    bounds and pays the worst reward there is inside them for each step it leaves out.
    """
    push, alive, box = np.empty(($k, len(clock))), np.empty(len(clock)), np.empty(($d, 2))
    strange = around.begin(action, constants, ANGLES, $p, push, alive, box)
    if strange >= 0:
        return -1 - strange
    run(state, push, alive, constants[$p], 1, substeps, box, True, constants, NOWHERE)
    return around.finish(state, clock, alive, constants, ANGLES, $p, $k, steps, observation, reward, over)
'''

PARTS = '''
@within
def ahead(s, h, a):
    """s + h a."""
    return <<s:s[#] + h * a[#]>>,


@within
def joined(s, h, a, b, c, d):
    """The end of an RK4 step from its four rates."""
    sixth = h / 6.0
    return <<s:s[#] + sixth * (a[#] + 2.0 * (b[#] + c[#]) + d[#])>>,

'''

FLOW_MOVE = '''
@within
def move(s, u, h, p):
    """One RK4 step with the push held."""
    half = 0.5 * h
    a = law(s, u, p)
    b = law(ahead(s, half, a), u, p)
    c = law(ahead(s, half, b), u, p)
    d = law(ahead(s, h, c), u, p)
    return joined(s, h, a, b, c, d)
'''

MAP_MOVE = '''
@within
def move(s, u, h, p):
    """One iteration; a map has no step length."""
    return law(s, u, p)
'''

FLOW_TANGENT = """\
        # The derivative of RK4 is RK4 on (s, v): the four stages of s serve every vector v of the frame.
        half = 0.5 * h
        a = law(s, u, p)
        sb = ahead(s, half, a)
        b = law(sb, u, p)
        sc = ahead(s, half, b)
        c = law(sc, u, p)
        sd = ahead(s, h, c)
        d = law(sd, u, p)
        ja, jb, jc, jd = slopes(s, u, p), slopes(sb, u, p), slopes(sc, u, p), slopes(sd, u, p)
        for j in range(vectors):
            v = load(frame, j)
            va = turn(ja, v)
            vb = turn(jb, ahead(v, half, va))
            vc = turn(jc, ahead(v, half, vb))
            vd = turn(jd, ahead(v, h, vc))
            store(frame, j, joined(v, h, va, vb, vc, vd))
        s = joined(s, h, a, b, c, d)
"""

MAP_TANGENT = """\
        j = slopes(s, u, p)
        for i in range(vectors):
            store(frame, i, turn(j, load(frame, i)))
        s = law(s, u, p)
"""

TENSORS = '''"""$title: generated from its equations by envs.codegen; edits are lost."""

from torch import stack

from envs.functions import absolute, atan, cos, cosh, exp, log, sign, sin, sinh, sqrt, tan, tanh


def law(_s, _u, _p):
    """The equations: rate of a flow, image of a map."""
$unpack
$law
$parts

def step(states, push, h, *parameters):
    """One step of N states: [D, N], [pushes, N] -> [D, N]; parameters are floats or tensors [N]."""
    return stack(move(tuple(states), tuple(push), h, parameters))
'''
