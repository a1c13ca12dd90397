"""Vashishtha and Verma: keep the transiently chaotic Lorenz flow from settling."""

from envs.published import Published

TASK = Published(
    name="RestoringChaos",
    system="Lorenz",
    goal="sustain chaos",
    settings={
        "rho": 20.0,
        "goal": "sustain",
        "speed": 40.0,
        "bonus": 10.0,
        "window": 2000,
        "floor": -2.0,
        "penalty": 100.0,
        "actuator": ("rho", "sigma", "beta"),
        "push": (2.0, 1.0, 8.0 / 30.0),
        "control_interval": 0.02,
        "steps": 4000,
        "units": "raw",
        "observe_rates": True,
        "start_box": ((-40.0,) * 3, (40.0,) * 3),
        "escape": 50.0,
    },
    source="S. Vashishtha and S. Verma, Restoring chaos using deep reinforcement learning, Chaos 30, 031102 "
    "(2020); arXiv:1912.00947.",
    remarks="RK4 of step 0.01 in place of an adaptive solver; actions are scaled to [-1, 1]; the reset's rates "
    "belong to the drawn position; an episode that keeps moving is truncated at step 4000 (the published code "
    "goes on). Reported: chaos is sustained, by a law of a few bang-bang regions.",
)
