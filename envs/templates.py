"""Text of the generated modules, before the equations are filled in.

`<<s:...>>` repeats its content for every state, `<<u:...>>` for every push, `<<p:...>>` for every parameter,
`<<j:...>>` for every entry of the Jacobian, with `#` as the index; the copies are joined by ", " or by what
follows `|`. `$name` is filled in by codegen. States are s, pushes u, parameters p, the step h. Arrays of N
lanes have the lane last, so that the loop over lanes runs through contiguous memory and becomes vector
instructions.
"""

KERNELS = '''"""$title: generated from its equations by envs.codegen; edits are lost."""

from math import atan, cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh

import numpy as np
from numba import njit

# numpy's error model (1/0 is inf) keeps loops free of branches; no fast-math, so that a lane of a batch
# and a single state go through the same roundings.
HOW = {"cache": True, "error_model": "numpy"}


@njit(**HOW)
def law($arguments):
    """The equations: rate of a flow, image of a map."""
$law

@njit(**HOW)
def slopes($arguments):
    """Their derivative by the state, row by row."""
$slopes

@njit(**HOW)
def turn(<<j:j#>>, <<s:v#>>):
    """Jacobian times the vector v."""
    return $turned


$move

@njit(**HOW)
def law_at(state, push, parameters):
    """The equations at one state: [D] -> [D]."""
    <<s:s#|, >>, = $state
    <<p:p# = parameters[#]|; >>
    return np.array(law(<<s:s#>>, <<u:push[#]>>, <<p:p#>>))


@njit(**HOW)
def jacobian(state, push, parameters):
    """The derivative of the equations at one state: [D] -> [D, D]."""
    <<s:s#|, >>, = $state
    <<p:p# = parameters[#]|; >>
    return np.array(slopes(<<s:s#>>, <<u:push[#]>>, <<p:p#>>)).reshape($d, $d)


@njit(**HOW)
def step(state, push, h, parameters):
    """One step of one state: [D] -> [D]."""
    <<s:s#|, >>, = $state
    <<p:p# = parameters[#]|; >>
    return np.array(move(<<s:s#>>, <<u:push[#]>>, h, <<p:p#>>))


@njit(**HOW)
def advance(states, push, h, steps, parameters):
    """Move N states in place: states [D, N], push [pushes, N]."""
    <<p:p# = parameters[#]|; >>
    for _ in range(steps):
        for n in range(states.shape[1]):
            <<s:states[#, n]>>, = move(<<s:states[#, n]>>, <<u:push[#, n]>>, h, <<p:p#>>)


@njit(**HOW)
def orbit(state, samples, every, h, parameters):
    """The uncontrolled orbit after a state: [samples, D]."""
    <<s:s#|, >>, = $state
    <<p:p# = parameters[#]|; >>
    points = np.empty((samples, $d))
    for n in range(samples):
        for _ in range(every):
            <<s:s#>>, = move(<<s:s#>>, <<u:0.0>>, h, <<p:p#>>)
        <<s:points[n, #] = s#|; >>
    return points


@njit(**HOW)
def orthonormalise(frame):
    """Modified Gram-Schmidt in place; returns the logarithms of the lengths, [k]."""
    vectors = frame.shape[1]
    lengths = np.empty(vectors)
    for j in range(vectors):
        for i in range(j):
            overlap = 0.0
            for d in range($d):
                overlap += frame[d, i] * frame[d, j]
            for d in range($d):
                frame[d, j] -= overlap * frame[d, i]
        square = 0.0
        for d in range($d):
            square += frame[d, j] ** 2
        lengths[j] = log(sqrt(square))
        for d in range($d):
            frame[d, j] /= sqrt(square)
    return lengths


@njit(**HOW)
def stretch(state, frame, steps, qr_every, h, parameters):
    """Move state and frame in place without push; returns the log growth of the frame's vectors, [k]."""
    <<s:s#|, >>, = $state
    <<p:p# = parameters[#]|; >>
    <<u:u#>>, = <<u:0.0>>,
    growth = np.zeros(frame.shape[1])
    for n in range(steps):
$tangent
        if (n + 1) % qr_every == 0 or n + 1 == steps:
            growth += orthonormalise(frame)
    <<s:state[#] = s#|; >>
    return growth


@njit(**HOW)
def observe(state, constants, observation):
    """What an agent sees of every lane: state [D, N] -> observation [N, O]."""
    $unpack
    for n in range(state.shape[1]):
        <<s:s# = state[#, n]|; >>
$observe


@njit(**HOW)
def interval(state, clock, action, constants, substeps, steps, observation, reward, over):
    """One control interval of every lane, the whole of Env.step but the reset.

    state [D, N] and clock [N] are moved in place; action [N, pushes]; observation [N, O], reward [N] and
    over [2, N] (terminated, truncated) are written. Returns how many lanes are over, or -1 - n if the action
    of lane n is not finite (then nothing was moved). A lane that escapes stays at its last state inside the
    bounds and pays the worst reward there is inside them for each step it leaves out.
    """
    lanes = state.shape[1]
    for n in range(lanes):
        for k in range($k):
            if not np.isfinite(action[n, k]):
                return -1 - n
    $unpack
    push = np.empty(($k, lanes))
    for n in range(lanes):
        <<u:push[#, n] = limit# * min(max(action[n, #], -1.0), 1.0)|; >>
    alive = np.ones(lanes)
    for _ in range(substeps):
        for n in range(lanes):
            <<s:s# = state[#, n]|; >>
            <<s:t#>>, = move(<<s:s#>>, <<u:push[#, n]>>, h, <<p:p#>>)
            inside = (alive[n] > 0.0)$inside
            <<s:state[#, n] = t# if inside else s#|; >>
            alive[n] = 1.0 if inside else 0.0
    done = 0
    for n in range(lanes):
        <<s:s# = state[#, n]|; >>
        distance = sqrt($distance)
        clock[n] += 1
        escaped = alive[n] == 0.0
        reward[n] = -worst * (steps - clock[n] + 1) if escaped else -distance
        over[0, n] = escaped
        over[1, n] = (clock[n] >= steps) & (not escaped)
        done += over[0, n] | over[1, n]
    observe(state, constants, observation)
    return done
'''

FLOW_MOVE = '''@njit(**HOW)
def move(<<s:s#>>, <<u:u#>>, h, <<p:p#>>):
    """One RK4 step with the push held."""
    half, sixth = 0.5 * h, h / 6.0
    <<s:a#>>, = law(<<s:s#>>, <<u:u#>>, <<p:p#>>)
    <<s:b#>>, = law(<<s:s# + half * a#>>, <<u:u#>>, <<p:p#>>)
    <<s:c#>>, = law(<<s:s# + half * b#>>, <<u:u#>>, <<p:p#>>)
    <<s:d#>>, = law(<<s:s# + h * c#>>, <<u:u#>>, <<p:p#>>)
    return <<s:s# + sixth * (a# + 2.0 * (b# + c#) + d#)>>,
'''

MAP_MOVE = '''@njit(**HOW)
def move(<<s:s#>>, <<u:u#>>, h, <<p:p#>>):
    """One iteration; a map has no step length."""
    return law(<<s:s#>>, <<u:u#>>, <<p:p#>>)
'''

FLOW_TANGENT = """\
        # The derivative of RK4 is RK4 on (s, v): the four stages of s serve every vector v of the frame.
        half, sixth = 0.5 * h, h / 6.0
        <<s:a#>>, = law(<<s:s#>>, <<u:u#>>, <<p:p#>>)
        <<s:m# = s# + half * a#|; >>
        <<s:b#>>, = law(<<s:m#>>, <<u:u#>>, <<p:p#>>)
        <<s:q# = s# + half * b#|; >>
        <<s:c#>>, = law(<<s:q#>>, <<u:u#>>, <<p:p#>>)
        <<s:e# = s# + h * c#|; >>
        <<s:d#>>, = law(<<s:e#>>, <<u:u#>>, <<p:p#>>)
        <<j:ja#>>, = slopes(<<s:s#>>, <<u:u#>>, <<p:p#>>)
        <<j:jb#>>, = slopes(<<s:m#>>, <<u:u#>>, <<p:p#>>)
        <<j:jc#>>, = slopes(<<s:q#>>, <<u:u#>>, <<p:p#>>)
        <<j:jd#>>, = slopes(<<s:e#>>, <<u:u#>>, <<p:p#>>)
        for j in range(frame.shape[1]):
            <<s:v# = frame[#, j]|; >>
            <<s:va#>>, = turn(<<j:ja#>>, <<s:v#>>)
            <<s:vb#>>, = turn(<<j:jb#>>, <<s:v# + half * va#>>)
            <<s:vc#>>, = turn(<<j:jc#>>, <<s:v# + half * vb#>>)
            <<s:vd#>>, = turn(<<j:jd#>>, <<s:v# + h * vc#>>)
            <<s:frame[#, j] = v# + sixth * (va# + 2.0 * (vb# + vc#) + vd#)|; >>
        <<s:s# += sixth * (a# + 2.0 * (b# + c#) + d#)|; >>
"""

MAP_TANGENT = """\
        <<j:j#>>, = slopes(<<s:s#>>, <<u:u#>>, <<p:p#>>)
        for k in range(frame.shape[1]):
            <<s:v# = frame[#, k]|; >>
            <<s:frame[#, k]>>, = turn(<<j:j#>>, <<s:v#>>)
        <<s:s#>>, = law(<<s:s#>>, <<u:u#>>, <<p:p#>>)
"""

TENSORS = '''"""$title: generated from its equations by envs.codegen; edits are lost."""

from torch import stack

from envs.functions import atan, cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh


def law($arguments):
    """The equations: rate of a flow, image of a map."""
$law

$move

def step(states, push, h, <<p:p#>>):
    """One step of N states: [D, N], [pushes, N] -> [D, N]; parameters are floats or tensors [N]."""
    <<s:s#>>, = states
    <<u:u#>>, = push
    return stack(move(<<s:s#>>, <<u:u#>>, h, <<p:p#>>))
'''
