"""Gadaleta and Dangelmayr: hold the logistic map's fixed point by small changes of r."""

from envs.published import Published

TASK = Published(
    name="LogisticParameter",
    system="Logistic",
    goal="hold the fixed point",
    settings={
        "r": 3.8,
        "goal": "hold",
        "power": 2,
        "ball": 0.001,
        "reward_scale": 1.0,
        "actuator": ("r",),
        "push": 0.1,
        "steps": 300,
        "units": "raw",
        "start_box": ((0.0,), (1.0,)),
        "escape": 3.0,
    },
    source="S. Gadaleta and G. Dangelmayr, Optimal chaos control through reinforcement learning, Chaos 9, 775 "
    "(1999), in the continuous form of BifurcaGym's LogisticMap.",
    remarks="The original learns a vector-quantised state with three discrete kicks; `levels=3` gives those.",
)
