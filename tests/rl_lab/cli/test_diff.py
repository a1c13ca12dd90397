"""rl-lab diff: what it prints, as a document and for people, and how it ends."""

import json

import pytest

from rl_lab.monitor.measure.parts import PARTS


def write(folder, count, parts_from=None, seed=1):
    """A run whose rewards are another's from some update on, and everything after them."""
    folder.mkdir()
    manifest = {
        "run_id": folder.name, "status": "done", "seed": seed, "agent": {"name": "ppo", "settings": {"lr": 0.1}},
        "env": {"id": "Pendulum-v1", "settings": {}}, "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    rows, late = [], list(PARTS)[list(PARTS).index("rewards") :]
    for update in range(1, count + 1):
        far = parts_from is not None and update >= parts_from
        digests = {
            f"digest_{part}": f"{update:08}{'1' * 8 if far and part in late else '0' * 8}" for part in PARTS
        }
        away = 1e-6 * 2.0 ** (update - parts_from) if far else 0.0
        rows.append({"update": update, "env_steps": 64 * update, "kl_mean": 0.02 * (1 + away), **digests})
    event = {"id": 1, "event": "kl_spike", "update": 7, "env_steps": 448, "message": "kl_mean 0.4"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "updates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "events.jsonl").write_text("" if parts_from is None else json.dumps(event) + "\n")
    return folder


@pytest.fixture
def pair(tmp_path):
    return write(tmp_path / "first", 24), write(tmp_path / "again", 24, parts_from=7, seed=2)


def test_the_document_says_where_why_and_how_fast(say, pair):
    code, out, err = say("diff", *pair, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert set(told) == {
        "a", "b", "identical", "verdict", "compared", "settings", "first", "gaps", "growth", "parted", "events",
        "notes",
    }  # fmt: skip
    assert told["a"] == {
        "run_dir": str(pair[0]), "status": "done", "updates": 24, "env": "Pendulum-v1", "agent": "ppo", "seed": 1,
    }  # fmt: skip
    assert (told["identical"], told["compared"]) == (False, 24)
    assert (told["first"]["update"], told["first"]["part"]) == (7, "rewards")
    assert told["first"]["different"] == ["rewards", "returns", "after", "optimizer"]
    assert told["first"]["digests"]["rewards"] == {"a": "0000000700000000", "b": "0000000711111111"}
    assert told["settings"] == [{"key": "seed", "a": 1, "b": 2}]
    assert [gap["after"] for gap in told["gaps"]] == [0, 1, 2, 5, 10]
    assert told["gaps"][1]["kl_mean"]["relative"] == pytest.approx(2e-6, rel=1e-4)
    assert told["growth"]["rate"] == pytest.approx(0.693, abs=5e-3)
    assert told["events"]["only_b"][0]["event"] == "kl_spike"


def test_people_get_the_sentence_and_the_tables(say, pair):
    code, out, _ = say("diff", *pair)
    lines = out.splitlines()
    assert code == 0
    (verdict,) = [
        line for line in lines if line.startswith("updates 1-6 are identical to the bit; at update 7")
    ]
    assert "first in the rewards" in verdict
    assert "the environment is not deterministic" in verdict
    assert any(line.split() == ["seed", "1", "2"] for line in lines)
    assert sum("differs" in line for line in lines) == 4
    assert any("2.00-fold per update" in line for line in lines)
    assert any("kl_spike" in line and line.startswith("B") for line in lines)


def test_runs_that_are_identical(say, tmp_path):
    a, b = write(tmp_path / "a", 3), write(tmp_path / "b", 3)
    code, out, _ = say("diff", a, b, "--strict")
    assert code == 0
    assert out.splitlines()[-1] == "all 3 updates are identical to the bit"
    assert json.loads(say("diff", a, b, "--json")[1])["first"] is None


def test_strict_ends_with_3_where_an_update_differs(say, pair):
    assert say("diff", *pair, "--strict", "--json")[0] == 3


def test_wrong_input_ends_with_2_and_one_sentence(say, pair, tmp_path):
    code, out, err = say("diff", pair[0], tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert err == f"rl-lab: {tmp_path / 'nowhere'}: there is no such directory\n"
    code, out, err = say("diff", pair[0], pair[1] / "manifest.json")
    assert (code, out) == (2, "")
    assert err == f"rl-lab: {pair[1] / 'manifest.json'} is a file; name the run's directory\n"
    code, out, err = say("diff", "a" * 5000, pair[0])
    assert (code, out) == (2, "")
    assert err == f"rl-lab: {'a' * 200}...: File name too long\n"
