"""Before a study starts every agent is made once for every task: what cannot be made is refused, not run."""

import gymnasium as gym
import pytest

from rl_lab.cli import work
from rl_lab.errors import UserError
from rl_lab.study.config import read_study
from rl_lab.study.supervisor import check_tasks

PENDULUM, CARTPOLE = "envs[0]: Pendulum-v1", "envs[0]: CartPole-v1"


def study(**changes):
    return read_study({"seeds": 2, "steps": 1000, **changes}, "test", "test.yaml")


@pytest.mark.parametrize(
    ("agent", "task", "reason"),
    [
        ({"name": "dqn", "batch_size": 64, "buffer_size": 10}, CARTPOLE, "batch_size is 64, but the buffer"),
        ({"name": "ppo", "device": "banana"}, PENDULUM, "Expected one of cpu"),
        (
            {"name": "ppo", "residual": True, "gate": "gru"},
            PENDULUM,
            "residual and gate (here 'gru') are two",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(agent, task, reason):
    planned = study(envs=[task.partition(" ")[2]], agents=[{**agent, "label": "odd"}])
    with pytest.raises(UserError) as caught:
        check_tasks(planned, "test.yaml")
    sentence = f"test.yaml: {task}: odd cannot be made with these settings: {reason}"
    assert str(caught.value).startswith(sentence), str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_settings_are_those_of_the_task():
    bad = {"id": "CartPole-v1", "agent": {"device": "banana"}}
    with pytest.raises(UserError, match=r"^test\.yaml: envs\[1\]: CartPole-v1: ppo cannot be made"):
        check_tasks(study(envs=["Pendulum-v1", bad], agents=["ppo"]), "test.yaml")


def test_an_agent_that_a_task_goes_without_is_not_made_there():
    envs = ["Pendulum-v1", {"id": "CartPole-v1", "without": ["odd"], "agent": {"device": "cpu"}}]
    odd = {"name": "ppo", "label": "odd", "gate": "gru", "net_arch": [64]}
    check_tasks(study(envs=envs[1:], agents=["ppo", odd]), "test.yaml")
    with pytest.raises(UserError, match="odd cannot be made"):
        check_tasks(study(envs=envs, agents=["ppo", odd]), "test.yaml")


def test_a_study_is_refused_before_anything_is_written_and_so_is_its_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "odd.yaml"
    config.write_text("envs: [Pendulum-v1]\nagents: [{name: ppo, device: banana}]\nseeds: 1\nsteps: 100\n")
    for dry in (True, False):
        with pytest.raises(UserError, match="ppo cannot be made with these settings"):
            work.study(config, dry_run=dry, wandb="off")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.yaml"]


class Counted(gym.Env):
    """Counts how many of it are open, and breaks where it is told to."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)
    made = 0
    open = 0

    def __init__(self, most=99):
        if Counted.made >= most:
            raise OSError("no more of these")
        Counted.made += 1
        Counted.open += 1

    def close(self):
        Counted.open -= 1


@pytest.fixture
def counted():
    gym.register("test/Counted-v0", Counted, disable_env_checker=True)
    Counted.made = Counted.open = 0
    yield "test/Counted-v0"
    del gym.registry["test/Counted-v0"]


def test_agents_share_the_environments_and_all_are_closed(counted):
    check_tasks(study(envs=[counted], agents=["ppo", "trpo", {"name": "a2c", "n_envs": 2}]), "test.yaml")
    assert (Counted.made, Counted.open) == (1 + 8 + 2, 0)


def test_an_environment_that_cannot_be_made_several_times_is_told(counted):
    with pytest.raises(
        UserError, match=r"envs\[0\]: test/Counted-v0 cannot be made with most=3 \(OSError: no more"
    ):
        check_tasks(study(envs=[{"id": counted, "most": 3}], agents=["ppo"]), "test.yaml")
