"""Rulkov's neuron: fast spikes on a slow tide."""

from dataclasses import dataclass

from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Rulkov(Map):
    """x' = alpha / (1 + x^2) + y + push,  y' = y - mu (x - sigma).

    x is the membrane's potential, y a slow tide that turns bursts on and off; `push` is a current pulse. The
    task: keep the neuron at rest at x = sigma, y = sigma - alpha / (1 + sigma^2). There errors double in one
    iteration (2.049), while the tide needs hundreds to carry the orbit there (1.001): an episode is one or two
    bursts long.

    Source: N. F. Rulkov, Physical Review Letters 86, 183 (2001).
    """

    alpha: float = 4.1
    mu: float = 0.001
    sigma: float = -1.0

    states = ("x", "y")
    start = (-1.0, -3.0)
    reference = Reference((0.32505, -0.1264), stderr=(0.00004, 0.0001), source="QR over 4e7 iterations")
    other_references = (
        Reference((0.3449, -0.0037), stderr=0.0001, source="QR", at={"alpha": 4.5}),
        Reference((0.3343, 0.00016), stderr=0.0001, source="QR", at={"alpha": 6.0}),
    )
    task = TaskDefaults(push=0.1, steps=1000, goal="keep the neuron at rest")

    @property
    def target(self):
        """The only fixed point."""
        return self.sigma, self.sigma - self.alpha / (1 + self.sigma**2)

    def image(self, x, y, push):
        return self.alpha / (1 + x**2) + y + push, y - self.mu * (x - self.sigma)
