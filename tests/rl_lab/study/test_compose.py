"""A study out of several files and `--set`: what wins, what is stored, and which place a mistake is said to be in."""

import pytest

from rl_lab.errors import UserError
from rl_lab.study import tasks
from rl_lab.study.config import open_study
from rl_lab.study.store import read_study_document
from rl_lab.study.supervisor import _write_document

BASE = """
envs: [Pendulum-v1]
agents: [ppo, trpo]
seeds: 3
steps: 30000
settings: {gamma: 0.9, n_steps: 64}
contrasts: {A: [[ppo, trpo]]}
"""


@pytest.fixture
def files(tmp_path):
    """Write files by name; gives the folder."""

    def write(**texts):
        for name, text in {"base": BASE, **texts}.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text)
        return tmp_path

    return write


def test_mappings_are_merged_key_by_key_and_everything_else_replaces(files):
    folder = files(
        child="extends: base.yaml\nsettings: {gamma: 0.5}\nseeds: [7, 8]\nagents: [ppo, trpo, spo]\n"
        "contrasts: {B: [[ppo, spo]]}\n"
    )
    planned = open_study(folder / "child.yaml")
    assert planned.name == "child"
    assert planned.settings == {"gamma": 0.5, "n_steps": 64}
    assert planned.seeds == (7, 8)
    assert [agent.label for agent in planned.agents] == ["ppo", "trpo", "spo"]
    assert planned.contrasts == {"A": (("ppo", "trpo"),), "B": (("ppo", "spo"),)}


def test_null_takes_away_what_a_mapping_had(files):
    planned = open_study(files(child="extends: base.yaml\nsettings: null\ncontrasts:\n") / "child.yaml")
    assert (planned.settings, planned.contrasts) == ({}, {})


def test_extended_set_and_written_out_are_one_study(files):
    folder = files(
        middle="extends: base.yaml\nsettings: {gamma: 0.5}\n",
        child="extends: middle.yaml\nsettings: {n_steps: 32}\n",
        whole=BASE.replace("{gamma: 0.9, n_steps: 64}", "{gamma: 0.5, n_steps: 32}"),
    )
    whole = open_study(folder / "whole.yaml")
    for made in (
        open_study(folder / "child.yaml"),
        open_study(folder / "base.yaml", ["settings.gamma=0.5", "settings.n_steps=32"]),
        open_study(folder / "base.yaml", ["settings={gamma: 0.5, n_steps: 32}"]),
        open_study(folder / "middle.yaml", ["settings.n_steps=32"]),
    ):
        assert (made.hash(), made.document()) == (whole.hash(), whole.document())
    assert open_study(folder / "base.yaml").hash() != whole.hash()


def test_set_reads_values_as_yaml_and_comes_last(files):
    folder = files(child="extends: base.yaml\nseeds: 4\n")
    texts = [
        "seeds=5",
        "settings.learning_rate=1e-3",
        "envs=[{id: CartPole-v1, steps: 50}]",
        "contrasts.a.b=[[ppo, trpo]]",
    ]
    planned = open_study(folder / "child.yaml", texts)
    assert planned.seeds == (0, 1, 2, 3, 4)
    assert planned.settings == {"gamma": 0.9, "n_steps": 64, "learning_rate": 0.001}
    assert [(env.id, env.steps) for env in planned.envs] == [("CartPole-v1", 50)]
    assert set(planned.contrasts) == {"A", "a.b"}, "names of contrasts may have dots"
    assert open_study(folder / "base.yaml", ["settings=null"]).settings == {}


def test_files_of_agents_lie_beside_the_file_that_names_them(files):
    folder = files()
    (folder / "sub").mkdir()
    (folder / "tight.yaml").write_text("agent: ppo\nsource: a paper\nsettings: {clip_range: 0.1}\n")
    (folder / "base.yaml").write_text(
        BASE.replace("[ppo, trpo]", "[tight.yaml]", 1).replace("contrasts", "#")
    )
    (folder / "sub" / "child.yaml").write_text("extends: ../base.yaml\nseeds: 1\n")
    assert open_study(folder / "sub" / "child.yaml").agents[0].settings == {"clip_range": 0.1}
    with pytest.raises(UserError, match=r"^--set agents\[0\]: .*sub/tight\.yaml: cannot be read"):
        open_study(folder / "sub" / "child.yaml", ["agents=[tight.yaml]"])


MISTAKES = {
    # in the file that is extended
    "settings: {gama: 1}": ("", "base.yaml: settings.gama is not a setting of ppo. Did you mean gamma?"),
    "seed: 3": ("", "child.yaml: extends: {folder}/base.yaml: seed is not a key of a study. Did you mean seeds?"),
    "agents: [pppo]": ("", "base.yaml: agents[0]: there is no agent pppo. Did you mean ppo?"),
    "envs: Pendulum-v1": ("", "base.yaml: envs must be a list"),
    "seeds: 0": ("", "base.yaml: seeds must be a whole number greater than 0"),
    "monitor: {level: ful}": ("", "base.yaml: monitor.level must be one of light, standard, full, got 'ful'."),
    "contrasts: {A: [[ppo, trop]]}": ("", "base.yaml: contrasts.A[0]: trop is no agent of this study."),
    "primary: colapse": ("", "base.yaml: primary must be one of return_final, collapse, kl_spikes, time_to_collapse, "
                             "got 'colapse'. Did you mean collapse?"),
    # in the file that extends, of a mapping of which the rest is fine
    "settings: {gamma: 0.9}": ("settings: {n_step: 2}", "child.yaml: settings.n_step is not a setting of ppo."),
    "monitor: {level: full}": ("monitor: {gaurds: []}", "child.yaml: monitor.gaurds is not a key of monitor."),
    "contrasts: {A: [[ppo, trpo]]}": ("contrasts: {B: [1]}", "child.yaml: contrasts.B[0] must be a pair"),
    "steps: 10": ("seds: 3", "child.yaml: seds is not a key of a study. Did you mean seeds?"),
    "steps: 11": ("extends: base.yaml\nextends: base.yaml", "child.yaml: the key extends stands twice"),
    "steps: 12": ("steps: -1", "child.yaml: steps must be greater than 0, got -1"),
}  # fmt: skip


@pytest.mark.parametrize("base", MISTAKES)
def test_a_mistake_is_said_with_the_file_in_which_it_stands(files, base):
    child, sentence = MISTAKES[base]
    key = base.partition(":")[0]
    kept = "\n".join(line for line in BASE.splitlines() if not line.startswith(f"{key}:"))
    folder = files(base=f"{kept}\n{base}\n", child=f"extends: base.yaml\n{child}\n")
    with pytest.raises(UserError) as caught:
        open_study(folder / "child.yaml")
    assert str(caught.value).startswith(f"{folder}/{sentence.format(folder=folder)}"), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("3", "child.yaml: extends must be the name of one file, for example `extends: base.yaml`, got 3"),
        ("[base.yaml]", "child.yaml: extends must be the name of one file"),
        ("' '", "child.yaml: extends must be the name of one file"),
        ("none.yaml", "child.yaml: extends: {folder}/none.yaml: cannot be read (No such file"),
        ("..", "child.yaml: extends: {folder}/..: cannot be read (Is a directory)"),
        ("bad.yaml", "child.yaml: extends: {folder}/bad.yaml, line 1: is not valid YAML"),
        ("list.yaml", "child.yaml: extends: {folder}/list.yaml: must be a mapping"),
        ("child.yaml", "child.yaml extends {folder}/child.yaml: a study cannot extend itself"),
        (
            "other.yaml",
            "child.yaml extends {folder}/other.yaml extends {folder}/child.yaml: a study cannot",
        ),
    ],
)
def test_what_cannot_be_extended_is_said(files, value, sentence):
    folder = files(child=f"extends: {value}\n", bad="envs: [a", list="- a\n", other="extends: ./child.yaml\n")
    with pytest.raises(UserError) as caught:
        open_study(folder / "child.yaml")
    assert str(caught.value).startswith(f"{folder}/{sentence.format(folder=folder)}"), str(caught.value)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["settings.gama=1"], "--set settings.gama is not a setting of ppo. Did you mean gamma?"),
        (["settings.gamma=2"], "--set settings.gamma must be less than or equal to 1, got 2"),
        (["seed=3"], "--set seed is not a key of a study. Did you mean seeds?"),
        (["extends=base.yaml"], "--set extends is not a key of a study."),
        (["seeds=three"], "--set seeds must be a whole number greater than 0"),
        (["seeds=1000000000000000000000000"], "--set seeds must be at most 100,000, got 1000000"),
        (["seeds=50000", "agents=[ppo, trpo, spo]"], "{folder}/base.yaml: 1 tasks, 3 agents and 50,000 seeds would be "
         "150,000 runs; 100,000 are the most that are allowed"),
        (["steps=0"], "--set steps must be greater than 0, got 0"),
        (["seeds=1", "seeds=2"], "--set seeds is given twice; keep one"),
        (["seeds"], "--set seeds: must have the form key=value"),
        (["settings..gamma=1"], "--set settings..gamma: has an empty name between its dots"),
        ([".=1"], "--set .: has an empty name"),
        (["envs.0.steps=5"], "--set envs.0.steps: envs is a list and has no keys; give it whole, --set envs='...'"),
        (["seeds.x=5"], "--set seeds.x: seeds is 3 and has no keys"),
        (["settings.gamma.x=5"], "--set settings.gamma.x: settings.gamma is 0.9 and has no keys"),
        (["settings=[1]"], "--set settings must be a mapping of settings, got [1]"),
        (["envs=null"], "{folder}/base.yaml: envs is missing"),
        (["primary=3"], "--set primary must be one of return_final"),
        (["grid=3"], "--set grid must be a mapping from settings to lists of values"),
        (["envs=["], "--set envs=[: the value cannot be read"),
    ],
)  # fmt: skip
def test_a_mistake_in_set_is_said_as_one_in_set(files, texts, sentence):
    folder = files()
    with pytest.raises(UserError) as caught:
        open_study(folder / "base.yaml", texts)
    assert str(caught.value).startswith(sentence.format(folder=folder)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_stored_is_the_resolved_study(files, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "chance", lambda env: None)
    planned = open_study(files(child="extends: base.yaml\n") / "child.yaml", ["primary=collapse", "seeds=2"])
    _write_document(planned, tmp_path, "child.yaml")
    stored = read_study_document(tmp_path)
    assert (stored["hash"], stored["primary"]) == (planned.hash(), "collapse")
    assert stored["config"]["seeds"] == [0, 1]
    assert stored["config"]["settings"] == {"gamma": 0.9, "n_steps": 64}
    assert "extends" not in stored["config"]


def test_primary_is_an_outcome_and_changes_no_run(files):
    folder = files()
    first, other = open_study(folder / "base.yaml"), open_study(folder / "base.yaml", ["primary=collapse"])
    assert (first.primary, other.primary) == ("return_final", "collapse")
    assert first.hash() == other.hash()
