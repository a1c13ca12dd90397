"""The page in a real browser, cut off from the network: what it draws, asks for, says on the console and does."""

import json

import pytest
from browser import CHROMIUM, DRAWN, browser

CHARTS = {
    "learning": 2,
    "kl": 2,
    "tails": 2,
    "rates": 2,
    "survival": 2,
    "timeline": 2,
    "profile": 1,
    "multiples": 2,
}
PATIENCE = 300
"""Seconds for what takes one or two on a quiet machine."""


@pytest.fixture(scope="module")
def seen(built):
    """The page, open and drawn; tests leave its switches as they were."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    with browser() as window:
        window.open(built.page)
        window.wait(DRAWN, PATIENCE)
        yield window


def shown(chart, kind="line"):
    """JavaScript: the marks of a kind that the chart shows; a line that has no point is not shown."""
    paths = f"[...document.querySelectorAll('#{chart} .mark-{kind}.role-mark path')]"
    return f"{paths}.filter((p) => p.getAttribute('d'))"


def found(selector, words):
    """JavaScript: the one element that says these words."""
    return f"[...document.querySelectorAll('{selector}')].find((e) => e.textContent === '{words}')"


def marks(window, chart, kind="line"):
    """How many there are."""
    return window.value(f"{shown(chart, kind)}.length")


def strokes(window, chart):
    """The colours of its lines."""
    return set(window.value(f"{shown(chart)}.map((p) => p.getAttribute('stroke'))"))


def test_every_chart_is_drawn(seen):
    drawn = json.loads(
        seen.value(
            "JSON.stringify([...document.querySelectorAll('.chart')].map((c) => [c.id, !!c.querySelector('svg')]))"
        )
    )
    assert sorted(drawn) == sorted(
        [f"{name}-{i}", True] for name, count in CHARTS.items() for i in range(count)
    )
    assert seen.value("document.querySelectorAll('.chart.failed').length") == 0
    assert seen.value("document.documentElement.dataset.charts") == str(sum(CHARTS.values()))
    assert marks(seen, "learning-0") >= 3
    assert marks(seen, "survival-0") == 3
    assert marks(seen, "timeline-0", "symbol") > 3
    shapes = seen.value(
        "[...document.querySelectorAll('.chart svg path')].map((p) => p.getAttribute('d')).join()"
    )
    assert "NaN" not in shapes


def test_axes_have_titles_with_units(seen):
    for chart, words in {
        "learning-0": ("environment steps", "return (mean of the last 20 episodes)"),
        "kl-0": ("update", "mean KL(old || new) of the update, nats"),
        "tails-0": ("KL(old || new) of an update, nats", "share of updates with at least this KL"),
        "survival-0": ("environment steps", "runs not yet collapsed"),
        "timeline-0": ("environment steps",),
    }.items():
        titles = seen.value(
            f"[...document.querySelectorAll('#{chart} .role-axis-title text')].map((t) => t.textContent)"
        )
        assert set(words) <= set(titles), chart


def test_an_arm_switched_off_in_a_legend_is_off_in_every_chart_and_comes_back(seen):
    before = {chart: strokes(seen, chart) for chart in ("learning-0", "kl-1", "survival-0")}
    assert all(len(found) == 3 for found in before.values())
    label = found("#learning-0 .role-legend-label text", "ppo-noclip")
    chip = found("#switch-arms .chip", "ppo-noclip")
    for pressed in ("false", "true"):
        seen.click(*seen.place(label))
        seen.wait(f"{chip}.getAttribute('aria-pressed') === '{pressed}'", PATIENCE)
        for chart, colours in before.items():
            left = 2 if pressed == "false" else 3
            seen.wait(
                f"new Set({shown(chart)}.map((p) => p.getAttribute('stroke'))).size === {left}", PATIENCE
            )
            assert strokes(seen, chart) <= colours


def test_a_seed_can_be_switched_off(seen):
    count = marks(seen, "kl-1")
    assert count == 9, "three arms of three seeds"
    chip = found("#switch-seeds .chip", "1")
    seen.value(f"{chip}.click()")
    seen.wait(f"{shown('kl-1')}.length === 6", PATIENCE)
    seen.value("document.querySelectorAll('#switches [data-all=true]')[1].click()")
    seen.wait(f"{shown('kl-1')}.length === 9", PATIENCE)


def test_an_axis_turns_from_logarithmic_to_linear_and_back(seen):
    ticks = "[...document.querySelectorAll('#kl-0 .role-axis-label')].at(-1).textContent"
    button = found("#kl-0 .tools button", "log y")
    before = seen.value(ticks)
    assert "0.01" in before
    assert seen.value(f"{button}.getAttribute('aria-pressed')") == "true"
    seen.value(f"{button}.click()")
    seen.wait(f"{button}?.getAttribute('aria-pressed') === 'false'", PATIENCE)
    assert "0.01" not in seen.value(ticks)
    seen.value(f"{button}.click()")
    seen.wait(f"{button}?.getAttribute('aria-pressed') === 'true'", PATIENCE)
    assert seen.value(ticks) == before


def test_nothing_is_wider_than_a_phone_and_the_dark_page_has_light_words(seen):
    axis = "document.querySelector('#kl-0 .role-axis-title text').getAttribute('fill')"
    assert int(seen.value(axis)[1:3], 16) < 128, "dark words on a light page"
    seen.media(dark=True)
    seen.resize(400, 800)
    try:
        seen.wait("document.documentElement.dataset.charts === undefined", PATIENCE)
        seen.wait(DRAWN, PATIENCE)
        assert seen.value("innerWidth") == 400
        assert seen.value("document.documentElement.scrollWidth") == 400
        widest = seen.value(
            "Math.max(...[...document.querySelectorAll('.chart svg')].map((s) => s.getBoundingClientRect().right))"
        )
        assert widest <= 400
        assert int(seen.value(axis)[1:3], 16) > 128
    finally:
        seen.media()
        seen.resize(1280, 900)
        seen.wait("document.documentElement.dataset.charts === undefined", PATIENCE)
        seen.wait(DRAWN, PATIENCE)


def test_on_paper_there_are_charts_and_no_switches(seen):
    seen.media(kind="print")
    try:
        for hidden in ("nav", ".tools", ".vega-embed details"):
            assert seen.value(f"getComputedStyle(document.querySelector('{hidden}')).display") == "none"
        assert (
            seen.value("getComputedStyle(document.querySelector('.chart svg text')).fill") == "rgb(0, 0, 0)"
        )
    finally:
        seen.media()


def test_the_page_asks_the_network_for_nothing_and_the_console_stays_silent(seen):
    """The last test: it speaks of everything that the others did."""
    assert [url for url in seen.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert seen.told == []
