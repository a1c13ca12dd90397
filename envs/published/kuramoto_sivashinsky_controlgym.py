"""controlgym's kuramoto_sivashinsky: a long field, noisy sensors, a quadratic price."""

from math import pi

from envs.published import Published

TASK = Published(
    name="KuramotoSivashinskyLong",
    system="KuramotoSivashinsky",
    goal="hold zero, seen by ten noisy sensors",
    settings={
        "L": 32 * pi,
        "points": 256,
        "actuators": 8,
        "actuator_width": 2.9,
        "drift": True,
        "goal": "hold",
        "target_state": "zero",
        "power": 2,
        "action_cost": 1.0,
        "reward_scale": 1.0,
        "push": 1.0,
        "control_interval": 0.5,
        "steps": 500,
        "units": "raw",
        "sensors": tuple(f"u{1 + round(25.6 * i)}" for i in range(10)),
        "observation_noise": 0.5,
    },
    source="X. Zhang, W. Mao, S. Mowlavi, M. Benosman, T. Başar, Controlgym, arXiv:2311.18736.",
    remarks="The price |u|^2 + |a|^2 at the state after the step, Gaussian actuators of the same width (0.1 L / "
    "sqrt(12)) in place of boxes, and a bound of 1 on every actuator (the source has none).",
)
