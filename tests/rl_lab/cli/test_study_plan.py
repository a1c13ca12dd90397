"""What `rl-lab study` says of a study before it runs: its cost and its power, as a sweep, and with keys from --set."""

import json

import pytest

from rl_lab.monitor.record.run_directory import read_run

YAML = """
envs: [Pendulum-v1]
agents: [ppo, ppo-noclip]
seeds: 2
steps: 512
settings: {n_envs: 4, n_steps: 64, n_epochs: 2}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "little.yaml"
    path.write_text(YAML)
    return path


def test_a_dry_run_measures_every_arm_and_says_what_it_could_not(tmp_path, monkeypatch, say):
    """One arm whose run is too short to be timed, so that its runs are in no estimate."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "little.yaml"
    config.write_text(
        "envs: [CartPole-v1, {id: CartPole-v1, label: short, steps: 64, without: [trpo]}]\n"
        "agents: [ppo, trpo]\nseeds: 4\nsteps: 100_000\nprimary: collapse\n"
        "settings: {n_envs: 4, n_steps: 64, n_epochs: 1}\n"
    )
    code, printed, said = say(
        "study", config, "--dry-run", "--json", "--jobs", 1, "--set", "settings={n_epochs: 2}"
    )
    assert code == 0, said
    document = json.loads(printed)
    cost, arms = document["cost"], {(arm["task"], arm["agent"]): arm for arm in document["cost"]["arms"]}
    assert set(arms) == {("CartPole-v1", "ppo"), ("CartPole-v1", "trpo"), ("short", "ppo")}
    assert (arms["short", "ppo"]["seconds_per_1000_steps"], arms["short", "ppo"]["reason"]) == (
        None, "it has fewer than two updates",
    )  # fmt: skip
    rates = [arms["CartPole-v1", agent]["seconds_per_1000_steps"] for agent in ("ppo", "trpo")]
    assert all(0 < rate < 1000 for rate in rates)
    expected = 4 * sum(100 * rate + cost["start_seconds"] for rate in rates)
    assert cost["core_seconds"] == pytest.approx(expected)
    assert cost["wall_seconds"] == pytest.approx(expected + cost["before_seconds"])
    assert 0 < cost["start_seconds"] < cost["seconds"]
    assert (document["primary"], document["runs"]) == ("collapse", 12)
    shown = document["detectable"]
    assert shown["sentences"][0] == "0 collapses in 4 runs bound the rate below 53 % (one-sided 95 %)"
    assert shown["collapse_rate_bound"] == pytest.approx(1 - 0.05**0.25)
    assert "calibrating: a few updates of one run of each of 3 arms (--no-calibrate leaves it out)" in said
    assert [path.name for path in tmp_path.iterdir()] == ["little.yaml"]


def test_without_calibration_the_plan_has_no_cost(say, config):
    code, printed, said = say("study", config, "--dry-run", "--no-calibrate", "--set", "seeds=1")
    assert code == 0, said
    assert "a difference" not in printed
    assert "0 collapses in 1 run bounds the rate below 95 % (one-sided 95 %)" in printed
    assert "primary outcome: return_final" in printed
    assert "estimate" not in printed
    code, printed, said = say("study", config, "--dry-run", "--no-calibrate", "--json")
    assert (json.loads(printed)["cost"], json.loads(printed)["seeds"]) == (None, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--set", "settings.gama=1"],
            "rl-lab: --set settings.gama is not a setting of ppo. Did you mean gamma?",
        ),
        (
            ["--set", "primary=luck"],
            "rl-lab: --set primary must be one of return_final, collapse, kl_spikes, time_to",
        ),
        (
            ["--set", "grid={settings.gamma: []}"],
            "rl-lab: --set grid.settings.gamma must be a list of values",
        ),
        (["--set", "seeds"], "rl-lab: --set seeds: must have the form key=value"),
    ],
)
def test_a_mistake_in_set_ends_with_2(say, config, words, sentence):
    code, printed, said = say("study", config, "--dry-run", *words)
    assert (code, printed) == (2, "")
    assert said.startswith(sentence)
    assert len(said.splitlines()) == 1


def test_a_sweep_is_written_and_one_of_its_runs_is_the_studys(say, config, tmp_path):
    sweep, out = tmp_path / "sweep.yaml", tmp_path / "out"
    grid = "grid={settings.learning_rate: [1e-3, 1e-2]}"
    code, printed, said = say("study", config, "--set", grid, "--write-sweep", sweep, "--json")
    assert (code, json.loads(printed)) == (0, {"sweep": str(sweep), "runs": 8}), said
    code, _, said = say("study", config, "--write-sweep", sweep)
    assert code == 2
    assert "is there already; nothing was changed" in said
    which = ["seed=1", "arm=ppo (learning_rate=0.01)", "task=Pendulum-v1"]
    code, printed, said = say(
        "run-one", config, *which, "--set", grid, "--out", out, "--wandb", "off", "--json"
    )
    assert code == 0, said
    assert json.loads(printed)["updates"] == 2
    manifest = read_run(out).manifest
    assert (manifest["study"], manifest["seed"], manifest["steps"]) == ("little", 1, 512)
    assert manifest["agent"]["settings"]["learning_rate"] == 0.01
    code, _, said = say("run-one", config, *which, "--set", grid, "--out", out)
    assert code == 2
    assert "already holds a run" in said
