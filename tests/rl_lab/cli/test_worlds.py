"""envs show, envs plot and probe lyapunov: what they print, what they write, what they refuse."""

import json

import pytest


@pytest.fixture
def run(tmp_path, monkeypatch, say):
    """Call `rl-lab words...` in an empty directory: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return say


def test_the_card_for_people_has_its_sections_and_numbers(run):
    code, out, _ = run("envs", "show", "chaos/Lorenz-v0")
    assert code == 0
    for words in (
        "Equations",
        "Task",
        "Chaos",
        "LaTeX",
        "Versions",
        "0.90581",
        "2.062 of 3",
        "9.06 Lyapunov times",
    ):
        assert words in out
    assert "0.04529 > -log(gamma) = 0.01005, Hölder exponent 0.22" in out
    assert "0.04529 < -log(gamma) = 0.05129, Hölder exponent 1: smooth" in out


def test_the_card_for_programs_has_the_dimension_where_all_exponents_are_known(run):
    card = json.loads(run("envs", "show", "chaos/Lorenz-v0", "--json")[1])
    assert card["kaplan_yorke"] == pytest.approx(2 + 0.90581 / 14.57248)
    assert (
        json.loads(run("envs", "show", "chaos/Lorenz-v0", "--set", "rho=33", "--json")[1])["kaplan_yorke"]
        is None
    )


def test_plot_writes_one_png_and_tells_the_rate_and_never_overwrites(run, tmp_path):
    code, out, _ = run("envs", "plot", "chaos/Henon-v0", "--json")
    told = json.loads(out)
    assert code == 0
    assert abs(told["rate"] - told["reference"]["exponent"]) < 4 * told["stderr"]
    picture = (tmp_path / told["picture"]).read_bytes()
    assert told["picture"] == "henon.png"
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    code, out, err = run("envs", "plot", "chaos/Henon-v0")
    assert (code, out) == (2, "")
    assert "henon.png is there already and is left as it is" in err
    assert (tmp_path / "henon.png").read_bytes() == picture


def test_the_catalogue_again_prints_a_document_and_writes_page_and_data(run, tmp_path):
    words = ("probe", "lyapunov", "--all", "--only", "Henon", "--time-scale", 0.02)
    code, out, err = run(*words, "--markdown", "table.md", "--out", "table.json", "--json")
    assert code == 0
    found = json.loads(out)
    (row,) = found["rows"]
    assert (row["system"], row["verdict"], len(row["deviations"])) == ("Henon", "agrees", 2)
    assert json.loads((tmp_path / "table.json").read_text()) == found
    assert (
        (tmp_path / "table.md")
        .read_text()
        .startswith("<!-- Written by `rl-lab probe lyapunov --all --only Henon")
    )
    assert "[1/1] Henon" in err
    assert run(*words, "--markdown", "table.md")[0] == 0, "its own page is replaced"
    (tmp_path / "table.md").write_text("mine")
    code, _, err = run(*words, "--markdown", "table.md")
    assert (code, (tmp_path / "table.md").read_text()) == (2, "mine")


@pytest.mark.parametrize(("method", "time"), [("two-trajectory", 2000), ("finite-time", 50)])
def test_other_methods_give_their_own_document(run, method, time):
    words = ("probe", "lyapunov", "chaos/Henon-v0", "--method", method, "--time", time, "--json")
    found = json.loads(run(*words)[1])
    assert found["method"] == method
    value = found["exponent"] if method == "two-trajectory" else found["leading"]["mean"]
    assert value == pytest.approx(0.419, abs=0.04)


def test_fewer_vectors_stand_beside_as_many_references(run):
    code, out, _ = run("probe", "lyapunov", "chaos/Henon-v0", "--vectors", 1, "--time", 1e5)
    assert code == 0
    assert "exponent, nats per iteration" in out
    assert "0.41929" in out
    assert "-1.62326" not in out


WRONG = {
    ("envs", "plot", "chaos/Henonn-v0"): "Did you mean chaos/Henon-v0?",
    ("envs", "plot", "Pendulum-v1"): "Pendulum-v1 is no chaotic task",
    ("envs", "plot", "chaos/Henon-v0", "--set", "bb=1"): "bb is not a setting of this task",
    ("envs", "plot", "chaos/Henon-v0", "--out", "nowhere/x.png"): "there is no directory nowhere",
    ("probe", "lyapunov"): "name a chaotic task",
    ("probe", "lyapunov", "chaos/Henon-v0", "--all"): "ENV does not go with --all",
    ("probe", "lyapunov", "chaos/Henon-v0", "--long"): "--long does not go without --all",
    ("probe", "lyapunov", "--all", "--time-scale", "0"): "--time-scale must be a positive number",
    ("probe", "lyapunov", "--all", "--long", "--time-scale", "2"): "--time-scale or --long, not both",
    ("probe", "lyapunov", "--all", "--only", "Henn"): "Did you mean Henon?",
    ("probe", "lyapunov", "chaos/Henon-v0", "--method", "spectrun"): "Did you mean spectrum?",
    ("probe", "lyapunov", "chaos/Henon-v0", "--vectors", "3"): "vectors must be 1 to 2",
    ("probe", "lyapunov", "chaos/Henon-v0", "--method", "escape"): "nothing to survive",
    ("probe", "lyapunov", "chaos/Henon-v0", "--method", "finite-time", "--vectors", "1"): "--vectors does not go with",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_input_is_one_sentence_and_exit_code_2(run, words, tmp_path):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert WRONG[words] in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
