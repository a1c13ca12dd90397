"""Halvorsen's flow: three quadratic arms, each the same as the next."""

from dataclasses import dataclass

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Halvorsen(Flow):
    """dx/dt = -a x - 4 y - 4 z - y^2 + push,  dy/dt = -a y - 4 z - 4 x - z^2,
    dz/dt = -a z - 4 x - 4 y - x^2.

    The origin cannot be held: its unstable eigenvalue 4 - a is double, and one push reaches only one direction
    of the two. The task: hold the saddle x = y = z = -(a + 8) at the edge of the attractor, where errors grow by
    9.27 per time unit; outside it orbits run away to infinity. A push of 30 is about what moves x by itself.

    Source: J. C. Sprott, Chaos and Time-Series Analysis (2003), appendix A.
    """

    a: float = 1.27

    states = ("x", "y", "z")
    start = (-6.4, 0.0, 0.0)
    dt = 0.01
    reference = Reference(
        (0.7901, 0.0, -4.600),
        stderr=0.0025,
        source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 0.7899, 0, -4.5986",
    )
    other_references = (Reference((0.6763, 0.0, -4.876), stderr=0.0035, source="RK4 and QR", at={"a": 1.4}),)
    task = TaskDefaults(push=30.0, control_interval=0.02, steps=400, goal="hold the saddle")

    @property
    def target(self):
        """The only fixed point besides the origin on the diagonal."""
        return (-(self.a + 8),) * 3

    def rate(self, x, y, z, push):
        a = self.a
        return -a * x - 4 * (y + z) - y**2 + push, -a * y - 4 * (z + x) - z**2, -a * z - 4 * (x + y) - x**2
