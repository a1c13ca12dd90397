"""The key `monitor` of a study, and --level and --guard of train: how runs are watched, and by whom."""

import json
from dataclasses import asdict

import pytest

from rl_lab.cli import work
from rl_lab.errors import UserError
from rl_lab.study.config import read_study
from rl_lab.study.execute import execute
from rl_lab.study.monitor import Watch
from rl_lab.study.plan import Agent, Env, plan_run
from rl_lab.study.supervisor import _refuse_other_study, _write_document

GOOD = {"envs": ["Pendulum-v1"], "agents": ["ppo"], "seeds": 2, "steps": 3000}


def study(monitor=None):
    return read_study({**GOOD, **({} if monitor is None else {"monitor": monitor})}, "test", "test.yaml")


def test_a_study_is_watched_as_a_script_is_unless_it_says_otherwise():
    assert study().monitor == Watch() == study({}).monitor == Watch("standard", ({"name": "alert"},))
    asked = study({"level": "full", "guards": ["rollback", {"name": "stop", "on": ["kl_spike"]}]})
    assert [run.monitor for run in asked.runs()] == 2 * [
        Watch("full", ({"name": "rollback"}, {"name": "stop", "on": ["kl_spike"]}))
    ]


def test_guards_that_change_training_make_another_study_and_how_closely_it_is_watched_does_not():
    same = [{"level": "full"}, {"guards": []}, {"guards": ["checkpoint", {"name": "alert", "seconds": 5}]}]
    assert {study(monitor).hash() for monitor in same} == {study().hash()}
    assert study().document()["monitor"] == {}
    others = [
        {"guards": ["rollback"]},
        {"guards": ["rollback", "shrink"]},
        {"guards": ["shrink", "rollback"]},
        {"guards": [{"name": "rollback", "factor": 0.3}]},
        {"guards": [{"name": "rollback", "on": ["nonfinite"]}]},
    ]
    assert len({study(monitor).hash() for monitor in [None, *others]}) == 6
    named = {"guards": ["alert", {"name": "rollback", "factor": 0.5, "most": 10}], "level": "light"}
    assert study(named).hash() == study({"guards": ["rollback"]}).hash(), "defaults are resolved"


def test_a_directory_with_other_guards_is_refused_and_one_with_another_level_goes_on(tmp_path):
    out = tmp_path / "study"
    out.mkdir()
    planned = study({"guards": ["rollback"]})
    _write_document(planned, out, "test.yaml")
    _refuse_other_study(study({"guards": ["rollback"], "level": "full"}), out)
    with pytest.raises(UserError, match=r"already holds another study \(it differs in: monitor\)"):
        _refuse_other_study(study(), out)
    # A study of before there were guards: its study.json does not know the key.
    document = json.loads((out / "study.json").read_text())
    del document["config"]["monitor"]
    document["hash"] = study().hash()
    (out / "study.json").write_text(json.dumps(document))
    _refuse_other_study(study({"level": "light"}), out)
    with pytest.raises(UserError, match=r"differs in: monitor\)"):
        _refuse_other_study(planned, out)


MISTAKES = {
    "monitor must be a mapping of settings, got ['full']": ["full"],
    "monitor.guard is not a key of monitor. Did you mean guards? (monitor has: level, guards, checkpoint_every)": {
        "guard": ["stop"]
    },
    "monitor.level must be one of light, standard, full, got 'ful'. Did you mean full?": {"level": "ful"},
    "monitor.guards must be a list, for example `guards: [alert,": {"guards": "stop"},
    "monitor.guards[1]: there is no guard rolback. Did you mean rollback? (there are: alert, checkpoint,": {
        "guards": ["stop", "rolback"]
    },
    "monitor.guards[0]: name is missing. (there are: alert": {"guards": [{"factor": 0.3}]},
    "monitor.guards[0] must be a mapping of settings, got 7": {"guards": [7]},
    "monitor.guards[0].facter is not a setting of rollback. Did you mean factor? (rollback has: on, factor,": {
        "guards": [{"name": "rollback", "facter": 0.3}]
    },
    "monitor.guards[0].factor must be a number, got 'half'": {
        "guards": [{"name": "rollback", "factor": "half"}]
    },
    "monitor.guards[0].factor must be less than or equal to 1, got 3": {
        "guards": [{"name": "rollback", "factor": 3}]
    },
    "monitor.guards[0].limit must be greater than 0, got 0": {"guards": [{"name": "shrink", "limit": 0}]},
    "monitor.guards[0].most must be a whole number, got 2.5": {
        "guards": [{"name": "checkpoint", "most": 2.5}]
    },
    "monitor.guards[0].on: kl_spik is not an event. Did you mean kl_spike? (there are: ": {
        "guards": [{"name": "stop", "on": ["kl_spik"]}]
    },
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_mistakes_get_one_sentence(sentence):
    with pytest.raises(UserError) as caught:
        study(MISTAKES[sentence])
    assert str(caught.value).startswith(f"test.yaml: {sentence}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_settings_reach_the_run_and_its_manifest(tmp_path):
    """As a worker gets them: through JSON."""
    watch = study({"level": "light", "guards": [{"name": "stop", "on": ["kl_spike"]}, "rollback"]}).monitor
    travelled = Watch(**json.loads(json.dumps(asdict(watch))))
    arm = Agent(
        "ppo", "ppo", {"n_envs": 1, "n_steps": 32, "batch_size": 32, "n_epochs": 4, "learning_rate": 3.0}
    )
    plan = plan_run(Env("Pendulum-v1", "Pendulum-v1"), arm, 0, 640, {}, travelled)
    run = execute(
        plan, tmp_path / "run", wandb=False, random_return={"mean": 0.0, "stderr": 0.0, "episodes": 0}
    )
    assert run.manifest["level"] == "light"
    assert [guard["name"] for guard in run.manifest["guards"]] == ["stop", "rollback"]
    assert run.manifest["guards"][0]["on"] == ["kl_spike"]
    did = [event["event"] for event in run.events if event["event"].startswith("guard")]
    assert did == ["guard_stop", "guard_rollback"]
    assert run.manifest["env_steps"] < 640
    assert run.status == "done"


@pytest.mark.parametrize(
    ("level", "guards", "watch"),
    [
        ("standard", None, Watch()),
        ("full", ["none"], Watch("full", ())),
        (
            "light",
            ["rollback", "{name: shrink, limit: 0.02}"],
            Watch("light", ({"name": "rollback"}, {"name": "shrink", "limit": 0.02})),
        ),
    ],
)
def test_level_and_guards_on_the_command_line(level, guards, watch):
    assert work._read_watch(level, guards) == watch


@pytest.mark.parametrize(
    ("level", "guards", "sentence"),
    [
        ("fulll", None, "--level must be one of light, standard, full, got 'fulll'. Did you mean full?"),
        ("full", ["stopp"], "--guard stopp: there is no guard stopp. Did you mean stop?"),
        (
            "full",
            ["{name: rollback, factor: 2}"],
            "--guard {name: rollback, factor: 2}.factor must be less than or equal to 1, got 2",
        ),
        ("full", ["{name: "], "--guard {name: : the value cannot be read ("),
    ],
)
def test_mistakes_on_the_command_line(level, guards, sentence):
    with pytest.raises(UserError) as caught:
        work._read_watch(level, guards)
    assert str(caught.value).startswith(sentence), str(caught.value)
