"""BifurcaGym's HenonMap: hold the fixed point by pushing both parameters."""

from envs.published import Published

TASK = Published(
    name="HenonParameters",
    system="Henon",
    goal="hold the fixed point",
    settings={
        "goal": "hold",
        "ball": 0.001,
        "reward_scale": 1.0,
        "actuator": ("a", "b"),
        "push": 0.1,
        "steps": 1000,
        "units": "raw",
        "escape": 3.0,
    },
    source="J. Rudd-Jones, BifurcaGym, HenonMap with continuous states and actions; the feedback it "
    "generalises: E. Ott, C. Grebogi, J. A. Yorke, Physical Review Letters 64, 1196 (1990).",
    remarks="Episodes begin on the attractor (published: on the diagonal, where most starts run away).",
)
