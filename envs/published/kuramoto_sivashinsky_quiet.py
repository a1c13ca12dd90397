"""Zeng and Graham: a Kuramoto-Sivashinsky field at least dissipation and power."""

from envs.published import Published

TASK = Published(
    name="KuramotoSivashinskyQuiet",
    system="KuramotoSivashinsky",
    goal="least dissipation and power",
    settings={
        "L": 22.0,
        "actuators": 4,
        "actuator_width": 0.4,
        "drift": True,
        "goal": "dissipate_less",
        "push": 0.5,
        "control_interval": 0.25,
        "steps": 1000,
        "units": "raw",
    },
    source="K. Zeng and M. D. Graham, Symmetry reduction for deep reinforcement learning active control of chaotic "
    "spatiotemporal dynamics, Physical Review E 104, 014210 (2021); arXiv:2104.05437.",
    remarks="Jets of peak 0.5 with amplitudes in [-1, 1]. ETDRK4 of step 0.25 in place of five steps of 0.05; the "
    "reward -(D + P) is that at the end of the interval, not divided by 100 as in the code; the observation is the "
    "plain field: the symmetry reduction is the agent's part.",
)
