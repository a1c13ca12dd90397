"""The contract of the command line: documents, sentences, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from command import PROGRAM, document, environment, rl_lab

from rl_lab.cli import main
from rl_lab.cli.work import _read_settings
from rl_lab.monitor.record.run_directory import read_run

SHORT = ("--steps", 1024, "--set", "n_steps=256", "--set", "n_envs=2", "--set", "n_epochs=2", "--json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a process of its own: the directory and what it printed."""
    out = tmp_path_factory.mktemp("train") / "run"
    return out, document(rl_lab("train", "chaos/Lorenz-v0", "ppo", "--seed", 7, *SHORT, "--out", out))


def test_train_prints_the_document_and_writes_the_directory(trained):
    out, result = trained
    assert set(result) == {"run_dir", "status", "updates", "env_steps", "events", "return_final"}
    assert (result["run_dir"], result["status"], result["updates"], result["env_steps"]) == (
        str(out),
        "done",
        2,
        1024,
    )
    assert result["return_final"] < 0
    run = read_run(out)
    assert (run.manifest["seed"], run.manifest["agent"]["settings"]["n_epochs"]) == (7, 2)
    assert run.manifest["wandb"]["mode"] == "offline"
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoints",
        "events.jsonl",
        "manifest.json",
        "updates.jsonl",
        "wandb",
    ]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(trained, say, tmp_path):
    """Whatever this process, which has run other tests, and that other process have done before."""

    def kls(out):
        return [row["kl_mean"] for row in read_run(out).updates]

    for seed in (7, 8):
        words = ("train", "chaos/Lorenz-v0", "ppo", "--seed", seed, *SHORT, "--wandb", "off")
        code, _, said = say(*words, "--out", tmp_path / str(seed))
        assert code == 0, said
    assert kls(tmp_path / "7") == kls(trained[0])
    assert kls(tmp_path / "8") != kls(trained[0])


def test_listings_have_the_promised_keys(say):
    envs = json.loads(say("envs", "list", "--json")[1])
    assert {"chaos/Lorenz-v0", "chaos/Rossler-v0", "chaos/Henon-v0", "chaos/DoublePendulum-v0"} <= {
        e["id"] for e in envs
    }
    keys = {
        "id",
        "system",
        "kind",
        "state_dim",
        "action_dim",
        "goal",
        "dt",
        "reference",
        "source",
        "lyapunov_times",
    }
    assert all(set(env) == keys for env in envs)


def test_probe_prints_the_document(say):
    code, out, _ = say("probe", "lyapunov", "chaos/Henon-v0", "--time", 1e6, "--json")
    assert code == 0
    found = json.loads(out)
    assert set(found) >= {"env", "exponents", "stderr", "unit", "kaplan_yorke", "time", "reference"}
    assert found["exponents"][0] == pytest.approx(0.41929, abs=0.003)


WRONG = {
    ("train", "chaos/Lorentz-v0", "ppo"):
        "no environment chaos/Lorentz-v0 is registered. Did you mean chaos/Lorenz-v0",
    ("train", "chaos/Lorenz-v0", "pppo"): "there is no agent pppo. Did you mean ppo?",
    ("train", "no_such_package:X-v0", "ppo"): "no_such_package:X-v0 needs the module no_such_package",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "clip_rnage=1"):
        "--set clip_rnage is not a setting of ppo. Did you mean clip_range?",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "clip_range=wide"): "--set clip_range must be a number, got 'wide'",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "env.rhoo=20"): "Did you mean rho?",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "env.rho=many"): "rho",
    ("train", "chaos/Lorenz-v0", "ppo", "--steps", "0"): "Input should be greater than or equal to 1",
    ("train", "chaos/Lorenz-v0", "ppo", "--stpes", "1"): "No such option: --stpes",
    ("train", "chaos/Lorenz-v0", "ppo", "--wandb", "onlin"): "--wandb onlin: must be online, offline or off",
    ("train", "Blackjack-v1", "ppo"): "ppo cannot be used here",
    ("train", "chaos/Lorenz-v0", "ppo", "--out", "/dev/null"): "/dev/null is a file",
    ("train", "chaos/Lorenz-v0", "ppo", "--steps", "9", "--out", "/dev/null/x"): "cannot write there",
    ("study", "nothing.yaml"): "nothing.yaml: cannot be read",
    ("report", "/nowhere"): "/nowhere: there is no such directory",
    ("envs", "show", "chaos/Henonn-v0"): "Did you mean chaos/Henon-v0?",
    ("agents", "show", "tpo"): "Did you mean trpo?",
    ("probe", "lyapunov", "Pendulum-v1"): "Pendulum-v1 is no chaotic task",
    ("probe", "lyapunov", "chaos/Henon-v0", "--time", "0"): "--time must be a positive number",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "gamma=1", "--set", "gamma=1"): "--set gamma is given twice",
    ("train", "chaos/Lorenz-v0", "ppo", "--set", "env.rho=1", "--set", "env.rho=2"): "--set env.rho is given twice",
    ("trian",): "No such command",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_input_is_one_sentence_and_exit_code_2(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rl-lab", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed.err
    assert WRONG[words] in printed.err
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == [], "a refused command leaves nothing behind"


def test_an_existing_run_is_refused_and_untouched(say, tmp_path):
    (tmp_path / "manifest.json").write_text('{"run_id": "old"}')
    code, _, said = say("train", "chaos/Lorenz-v0", "ppo", "--out", tmp_path)
    assert code == 2
    assert "already holds a run (old" in said
    assert (tmp_path / "manifest.json").read_text() == '{"run_id": "old"}'


RAISING_ENV = """
import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv

class Raises(PendulumEnv):
    count = 0
    def step(self, action):
        Raises.count += 1
        if Raises.count > 5000:
            raise OSError("the simulator has gone")
        return super().step(action)

gym.register("Raises-v0", Raises, max_episode_steps=200)
"""


def test_an_environment_that_raises_is_a_failed_run_with_a_sentence(tmp_path):
    """Somebody's own package, given as module:id; it breaks after the random policy was measured on it."""
    (tmp_path / "their_pkg.py").write_text(RAISING_ENV)
    words = ("train", "their_pkg:Raises-v0", "ppo", "--steps", 9000, "--out", tmp_path / "run", "--json")
    done = rl_lab(*words, "--wandb", "off", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "failed"
    run = read_run(tmp_path / "run")
    assert run.status == "failed"
    assert "OSError: the simulator has gone" in run.manifest["reason"]
    assert "OSError: the simulator has gone" in done.stderr


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_ctrl_c_saves_everything_and_says_130(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [
            *PROGRAM,
            "train",
            "Pendulum-v1",
            "ppo",
            "--steps",
            str(10**7),
            "--set",
            "n_epochs=1",
            "--out",
            str(out),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    wait_for(lambda: len(read_run(out).updates) >= 2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    run = read_run(out)
    assert run.status == "interrupted"
    assert len(run.updates) == run.manifest["updates"] >= 2
    assert run.problems == []
    assert (out / "checkpoints" / "final.safetensors").exists()


def test_somebody_elses_package_called_envs_is_recognised(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    done = rl_lab("envs", "list", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "needs rl-lab's own package envs, but Python finds another one in" in done.stderr


def test_help_is_one_screen_with_an_example(say, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    for words in [("train",), ("study",), ("report",), ("envs", "show"), ("probe", "lyapunov"), ("doctor",)]:
        code, out, _ = say(*words, "--help")
        assert code == 0
        assert "Example:" in out
        assert len(out.splitlines()) <= 45


def test_doctor_finds_this_machine_in_order(say, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(say("doctor", "--json")[1])
    assert [result["ok"] for result in found] == [True] * len(found), found
    assert os.listdir(tmp_path) == []


def test_a_setting_of_the_task_and_one_of_the_agent_may_share_a_name():
    assert _read_settings(["env.gamma=1", "gamma=0.9"]) == ({"gamma": 0.9}, {"gamma": 1})
