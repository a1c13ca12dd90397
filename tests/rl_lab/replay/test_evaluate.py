"""What the policies that come out are worth: the same episodes for all of them."""

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import torch
from recorded import BATCHES, MAKE, recorded
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from rl_lab.errors import UserError
from rl_lab.replay import replay
from rl_lab.replay.build import rebuild
from rl_lab.replay.evaluate import SEED, _environments, evaluate, interval, task_of
from rl_lab.study.plan import Env

PENDULUM = Env("Pendulum-v1", "Pendulum-v1", {})


@pytest.fixture(scope="module")
def incident(tmp_path_factory):
    """A large update on Pendulum behind running statistics of the observations."""

    def make():
        envs = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0), clip_obs=2.0)
        small = {"n_steps": 32, "policy_kwargs": {"net_arch": [8]}, "learning_rate": 0.1}
        return PPO("MlpPolicy", envs, seed=0, device="cpu", **small, **BATCHES)

    return recorded(make, tmp_path_factory.mktemp("evaluated"), 1)[0]


def test_a_return_is_that_of_the_same_episode_in_a_plain_loop(incident):
    """With hardly any noise; observations as training saw them: (x - mean) / sqrt(var + 1e-8), clipped."""
    model = rebuild(incident)
    with torch.no_grad():
        model.policy.log_std.fill_(-20.0)
    found = evaluate(incident, PENDULUM, {"quiet": model}, 2)["quiet"].returns
    mean, var = (incident.before[f"normalizer/obs/{what}"].numpy() for what in ("mean", "var"))
    assert not np.allclose(mean, 0, atol=0.01), "statistics that do nothing"
    for number in range(2):
        env, paid, ended = gym.make("Pendulum-v1"), 0.0, False
        seen, _ = env.reset(seed=SEED + number)
        while not ended:
            scaled = np.clip((seen - mean) / np.sqrt(var + 1e-8), -2, 2)
            action, _ = model.predict(scaled.astype(np.float32), deterministic=True)
            seen, reward, _, ended, _ = env.step(action)
            paid += float(reward)
        assert found[number] == pytest.approx(paid, rel=1e-4)


def test_equal_policies_have_equal_episodes_and_more_episodes_begin_with_the_same(incident):
    """So that a gain is never noise of the evaluation; a second call draws nothing else."""
    models = {"before": rebuild(incident), "same": rebuild(incident)}
    found = evaluate(incident, PENDULUM, models, 3)
    assert np.array_equal(found["before"].returns, found["same"].returns)
    assert (found["same"].gain.low, found["same"].gain.high) == (0, 0)
    assert len(set(found["before"].returns)) == 3
    torch.rand(1)  # whoever has drawn something meanwhile changes nothing
    again = evaluate(incident, PENDULUM, {"before": rebuild(incident)}, 3)
    assert np.array_equal(again["before"].returns, found["before"].returns)


def test_the_interval_is_students():
    values = np.array([1.0, 2.0, 4.0, np.nan, 8.0])
    known = values[~np.isnan(values)]
    wanted = scipy.stats.ttest_1samp(known, 0).confidence_interval(0.95)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.mean == 3.75
    assert interval(np.array([1.0, np.nan])) is None


def test_a_policy_that_is_not_finite_has_no_return(incident):
    broken = rebuild(incident)
    with torch.no_grad():
        broken.policy.log_std.fill_(float("nan"))
    assert evaluate(incident, PENDULUM, {"before": rebuild(incident), "broken": broken}, 2)["broken"] is None


@pytest.mark.parametrize("case", ["maskable", "lstm", "ppo-gsde"])
def test_masks_memories_and_noise_are_handed_on(case, tmp_path):
    from recorded import Little

    gym.register("LittleToReplay-v0", lambda actions: Little(actions))
    try:
        incident, model = recorded(MAKE[case], tmp_path, 1)
        incident.document["env"] = {"id": "LittleToReplay-v0", "settings": {"actions": model.action_space}}
        found = replay(incident, [], episodes=3)
        assert found.document()["before"]["ended"] == 3
        assert found.verdict.identical
    finally:
        del gym.registry["LittleToReplay-v0"]


@pytest.mark.parametrize(
    ("env", "named", "sentence"),
    [
        ({"id": "unknown"}, None, "does not say in which environment"),
        (None, None, "does not say in which environment"),
        ({"id": "antigravity:X-v0"}, None, "say so with --env antigravity:X-v0"),
        ({"id": "Pendulm-v1"}, None, "no environment Pendulm-v1 is registered.*--env PACKAGE:ID"),
        (
            {"id": "Pendulum-v1"},
            "CartPole-v1",
            r"CartPole-v1 has the observation space Box\(.* trained with Box",
        ),
    ],
)
def test_an_environment_that_cannot_be_used_is_told_in_a_sentence(env, named, sentence, incident):
    written, incident.document["env"] = incident.document["env"], env
    try:
        with pytest.raises(UserError, match=sentence):
            evaluate(incident, task_of(incident, named), {"before": rebuild(incident)}, 1)
    finally:
        incident.document["env"] = written


def test_statistics_stand_still_while_policies_are_tried(incident):
    with _environments(incident, PENDULUM, 2, 0) as envs:
        before = envs.obs_rms.mean.copy()
        envs.reset()
        envs.step(np.ones((2, 1)))
        assert np.array_equal(envs.obs_rms.mean, before)
