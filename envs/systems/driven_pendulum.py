"""The driven pendulum: swinging, tumbling and unable to decide."""

from dataclasses import dataclass
from math import inf, pi

from envs.functions import cos, sin
from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class DrivenPendulum(Flow):
    """dtheta/dt = v,  dv/dt = -delta v - sin theta + gamma cos(phase) + push,  dphase/dt = omega.

    theta is the angle from hanging, in units where gravity's largest torque is 1; `push` is a torque.

    The task: stand upright (growth 0.975 per time unit). With the drive on nothing rests: the push, at most 0.8,
    has to cancel gamma cos(phase) all the time with 0.2 to spare, and cannot lift the pendulum against gravity
    except by swinging. The phase is a clock: it is observed and does not count in the distance.

    Source: G. L. Baker and J. P. Gollub, Chaotic Dynamics: An Introduction (1990).
    """

    delta: float = 0.05
    gamma: float = 0.6
    omega: float = 0.7

    states = ("theta", "v", "phase")
    angles = ("theta", "phase")
    start = (0.1, 0.0, 0.0)
    dt = 0.05
    reference = Reference(
        (0.1408, 0.0, -0.1908),
        stderr=(0.0008, 1e-9, 0.0008),
        source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 0.1414, 0, -0.1914",
    )
    other_references = (
        Reference(
            (0.1120, 0.0, -0.6120),
            stderr=(0.0005, 1e-9, 0.0005),
            source="RK4 and QR",
            at={"delta": 0.5, "gamma": 1.5, "omega": 2 / 3},
        ),
    )
    task = TaskDefaults(push=0.8, control_interval=0.2, reward_scale=(2.0, 2.0, inf), goal="stand upright")
    hanging = (0.0, 0.0, 0.0)
    upright = (pi, 0.0, 0.0)
    target = upright

    def rate(self, theta, v, phase, push):
        return v, -self.delta * v - sin(theta) + self.gamma * cos(phase) + push, self.omega
