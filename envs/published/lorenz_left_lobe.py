"""beacon's lorenz-v0: stay in the left lobe with pushes of -1, 0 and 1."""

from envs.published import Published

TASK = Published(
    name="LorenzLeftLobe",
    system="Lorenz",
    goal="stay where x < 0",
    settings={
        "goal": "region",
        "state": "x",
        "high": 0.0,
        "push": 1.0,
        "levels": 3,
        "control_interval": 0.05,
        "steps": 500,
        "units": "raw",
        "observe_rates": True,
        "start_box": ((10.0,) * 3, (10.0,) * 3),
        "escape": 10.0,
    },
    source="G. Beintema, A. Corbetta, L. Biferale, F. Toschi, Journal of Turbulence 21, 585 (2020), as lorenz-v0 "
    "of J. Viquerat's benchmark suite beacon.",
    remarks="Five RK4 steps of 0.01 in place of one low-storage Runge-Kutta step of 0.05; the observed rates "
    "are those at the new state. The reward is 1 where x < 0, else 0; the end after 500 steps is a truncation.",
)
