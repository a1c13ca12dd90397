"""controlgym behind Gymnasium's contract: each of its faults, shown in the original and mended here."""

import importlib
import importlib.util
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs.adapters import controlgym

INSTALLED = importlib.util.find_spec("controlgym") is not None
needs_controlgym = pytest.mark.skipif(not INSTALLED, reason=f"needs controlgym: {controlgym.INSTALL}")
QUICK = ["toy", "ac3", "he1", "cm1", "psm", "umv", "wave", "convection_diffusion_reaction", "schrodinger"]
REST = [name for name in (*controlgym.LINEAR, *controlgym.PDES) if name not in QUICK]


def make(plant: str, **settings) -> controlgym.ControlEnv:
    return controlgym.ControlEnv(plant, **settings)


def original(plant: str, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return controlgym.controlgym_envs().make(plant, **settings)


@pytest.mark.skipif(INSTALLED, reason="controlgym is installed")
def test_without_controlgym_make_names_the_command_that_installs_it():
    controlgym.register()
    with pytest.raises(
        ModuleNotFoundError, match=r"need controlgym: pip install --no-deps controlgym==1\.0\.0$"
    ):
        gym.make("controlgym/he1-v0")


def test_there_are_37_plants_and_10_equations():
    assert len(set(controlgym.ids())) == 47


@needs_controlgym
@pytest.mark.parametrize("plant", [*QUICK, *(pytest.param(name, marks=pytest.mark.nightly) for name in REST)])
def test_every_plant_keeps_the_contract_for_a_whole_episode(plant):
    env = make(plant)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*Box observation space .*infinity")
        check_env(env, skip_render_check=True)
    env.reset(seed=1)
    env.action_space.seed(1)
    terminated = truncated = False
    steps = 0
    while not (terminated or truncated):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        steps += 1
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
    assert terminated != truncated
    assert truncated == (steps == env.plant.n_steps)
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())


@needs_controlgym
@pytest.mark.parametrize("plant", ["he1", "wave"])
def test_the_observation_is_of_the_state_after_the_step(plant):
    quiet = {"noise_cov": 0.0} if plant == "he1" else {"sensor_noise_cov": 0.0}
    stale = original(plant, **quiet)
    first, _ = stale.reset(seed=0)
    assert np.array_equal(stale.step(np.zeros(stale.n_action))[0], first), (
        "the original shows the state before"
    )
    env = make(plant, **quiet)
    env.reset(seed=0)
    for _ in range(3):
        before = env.state
        observation, _, _, _, info = env.step(np.ones(env.plant.n_action))
        np.testing.assert_array_equal(observation, env.plant.C @ info["state"])
        assert not np.array_equal(observation, env.plant.C @ before)


@needs_controlgym
def test_one_disturbance_moves_the_plant_and_disturbs_its_sensors():
    """y_t = C x_t + D21 w_t and x_{t+1} = A x_t + B1 w_t + B2 u_t with the same w_t."""
    env = make("cm1")
    plant = env.plant
    before, _ = env.reset(seed=3)
    state = env.state
    env.step(np.zeros(plant.n_action))
    enters = np.vstack([plant.B1, plant.D21])
    felt = np.hstack([env.state - plant.A @ state, before - plant.C @ state])
    disturbance = np.linalg.lstsq(enters, felt, rcond=None)[0]
    assert np.linalg.norm(felt[-2:]) > 1e-3, "sensors without noise tell nothing"
    np.testing.assert_allclose(enters @ disturbance, felt, atol=1e-10)


@needs_controlgym
def test_the_clock_truncates_and_a_runaway_terminates():
    env = make("toy", n_steps=3)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    env = make("ac3", reward_limit=50.0)
    env.reset(seed=0, options={"state": np.full(4, 10.0)})
    assert env.step(np.zeros(1))[2:4] == (True, False)


@needs_controlgym
def test_actions_are_bounded_clipped_and_checked():
    far, near = make("he1"), make("he1")
    for env in (far, near):
        env.reset(seed=5)
    np.testing.assert_array_equal(far.step(np.array([100.0, -100.0]))[0], near.step(np.array([1.0, -1.0]))[0])
    before = far.state
    with pytest.raises(ValueError, match="action must be finite"):
        far.step(np.array([np.nan, 0.0]))
    with pytest.raises(ValueError, match=r"expected 2 values, got an action of shape \(3,\)"):
        far.step(np.zeros(3))
    np.testing.assert_array_equal(far.state, before)


@needs_controlgym
@pytest.mark.parametrize("plant", ["kuramoto_sivashinsky", "korteweg_de_vries", "burgers", "fisher"])
def test_the_simulated_clock_is_not_short(plant):
    env, raw = make(plant), original(plant)
    meant = round(raw.sample_time / raw.integration_time)
    assert env.plant.sample_time // env.plant.integration_time == meant
    assert env.plant.integration_time == pytest.approx(raw.integration_time, rel=1e-14)
    if plant in ("kuramoto_sivashinsky", "korteweg_de_vries"):
        assert raw.sample_time // raw.integration_time == meant - 1, "the original leaves out a step"


@needs_controlgym
def test_the_same_seed_gives_the_same_bits_and_no_seed_goes_on():
    def episode(env, seed):
        observations = [env.reset(seed=seed)[0]]
        observations += [env.step(np.full(env.plant.n_action, 0.3))[0] for _ in range(5)]
        return np.array(observations).tobytes()

    for plant in ("he1", "wave"):
        env = make(plant)
        first = episode(env, 7)
        assert episode(make(plant), 7) == first == episode(env, 7)
        assert episode(env, None) != first
        assert episode(env, 8) != first


@needs_controlgym
def test_a_chosen_state_is_the_state_and_is_forgotten_afterwards():
    env = make("he1")
    env.reset(seed=0, options={"state": [1.0, 2.0, 3.0, 4.0]})
    np.testing.assert_array_equal(env.state, [1.0, 2.0, 3.0, 4.0])
    chosen, plain = make("he1"), make("he1")
    chosen.reset(seed=1, options={"state": [1e3] * 4})
    np.testing.assert_array_equal(chosen.reset(seed=2)[0], plain.reset(seed=2)[0])
    for wrong in ({"state": [1.0]}, {"state": [np.nan] * 4}, {"stat": [0.0] * 4}):
        with pytest.raises(ValueError, match="option"):
            env.reset(options=wrong)


@needs_controlgym
def test_making_one_leaves_the_process_as_it_was():
    """The original turns every later warning into an error and needs matplotlib."""
    for name in [name for name in sys.modules if name.split(".")[0] == "controlgym"]:
        del sys.modules[name]
    importlib.import_module("scipy.io")  # scipy adds filters of its own the first time
    importlib.import_module("scipy.signal")
    filters = list(warnings.filters)
    make("burgers").reset(seed=0)
    assert warnings.filters == filters
    assert "controlgym" not in sys.modules
    assert "controlgym.controllers.h2hinf" not in sys.modules


@needs_controlgym
def test_what_make_refuses():
    for wrong in ({"action_limit": -1.0}, {"reward_limit": float("inf")}, {"n_state": 33}, {"speed": 2.0}):
        with pytest.raises(ValueError, match=f"controlgym/burgers-v0: .*{next(iter(wrong))}"):
            make("burgers", **wrong)
    with pytest.raises(TypeError, match="nothing to render"):
        make("burgers", render_mode="human")
