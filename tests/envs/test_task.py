"""Settings: what can be asked for, and how a wrong one is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import envs
from envs.single import ChaosEnv

LORENZ = "chaos/Lorenz-v0"


def test_parameters_and_knobs_share_one_mapping():
    task = gymnasium.make(LORENZ, rho=20, push=5.0, steps=10, control_interval=0.1, escape=4).unwrapped.task
    assert task.system.parameters == {"sigma": 10.0, "rho": 20.0, "beta": 8 / 3}
    assert (task.push, task.steps, task.substeps, task.escape) == (5.0, 10, 10, 4)
    assert envs.system_of(LORENZ, rho=20.0, push=5.0).rho == 20.0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"roh": 20.0}, r"chaos/Lorenz-v0: roh is not a setting of this task\. Did you mean rho\?"),
        ({"psuh": 1.0}, r"Did you mean push\?"),
        ({"rho": "high"}, "rho must be a finite number, got 'high'"),
        ({"rho": True}, "rho must be a finite number, got True"),
        ({"rho": float("nan")}, "rho must be a finite number, got nan"),
        ({"push": -1.0}, r"push must be positive, got -1\.0"),
        ({"push": None}, "push must be a finite number, got None"),
        ({"steps": 0}, "steps must be a whole number, at least 1, got 0"),
        ({"steps": 10.0}, r"steps must be a whole number, at least 1, got 10\.0"),
        ({"control_interval": 0.033}, r"control_interval must be a multiple of dt = 0\.01, got 0\.033"),
        ({"control_interval": 0.001}, "must be a multiple of dt"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"reward_scale": 0.0}, "reward_scale must be positive"),
        ({"reward_scale": (1.0, 2.0)}, "one number or one per state"),
        ({"escape": 0.5}, "the uncontrolled orbit itself escapes"),
        ({"rho": 150.0}, "make escape larger"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        gymnasium.make(LORENZ, **settings)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=sentence):
        gymnasium.make_vec(LORENZ, num_envs=2, **settings)


def test_the_vector_environment_has_no_time_limit_wrapper_and_says_what_it_has():
    with pytest.raises(ValueError, match=r"max_episode_steps is not a setting .* It is called steps here"):
        gymnasium.make_vec(LORENZ, num_envs=2, max_episode_steps=5)


def test_a_map_counts_whole_iterations():
    with pytest.raises(ValueError, match=r"control_interval must be a multiple of dt = 1, got 1\.5"):
        gymnasium.make("chaos/Henon-v0", control_interval=1.5)


def test_parameters_with_no_attractor_are_refused():
    with pytest.raises(
        ValueError, match=r"Henon\(a=2, b=0\.3\): the uncontrolled orbit .* runs away to infinity"
    ):
        gymnasium.make("chaos/Henon-v0", a=2.0)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED, "NextStep"])
def test_other_autoreset_modes_are_refused(mode):
    with pytest.raises(ValueError, match="resets in the same step"):
        gymnasium.make_vec(LORENZ, num_envs=2, autoreset_mode=mode)


def test_the_vector_environment_refuses_to_render_in_the_way_stable_baselines3_understands():
    with pytest.raises(TypeError, match="only a single environment draws itself"):
        gymnasium.make_vec(LORENZ, num_envs=2, render_mode="rgb_array")
    with pytest.raises(ValueError, match="render_mode must be 'rgb_array' or None, got 'human'"):
        ChaosEnv(LORENZ, render_mode="human")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sate": [1, 2, 3]}, r"sate is not an option of reset\. Did you mean state\?"),
        ({"state": [1.0, 2.0]}, r"must give finite \(x, y, z\)"),
        ({"state": [1.0, np.nan, 2.0]}, r"must give finite \(x, y, z\)"),
        ({"state": [1e3, 0.0, 0.0]}, "puts x outside the escape bounds"),
    ],
)
def test_a_wrong_reset_option_is_refused(options, sentence):
    env = gymnasium.make(LORENZ)
    with pytest.raises(ValueError, match=sentence):
        env.reset(options=options)


def test_stepping_before_reset_or_after_the_end_is_refused():
    env = gymnasium.make(LORENZ, steps=2).unwrapped
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(1))
    env.reset(seed=0)
    env.step(np.zeros(1))
    assert env.step(np.zeros(1))[3]
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(1))
    batch = gymnasium.make_vec(LORENZ, num_envs=2)
    with pytest.raises(ResetNeeded, match="call reset"):
        batch.step(np.zeros((2, 1)))


def test_an_action_of_the_wrong_size_is_refused():
    env = gymnasium.make(LORENZ).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected 1 push values, got an action of shape \(2,\)"):
        env.step(np.zeros(2))


def test_a_mask_resets_some_lanes_and_leaves_the_others():
    batch = gymnasium.make_vec(LORENZ, num_envs=3)
    batch.reset(seed=0)
    batch.step(np.zeros((3, 1)))
    before = batch.states
    single = gymnasium.make(LORENZ).unwrapped
    seen, _ = batch.reset(seed=[None, 9, None], options={"reset_mask": np.array([False, True, False])})
    assert batch.states[[0, 2]].tobytes() == before[[0, 2]].tobytes()
    assert seen[1].tobytes() == single.reset(seed=9)[0].tobytes()


def test_a_lane_goes_on_with_its_own_generator_after_a_reset_without_seed():
    batch, single = gymnasium.make_vec(LORENZ, num_envs=2), gymnasium.make(LORENZ).unwrapped
    batch.reset(seed=4)
    single.reset(seed=5)
    assert batch.reset()[0][1].tobytes() == single.reset()[0].tobytes()
