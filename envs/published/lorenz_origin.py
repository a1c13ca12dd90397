"""BifurcaGym's Lorenz63: fetch the orbit to the origin by pushing the parameters."""

from envs.published import Published

TASK = Published(
    name="LorenzOrigin",
    system="Lorenz",
    goal="hold the origin",
    settings={
        "goal": "hold",
        "target_state": (0.0, 0.0, 0.0),
        "ball": 0.01,
        "reward_scale": 1.0,
        "actuator": ("sigma", "rho", "beta"),
        "push": (2.0, 5.0, 0.5),
        "control_interval": 0.01,
        "steps": 20_000,
        "units": "raw",
        "start_box": ((1.0,) * 3, (1.0,) * 3),
        "escape": 40.0,
    },
    source="J. Rudd-Jones, BifurcaGym, Lorenz63 with continuous states and actions.",
    remarks="One RK4 step of 0.01 in place of five of 0.002; escape at 40 half-ranges in place of |x| > 1000.",
)
