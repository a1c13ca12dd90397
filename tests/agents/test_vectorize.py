"""The adapter against SB3's own loop over single environments, bit for bit."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize
from tiny_tasks import Guess, GuessVector

import agents
from agents.vec import VectorEnvAdapter


def assert_same_course(a: VecEnv, b: VecEnv, steps: int) -> dict[str, int]:
    """Walk both with the same actions; returns how often episodes ended in which way."""
    rng, ends = np.random.default_rng(0), {"truncated": 0, "terminated": 0}
    for envs in (a, b):
        envs.seed(11)
    first, second = a.reset(), b.reset()
    assert first.dtype == second.dtype
    np.testing.assert_array_equal(first, second)
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (a.num_envs, *a.action_space.shape)).astype(np.float32)
        (obs, reward, done, infos), expected = a.step(actions), b.step(actions)
        assert (obs.dtype, reward.dtype, done.dtype) == tuple(part.dtype for part in expected[:3])
        for found, theirs in zip((obs, reward, done), expected[:3], strict=True):
            np.testing.assert_array_equal(found, theirs)
        for i in np.flatnonzero(done):
            ours, theirs = infos[i], expected[3][i]
            assert ours["terminal_observation"].dtype == theirs["terminal_observation"].dtype
            np.testing.assert_array_equal(ours["terminal_observation"], theirs["terminal_observation"])
            assert ours["TimeLimit.truncated"] is bool(theirs["TimeLimit.truncated"])
            assert (ours["episode"]["r"], ours["episode"]["l"]) == (
                theirs["episode"]["r"],
                theirs["episode"]["l"],
            )
            assert ours.get("is_success") == theirs.get("is_success")
            ends["truncated" if ours["TimeLimit.truncated"] else "terminated"] += 1
        assert all(infos[i] == {} for i in np.flatnonzero(~done))
    return ends


def test_the_adapter_is_sb3s_loop_bit_for_bit():
    single = DummyVecEnv([lambda: Monitor(Guess()) for _ in range(5)])
    ends = assert_same_course(VectorEnvAdapter(GuessVector(5)), single, 60)
    assert min(ends.values()) > 5, "both kinds of ending must occur"


def test_gymnasiums_own_vector_environment_is_understood_too():
    """SyncVectorEnv keeps final observations and infos as Gymnasium specifies them."""
    venv = SyncVectorEnv([Guess] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    single = DummyVecEnv([lambda: Monitor(Guess()) for _ in range(3)])
    assert_same_course(VectorEnvAdapter(venv), single, 40)


@pytest.mark.parametrize("env_id", ["chaos/Lorenz-v0", "chaos/Henon-v0"])
def test_the_chaotic_tasks_run_through_it_as_through_sb3s_loop(env_id):
    pytest.importorskip("envs")
    native = agents.vectorize(env_id, 4, 11, {})
    assert isinstance(native, VectorEnvAdapter)
    single = DummyVecEnv([lambda: Monitor(gym.make(env_id)) for _ in range(4)])
    ends = assert_same_course(native, single, 410)
    assert sum(ends.values()) >= 8, "episodes must have ended for this to test anything"


def test_observations_are_not_overwritten_by_the_next_step():
    """GuessVector writes all observations into one array; SB3 stores them one step late."""
    adapter = VectorEnvAdapter(GuessVector(2))
    adapter.seed(0)
    first = adapter.reset()
    kept = first.copy()
    adapter.step(np.zeros((2, 1), dtype=np.float32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED, None])
def test_another_autoreset_mode_is_refused(mode):
    with pytest.raises(ValueError, match=r"needs autoreset_mode SAME_STEP, found (AutoresetMode|None)"):
        VectorEnvAdapter(GuessVector(2, mode))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_without_a_native_environment_in_the_right_mode_sb3s_loop_is_used(env_id):
    """CartPole has a native vector environment, but it resets one step late."""
    envs = agents.vectorize(env_id, 2, 0, {})
    assert isinstance(envs, DummyVecEnv)
    assert envs.env_is_wrapped(Monitor) == [True, True]


def test_settings_reach_the_environment_and_its_complaints_reach_the_user():
    envs = agents.vectorize("Pendulum-v1", 1, 0, {"g": 3.0})
    assert envs.get_attr("g") == [3.0]
    with pytest.raises(TypeError, match="gravity"):
        agents.vectorize("Pendulum-v1", 1, 0, {"gravity": 3.0})


def test_an_id_may_name_the_package_that_registers_it():
    assert agents.vectorize("gymnasium:Pendulum-v1", 1, 0, {}).num_envs == 1
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        agents.vectorize("no_such_package:Thing-v0", 1, 0, {})


def test_copies_are_seeded_one_after_the_other_and_the_seed_is_used_once():
    envs = agents.vectorize("Pendulum-v1", 3, 7, {})
    first, again = envs.reset(), envs.reset()
    alone = [gym.make("Pendulum-v1").reset(seed=7 + i)[0] for i in range(3)]
    np.testing.assert_array_equal(first, alone)
    assert not np.array_equal(first, again)


def test_without_a_seed_the_global_generator_is_left_alone():
    before = repr(np.random.get_state())
    agents.vectorize("Pendulum-v1", 2, None, {})
    assert repr(np.random.get_state()) == before


def test_the_shared_info_cannot_be_written_to_by_mistake():
    adapter = VectorEnvAdapter(GuessVector(2))
    adapter.seed(0)
    adapter.reset()
    infos = adapter.step(np.zeros((2, 1), dtype=np.float32))[3]
    with pytest.raises(TypeError, match="share one empty info"):
        infos[0]["mine"] = 1


def test_attributes_are_those_of_the_one_vector_environment():
    adapter = VectorEnvAdapter(GuessVector(3))
    assert adapter.get_attr("gain") == [1.0, 1.0, 1.0]
    assert adapter.get_attr("gain", indices=[0, 2]) == [1.0, 1.0]
    adapter.set_attr("gain", 2.0)
    assert adapter.venv.gain == 2.0
    with pytest.raises(AttributeError, match="one value for all"):
        adapter.set_attr("gain", 3.0, indices=0)
    with pytest.raises(AttributeError, match="gian"):
        adapter.set_attr("gian", 3.0)
    with pytest.raises(AttributeError, match="no separate environments"):
        adapter.env_method("get_state")
    assert adapter.env_is_wrapped(Monitor) == [True] * 3
    assert adapter.env_is_wrapped(gym.wrappers.TimeLimit, indices=1) == [False]


def test_options_must_be_the_same_for_all():
    adapter = VectorEnvAdapter(GuessVector(2))
    adapter.seed(0)
    adapter.set_options([{"a": 1}, {"a": 2}])
    with pytest.raises(ValueError, match="same reset options"):
        adapter.reset()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("wrapper", [VecMonitor, VecNormalize])
def test_sb3s_own_wrappers_work_on_it(wrapper):
    envs: Any = wrapper(VectorEnvAdapter(GuessVector(3)))
    envs.seed(0)
    envs.reset()
    for _ in range(20):
        _, _, dones, infos = envs.step(np.zeros((3, 1), dtype=np.float32))
        assert all("episode" in infos[i] for i in np.flatnonzero(dones))
