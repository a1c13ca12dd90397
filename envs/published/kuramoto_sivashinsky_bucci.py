"""Bucci et al.: take a Kuramoto-Sivashinsky field from one equilibrium to another and hold it there."""

from envs.published import Published

TASK = Published(
    name="KuramotoSivashinskyBucci",
    system="KuramotoSivashinsky",
    goal="hold E2",
    settings={
        "L": 22.0,
        "actuators": 4,
        "actuator_width": 0.4,
        "drift": True,
        "goal": "hold",
        "target_state": "E2",
        "reward_scale": 1.0,
        "push": 0.5,
        "control_interval": 0.25,
        "steps": 2000,
        "units": "raw",
        "sensors": tuple(f"u{i}" for i in range(6, 65, 8)),
    },
    source="M. A. Bucci, O. Semeraro, A. Allauzen, G. Wisniewski, L. Cordier, L. Mathelin, Control of chaotic "
    "systems by deep reinforcement learning, Proceedings of the Royal Society A 475, 20190351 (2019).",
    remarks="Four Gaussian actuators (sigma 0.4) at i L / 4, eight point sensors, reward -|u - E2| (`target_state` "
    "chooses E1, E2 or E3); actuators and sensors are shifted together. Episodes begin on the attractor (published: "
    "at another equilibrium). ETDRK4 of step 0.25 in place of a semi-implicit RK3 of step 0.05, a push held for "
    "0.25; the bound 0.5 is the one of later work. Reported: the fixed points are reached and held.",
)
