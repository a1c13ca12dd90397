"""Ozan et al.: suppress Kuramoto-Sivashinsky chaos from four sensors."""

from math import pi, sqrt

from envs.published import Published

TASK = Published(
    name="KuramotoSivashinskySensors",
    system="KuramotoSivashinsky",
    settings={
        "L": 2 * pi / sqrt(0.08),
        "actuators": 8,
        "goal": "hold",
        "target_state": "zero",
        "reward_scale": 8.0,
        "action_cost": 0.2,
        "push": 0.1,
        "control_interval": 0.25,
        "steps": 1000,
        "units": "raw",
        "sensors": ("u1", "u17", "u33", "u49"),
    },
    source="D. E. Ozan, A. Nóvoa, G. Rigas, L. Magri, Data-assimilated model-informed reinforcement learning, "
    "arXiv:2506.01755.",
    remarks="The source works on 2 pi with nu = 0.08, in whose units time runs as t nu here and u is larger by "
    "1 / sqrt(nu); this is the same field at L = 2 pi / sqrt(nu) = 22.2 with the reward's form, "
    "-|u - u*| / sqrt(64) - 0.2 |a|. Noise on the sensors: `observation_noise`.",
)
