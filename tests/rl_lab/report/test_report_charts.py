"""Charts: what is drawn is what was measured, and no value breaks an axis."""

import json
import math

import numpy as np
import pytest

from rl_lab.monitor.record.run_directory import read_run
from rl_lab.report.arms import arms_of
from rl_lab.report.census import digests
from rl_lab.report.charts import (
    collapse_rates,
    events_timeline,
    kl_per_update,
    kl_tails,
    learning_curves,
    overview,
    run_multiples,
    survival_curves,
)
from rl_lab.report.charts.kl import LOWEST_KL, kl_axis, kl_marks
from rl_lab.report.curves import MARKS, POINTS, panels
from rl_lab.report.look import DASHES, PALETTE, colours, dashes
from rl_lab.report.page.live import live
from rl_lab.report.publish import png
from rl_lab.report.tails import TAIL_POINTS
from rl_lab.study.store import find_runs

COLOURS = colours(["ppo", "trpo", "ppo-noclip"])
EVERY = (
    learning_curves, kl_per_update, kl_tails, collapse_rates, survival_curves, events_timeline, run_multiples,
)  # fmt: skip


def panels_of(*paths):
    found = digests([read_run(path) for path in paths])
    rng = np.random.default_rng(0)
    return panels(found, arms_of(found, rng), rng)


def rows(returns=(), kl=(), step=100):
    count = max(len(returns), len(kl))
    padded = [*returns, *[None] * (count - len(returns))], [*kl, *[None] * (count - len(kl))]
    return [
        {"update": n, "env_steps": step * n, "return_smooth": r, "kl_mean": k, "kl_max": k}
        for n, (r, k) in enumerate(zip(*padded, strict=True), 1)
    ]


def test_the_middle_is_the_iqm_at_common_steps_from_where_all_runs_have_a_return(run_writer, tmp_path):
    """Steps 100, 200, 300, 400 against 150, 300; between its points a run is a straight line."""
    a = run_writer(tmp_path, seed=0, updates=rows([None, 2.0, 4.0, 6.0]))
    b = run_writer(tmp_path, seed=1, updates=rows([10.0, 20.0], step=150))
    (panel,) = panels_of(a, b)
    drawn = {row["env_steps"]: (row["iqm"], row["low"], row["high"]) for row in panel.middle}
    assert drawn == {
        200: (pytest.approx((2 + 13.3333) / 2, rel=1e-4), 2.0, pytest.approx(13.3333, rel=1e-4)),
        300: (12.0, 4.0, 20.0),
        400: (13.0, 6.0, 20.0),
    }


def test_behind_its_end_a_diverged_run_counts_with_what_it_was_settled_with(run_writer, tmp_path):
    """Else the mean would jump up the moment the bad run dies."""
    good = run_writer(tmp_path, seed=0, updates=rows([-50.0, -40.0, -30.0]))
    bad = run_writer(tmp_path, seed=1, updates=rows([-60.0, -70.0]), status="diverged", return_final=None)
    (panel,) = panels_of(good, bad)
    assert [row["iqm"] for row in panel.middle] == [-55.0, -55.0, (-30.0 - 110.0) / 2]
    assert [(row["run"], row["env_steps"]) for row in panel.ends] == [("chaos-Lorenz-v0-ppo-s1", 200)]


def test_unfinished_runs_are_drawn_alone_and_not_in_the_middle(run_writer, tmp_path):
    done = run_writer(tmp_path, seed=0, updates=rows([-50.0, -40.0]))
    cut = run_writer(tmp_path, seed=1, updates=rows([-90.0]), status="interrupted")
    (panel,) = panels_of(done, cut)
    assert [row["iqm"] for row in panel.middle] == [-50.0, -40.0]
    assert "low" not in panel.middle[0], "one run has no band"
    assert {row["run"][-2:]: row["unfinished"] for row in panel.seeds} == {"s0": False, "s1": True}


def test_many_runs_are_a_band_and_not_a_tangle(run_writer, tmp_path):
    (panel,) = panels_of(*(run_writer(tmp_path, seed=s, updates=rows([1.0 * s, s + 1.0])) for s in range(5)))
    assert all(row["many"] for row in panel.seeds)
    assert panel.middle[0]["runs"] == 5
    drawing = learning_curves(panel, COLOURS)
    still, whole = drawing.still(), drawing.spec()
    name = next(name for name in drawing.rows if name.startswith("runs"))
    assert (len(still["datasets"][name]), len(whole["datasets"][name])) == (0, 10)
    runs = next(layer for layer in live(whole)["layer"] if layer["data"]["name"] == name)
    assert any("many" in one["filter"] for one in runs["transform"]), "the page shows them when asked"


def test_thinning_keeps_the_largest_kl_and_the_ends_of_returns(run_writer, tmp_path):
    kl = [0.01] * 5000
    kl[3333] = 50.0
    (panel,) = panels_of(run_writer(tmp_path, updates=rows(list(range(5000)), kl)))
    assert len(panel.kl) <= POINTS
    assert max(row["kl_mean"] for row in panel.kl) == 50.0
    assert len(panel.middle) <= POINTS
    assert (panel.middle[0]["iqm"], panel.middle[-1]["iqm"]) == (0.0, 4999.0)


def test_a_panel_marks_the_most_severe_events_when_there_are_too_many(run_writer, tmp_path):
    kl = [float(n) for n in range(1, MARKS + 101)]
    events = [{"id": n, "event": "kl_spike", "update": n, "message": ""} for n in range(1, len(kl) + 1)]
    (panel,) = panels_of(run_writer(tmp_path, updates=rows([], kl), events=events))
    assert len(panel.marks) == MARKS
    assert min(mark["kl_mean"] for mark in panel.marks) == 101.0


@pytest.mark.parametrize(
    ("values", "axis"),
    [([0.02, 83.0], (0.01, 100.0)), ([0.0], (1e-3, 1.0)), ([], (1e-3, 1.0)), ([0.02, 0.03], (0.01, 1.0)),
     ([1e-300, 0.5], (0.1, 10.0)), ([2e-7, 5.0], (1e-7, 10.0))],
)  # fmt: skip
def test_the_kl_axis_is_made_of_whole_decades_and_survives_zero(values, axis):
    assert kl_axis(values) == pytest.approx(axis)
    assert kl_axis(values)[0] >= LOWEST_KL


def test_events_are_marked_where_they_happened(run_writer, tmp_path):
    kl = [0.02, 0.0, 7.0, math.nan, math.inf]
    named = {3: "kl_spike", 4: "nonfinite", 5: "kl_spike"}
    events = [{"id": n, "event": name, "update": n, "message": "m"} for n, name in named.items()]
    (panel,) = panels_of(run_writer(tmp_path, updates=rows([0.0] * 5, kl), events=events))
    marks = [(mark["event"], mark["update"], mark["y"]) for mark in kl_marks(panel)]
    marks.sort(key=lambda mark: mark[1])
    assert marks == [
        ("KL below the axis", 2, 0.01), ("kl_spike", 3, 7.0), ("nonfinite", 4, 10.0), ("kl_spike", 5, 10.0),
    ]  # fmt: skip
    drawn = next(v for k, v in kl_per_update(panel, COLOURS).rows.items() if k.startswith("kl of"))
    assert [row["update"] for row in drawn] == [1, 3], "the line passes over zero and is cut at NaN"


def test_an_agent_has_one_colour_in_all_charts_and_colours_go_by_name():
    assert {"ppo": PALETTE[0], "ppo-noclip": PALETTE[1], "trpo": PALETTE[2]} == COLOURS
    assert len(set(colours(f"a{i}" for i in range(8)).values())) == 8
    many = colours(f"a{i:02d}" for i in range(20))
    assert len(many) == 20
    assert len(set(zip(many.values(), dashes(many).values(), strict=True))) == 20, (
        "told apart by their strokes"
    )
    assert set(dashes(COLOURS).values()) == {DASHES[0]}


def test_every_number_in_a_chart_is_finite_json(study):
    found = digests(find_runs(study))
    rng = np.random.default_rng(0)
    for panel in panels(found, arms_of(found, rng), rng):
        for draw in EVERY:
            spec = draw(panel, COLOURS).spec()
            json.dumps(spec, allow_nan=False)
            layers = spec["layer"] if "layer" in spec else spec["spec"]["layer"]
            named = {layer["data"]["name"] for layer in layers if "data" in layer}
            assert named <= set(spec["datasets"])


def test_a_panel_without_data_says_so(run_writer, tmp_path):
    path = run_writer(tmp_path, status="failed", return_final=None)
    (panel,) = panels_of(path)
    for draw, words in (
        (learning_curves, "no episode"),
        (kl_per_update, "no update"),
        (collapse_rates, "no run"),
        (kl_tails, "no update"),
        (survival_curves, "no run"),
        (run_multiples, "no episode"),
    ):
        assert words in json.dumps(draw(panel, COLOURS).spec())
    assert png(overview([panel], COLOURS)).startswith(b"\x89PNG")


def test_a_picture_needs_no_network_and_has_ink_of_every_agent(study):
    """Colours are searched in the SVG of the same definition, so the test sees what is really drawn."""
    import altair as alt
    import vl_convert

    found = digests(find_runs(study))
    rng = np.random.default_rng(0)
    drawing = overview(panels(found, arms_of(found, rng), rng), COLOURS)
    version = alt.SCHEMA_VERSION.rpartition(".")[0]
    svg = vl_convert.vegalite_to_svg(drawing.spec(), vl_version=version, allowed_base_urls=[])
    for colour in COLOURS.values():
        assert svg.count(f'stroke="{colour}"') >= 4
    assert "random policy" in svg
    assert "NaN" not in svg


def test_the_tail_is_the_share_of_updates_that_go_so_far(run_writer, tmp_path):
    """1000 updates of KL n / 1000 and one that came out non-finite, which went beyond everything."""
    kl = [n / 1000 for n in range(1, 1001)]
    lost = {"update": 1001, "env_steps": 1, "kl_mean": 0.0, "kl_max": 0.0, "outcome": "NOT_FINITE"}
    (panel,) = panels_of(run_writer(tmp_path, updates=[*rows([], kl), lost]))
    tail = [row for row in panel.tails if row["of"] == "kl_mean"]
    assert len(tail) <= TAIL_POINTS
    for row in tail:
        assert row["share"] == pytest.approx((1000 - round(1000 * row["kl"]) + 1 + 1) / 1001)
    assert {tail[0]["kl"], tail[-1]["kl"]} == {0.001, 1.0}


def test_equal_values_of_a_tail_count_together(run_writer, tmp_path):
    (panel,) = panels_of(run_writer(tmp_path, updates=rows([], [0.5, 0.5, 0.5, 2.0])))
    tail = {row["kl"]: row["share"] for row in panel.tails if row["of"] == "kl_mean"}
    assert tail == {0.5: 1.0, 2.0: 0.25}


def test_survival_steps_and_numbers_at_risk(run_writer, tmp_path):
    """Four runs of 400 steps, one collapsed at 100, one at 300, one was last seen at 200: 3/4, then 3/4 x 1/2."""
    for seed, fell, end in ((0, 100, 4), (1, 300, 4), (2, None, 2), (3, None, 4)):
        events = [{"id": 1, "event": "performance_collapse", "update": 1, "env_steps": fell}] if fell else []
        status = "interrupted" if end == 2 else "done"
        run_writer(tmp_path, seed=seed, updates=rows([0.0] * end), events=events, status=status)
    (panel,) = panels_of(*tmp_path.iterdir())
    alive = {row["env_steps"]: row["alive"] for row in panel.survival}
    assert alive[100] == 0.75
    assert alive[300] == pytest.approx(0.75 / 2)
    assert [(row["env_steps"], row["at_risk"]) for row in panel.at_risk] == [
        (0, 4), (100, 4), (200, 3), (300, 2), (400, 1),
    ]  # fmt: skip
    assert [row["env_steps"] for row in panel.censored] == [200, 400]


def test_lanes_and_events_of_the_timeline_meet(run_writer, tmp_path):
    spike = {"id": 1, "event": "kl_spike", "update": 2, "env_steps": 200, "value": 3.0}
    a = run_writer(tmp_path, seed=0, updates=rows([0.0] * 3))
    b = run_writer(tmp_path, seed=1, updates=rows([0.0] * 2), events=[spike, {**spike, "env_steps": None}])
    (panel,) = panels_of(a, b)
    assert [(row["lane"], row["seed"], row["env_steps"]) for row in panel.lanes] == [(0, 0, 300), (1, 1, 200)]
    assert [(row["lane"], row["env_steps"]) for row in panel.events] == [(1, 200)], "one has no place in time"


def test_what_a_page_can_switch_off_is_filtered_in_every_layer(study):
    found = digests(find_runs(study))
    rng = np.random.default_rng(0)
    panel = panels(found, arms_of(found, rng), rng)[0]
    for draw in EVERY:
        made = live(draw(panel, COLOURS).spec())
        layers = made["layer"] if "layer" in made else made["spec"]["layer"]
        for layer in layers:
            name = layer.get("data", made.get("data"))["name"]
            columns = set(made["datasets"][name][0])
            said = " ".join(str(one["filter"]) for one in layer["transform"] if "filter" in one)
            assert ("hidden_arms" in said) == bool(columns & {"agent", "other"}), (draw, name)
            assert ("hidden_seeds" in said) >= ("seed" in columns), (draw, name)
