"""Journey 1: somebody else's script, somebody else's environment, and things going wrong."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure.reference import random_return
from rl_lab.monitor.record.run_directory import read_run


class Breaks(gym.Wrapper):
    """Pendulum that returns a NaN at one step, in the observation or in the reward."""

    def __init__(self, where, at):
        super().__init__(gym.make("Pendulum-v1"))
        self.where, self.at, self.count = where, at, 0

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.count += 1
        if self.count == self.at:
            if self.where == "obs":
                observation = observation.copy()
                observation[1] = np.nan
            else:
                reward = float("nan")
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize("where", ["obs", "reward"])
def test_where_did_the_first_nan_come_from(where, tmp_path, capsys):
    """github.com/hill-a/stable-baselines/issues/1143: SB3 dies later, in a distribution, without the cause."""
    model = PPO("MlpPolicy", Breaks(where, at=100), n_steps=64, batch_size=32, device="cpu")
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model.learn(1000, callback=monitor)
    monitor.close("failed")
    run = read_run(tmp_path / "run")
    first = run.events[0]
    assert first["event"] == "nonfinite"
    assert first["details"]["quantity"] == where
    assert first["env_steps"] == 100
    assert first["update"] == 2, "the second rollout, which feeds the second update"
    assert run.status == "failed"
    assert "returned by environment 0" in run.manifest["reason"]
    assert "nonfinite at update 2 (100 env steps)" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_size_that_destroys_the_policy_is_named_and_is_a_collapse(seed, tmp_path):
    """Parameters of 1e30 are finite numbers still; which quantity overflows first depends on the seed."""
    settings = {"n_steps": 64, "batch_size": 64, "learning_rate": 1e30, "device": "cpu", "seed": seed}
    model = PPO("MlpPolicy", "Pendulum-v1", **settings)
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0)
    with pytest.raises(ValueError, match="satisfy the constraint"):
        model.learn(1000, callback=monitor)
    monitor.close("failed")
    run = read_run(tmp_path / "run")
    assert run.status == "diverged", "it was no error of the program; the training went there by itself"
    assert {"nonfinite", "performance_collapse"} <= {event["event"] for event in run.events}
    assert run.manifest["events"]["nonfinite"] == 1, "what follows from the first NaN is not announced again"


SCRIPT = """
from stable_baselines3 import PPO
from rl_lab import DivergenceMonitor
PPO("MlpPolicy", "Pendulum-v1", n_steps=256, batch_size=64, seed=3, learning_rate=0.1).learn(
    1024, callback=DivergenceMonitor())
"""


def run_script(text, folder, **environment):
    (folder / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def test_the_four_line_script_writes_a_run_directory_beside_itself_and_one_line_per_event(tmp_path):
    """The script's folder has its own envs/ and agents/, which are none of the monitor's business."""
    for room in ("envs", "agents"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise RuntimeError('somebody else')")
    home = tmp_path / "home"
    home.mkdir()
    done = run_script(SCRIPT, tmp_path, HOME=str(home))
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.endswith("-Pendulum-v1-ppo-s3")
    run = read_run(run_dir)
    assert (run.status, len(run.updates), run.manifest["wandb"]) == ("done", 4, None)
    assert run.manifest["agent"]["settings"]["learning_rate"] == 0.1
    assert run.manifest["random_return"]["how"] == "random policy"
    assert run.events, "at this step size the KL cannot stay small"
    for event in run.events:
        assert f"{event['event']} at update {event['update']} " in done.stderr


ENDS = """
import os
import sys
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from rl_lab import DivergenceMonitor

class Ends(BaseCallback):
    def _on_step(self):
        if self.num_timesteps == 300: raise ERRORS[how]
        return True

ERRORS = {"dies": OSError("disk"), "stops": KeyboardInterrupt()}
for how in ERRORS:
    if os.fork() == 0:  # a child each, because importing takes longer than all the rest
        os.mkdir(how)
        os.chdir(how)
        unused = DivergenceMonitor()
        PPO("MlpPolicy", "Pendulum-v1", n_steps=256, batch_size=64, seed=3).learn(
            1024, callback=[DivergenceMonitor(), Ends()])
for _ in ERRORS:
    os.wait()
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A folder with the runs of a script that dies and of one that is stopped, and what they said."""
    folder = tmp_path_factory.mktemp("ended")
    return folder, run_script(ENDS, folder).stderr


def test_a_script_that_dies_leaves_a_directory_that_says_so(ended):
    folder, said = ended
    assert "OSError: disk" in said
    (run_dir,) = (folder / "dies" / "runs").iterdir()
    run = read_run(run_dir)
    assert (run.status, len(run.updates)) == ("failed", 1)


def test_ctrl_c_in_a_script_is_an_interruption_not_a_failure(ended):
    folder, said = ended
    assert "KeyboardInterrupt" in said
    (run_dir,) = (folder / "stops" / "runs").iterdir()
    assert read_run(run_dir).status == "interrupted"


def test_wandb_mode_must_be_a_known_word():
    with pytest.raises(ValueError, match=r"wandb must be .* got 'onlin'"):
        DivergenceMonitor(wandb="onlin")


def test_the_package_of_the_monitor_imports_neither_room():
    program = "import sys, rl_lab.monitor.callback; assert not {'envs', 'agents'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path("/"))


def test_a_policy_that_one_step_makes_nan_is_measured_without_an_exception_of_ours(tmp_path):
    """A2C takes one step per update, so its train() ends well and the next rollout raises."""
    from stable_baselines3 import A2C

    model = A2C("MlpPolicy", "CartPole-v1", learning_rate=1e30, max_grad_norm=1e30, device="cpu")
    monitor = DivergenceMonitor(tmp_path / "run", random_return=20.0)
    with pytest.raises(ValueError, match="satisfy the constraint"):
        model.learn(1000, callback=monitor)
    monitor.close("failed")
    run = read_run(tmp_path / "run")
    assert run.status == "diverged"
    assert np.isnan(run.updates[-1]["kl_mean"])
    assert run.updates[-1]["kl_mean"] != 0, "an unknown KL is no zero KL"


class NaNAtTheEnd(gym.Wrapper):
    """The last observation of an episode, which only the value bootstrap sees, is NaN."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return (observation * np.nan if truncated else observation), reward, terminated, truncated, info


def test_a_nan_in_a_last_observation_is_the_environments_fault(tmp_path):
    model = PPO("MlpPolicy", NaNAtTheEnd(gym.make("Pendulum-v1")), n_steps=256, batch_size=64, device="cpu")
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0)
    with pytest.raises(ValueError, match="satisfy the constraint"):
        model.learn(1000, callback=monitor)
    monitor.close("failed")
    run = read_run(tmp_path / "run")
    assert (run.status, run.manifest["events"]) == ("failed", {"nonfinite": 1})
    assert "last observation of an episode returned by environment 0" in run.manifest["reason"]


class Unregistered(gym.Wrapper):
    """Returns 100 an episode; Gymnasium knows no way to make it a second time."""

    def __init__(self):
        super().__init__(gym.make("CartPole-v1"))
        self.steps = 0

    def reset(self, **kwargs):
        self.steps = 0
        return self.env.reset(**kwargs)

    def step(self, action):
        self.steps += 1
        return np.zeros(4, np.float32), 1.0, False, self.steps == 100, {}


def test_one_first_episode_is_no_reference_but_five_are(tmp_path):
    """With a single episode the noise is unknown, and no collapse could ever be significant."""
    model = PPO("MlpPolicy", Unregistered(), n_steps=128, batch_size=64, n_epochs=1, device="cpu")
    model.learn(128, callback=DivergenceMonitor(tmp_path / "short"))
    assert read_run(tmp_path / "short").manifest["random_return"] is None
    model.learn(640, callback=DivergenceMonitor(tmp_path / "long"))
    reference = read_run(tmp_path / "long").manifest["random_return"]
    assert reference["how"] == "first episodes"
    assert reference["episodes"] >= 5
    assert np.isfinite(reference["stderr"])


class Fails(gym.Wrapper):
    """Pendulum whose 100th step raises, once."""

    failed = False

    def __init__(self):
        super().__init__(gym.make("Pendulum-v1"))
        self.count = 0

    def step(self, action):
        self.count += 1
        if self.count == 100 and not Fails.failed:
            Fails.failed = True
            raise OSError("the simulator has gone")
        return self.env.step(action)


def test_a_user_who_catches_the_error_and_tries_again_gets_a_clean_second_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = PPO("MlpPolicy", Fails(), n_steps=64, batch_size=32, device="cpu")
    monitor = DivergenceMonitor(random_return=-1200.0)
    with pytest.raises(OSError, match="the simulator has gone"):
        model.learn(256, callback=monitor)
    first = monitor.run_dir
    model.learn(256, callback=monitor)
    assert read_run(first).status == "failed"
    second = read_run(monitor.run_dir)
    assert second.path != first
    assert [(row["update"], row["env_steps"]) for row in second.updates] == [
        (1, 64),
        (2, 128),
        (3, 192),
        (4, 256),
    ]


def test_no_hook_survives_an_exception_in_train(tmp_path, monkeypatch):
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, batch_size=32, device="cpu")

    def breaks(*args, **kwargs):
        raise OSError("out of memory")

    monkeypatch.setattr(model.policy.optimizer, "step", breaks)
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0)
    with pytest.raises(OSError, match="out of memory"):
        model.learn(64, callback=monitor)
    monitor.close("failed", "out of memory")
    assert all(not p._post_accumulate_grad_hooks for p in model.policy.parameters())
    assert read_run(tmp_path / "run").manifest["reason"] == "out of memory"


def test_learn_again_after_train_raised_keeps_what_broke_it_and_takes_nothing_healthy_back(tmp_path):
    class Poisons(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            if self.num_timesteps == 64:
                self.model.rollout_buffer.advantages[5] = np.nan

    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=2, device="cpu")
    good = {name: value.clone() for name, value in model.policy.state_dict().items()}
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0, guards=["rollback"], wandb=False)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model.learn(96, callback=CallbackList([monitor, Poisons()]))
    model.policy.load_state_dict(good)
    model.policy.optimizer.state.clear()
    model.learn(64, callback=monitor, reset_num_timesteps=False)
    run = read_run(tmp_path / "run")
    assert [(event["event"], event["update"]) for event in run.events] == [("nonfinite", 2)]
    assert (run.path / run.events[0]["details"]["incident"]).is_dir()
    assert run.status == "done"


class GlobalNoise(gym.Wrapper):
    """An environment that draws from numpy's global generator, as old ones do."""

    def __init__(self):
        super().__init__(gym.make("Pendulum-v1"))

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation + np.random.normal(0, 0.01, 3).astype(np.float32), reward, *rest


def test_measuring_the_random_policy_leaves_the_global_generators_alone():
    before = np.random.get_state()
    assert random_return(GlobalNoise)["episodes"] == 20
    np.testing.assert_equal(np.random.get_state(), before)
