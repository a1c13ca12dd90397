"""Ozan et al.: suppress Kuramoto-Sivashinsky chaos from four sensors."""

from math import pi, sqrt

from envs.published import Published

TASK = Published(
    name="KuramotoSivashinskySensors",
    system="KuramotoSivashinsky",
    goal="hold zero, seen by four sensors",
    settings={
        "L": 2 * pi / sqrt(0.08),
        "dt": 0.05,
        "actuators": 8,
        "actuator_width": 0.1 / sqrt(0.08),
        "drift": True,
        "goal": "hold",
        "target_state": "zero",
        "reward_scale": 8.0,
        "action_cost": 0.2,
        "push": 1.0,
        "control_interval": 0.05,
        "steps": 1000,
        "units": "raw",
        "sensors": ("u1", "u17", "u33", "u49"),
    },
    source="D. E. Ozan, A. Nóvoa, G. Rigas, L. Magri, Data-assimilated model-informed reinforcement learning, "
    "arXiv:2506.01755.",
    remarks="nu = 0.08 on 2 pi is L = 2 pi / sqrt(nu) = 22.2; actuators of standard deviation 0.1 L / (2 pi) and "
    "height 1 with |a| <= 1, dt 0.05, 1000 steps and the reward -|u - u*| / sqrt(64) - 0.2 |a| as in the code that "
    "goes with it. ETDRK4 in place of a semi-implicit RK3, episodes begin on the attractor, and the bounds of escape "
    "stand for max |u| > 20. Noise on the sensors: `observation_noise`.",
)
