"""Colours and fonts, one choice for pictures and page."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first is drawn into vl-convert itself, so pictures look the same on a machine without fonts."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#8A8A8A")
"""Okabe and Ito's colours for every kind of colour vision, without black and yellow (a page may be dark or
light), and two more. Source: Okabe and Ito, Color Universal Design (2008)."""

GREY = "#808080"
"""Reads on white and on black alike."""


def colours(agents: Iterable[str]) -> dict[str, str]:
    """A colour for every agent: sorted by name, so it is the same in all charts of a report."""
    return {agent: PALETTE[i % len(PALETTE)] for i, agent in enumerate(sorted(set(agents)))}


DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3))
"""Strokes of the first, second, ... arm of one colour."""


def dashes(colours: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """A stroke for every arm: whole, unless arms before it have its colour already."""
    seen: Counter[str] = Counter()
    found: dict[str, tuple[int, ...]] = {}
    for arm, colour in colours.items():
        found[arm] = DASHES[seen[colour] % len(DASHES)]
        seen[colour] += 1
    return found


def config(ink: str = "#24292f", faint: str = "#d8dee4", background: str = "#ffffff") -> dict[str, Any]:
    """Vega-Lite configuration: large quiet type, thin grid, no frame."""
    axis = {
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelColor": ink,
        "titleColor": ink,
        "gridColor": faint,
        "domainColor": GREY,
        "tickColor": GREY,
    }
    legend = {
        "labelFontSize": 13,
        "labelColor": ink,
        "titleColor": ink,
        "symbolStrokeWidth": 3,
        "labelLimit": 180,
    }
    return {
        "background": background,
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"minExtent": 38},
        "legend": {
            **legend,
            "orient": "top",
            "title": None,
            "columnPadding": 18,
            "layout": {"top": {"direction": "vertical", "margin": 6}},
        },
        "title": {
            "fontSize": 15,
            "fontWeight": "bold",
            "anchor": "start",
            "frame": "group",
            "color": ink,
            "offset": 10,
        },
        "text": {"color": ink, "fontSize": 12},
        "concat": {"spacing": 36},
    }


LIGHT = config(background="transparent")
DARK = config(ink="#d5dbe1", faint="#2d333b", background="transparent")
