"""What all pages share: the frame, the place of a chart, and what a browser needs to draw it."""

import json
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import vl_convert

from rl_lab.report.charts import Drawing
from rl_lab.report.look import DARK, LIGHT
from rl_lab.report.page.live import live
from rl_lab.report.page.pack import packed


def framed(page: str, *, kicker: str, title: str, lead: str, **sections: str) -> str:
    """A page of this folder in the frame that all have: plain title and lead, sections in HTML."""
    return Template(text("frame.html")).substitute(  # one pass each: a $ inside a value stays a $
        kicker=kicker,
        title=escape(title),
        lead=escape(lead),
        style=text("page.css"),
        body=Template(text(page)).substitute(sections),
        bundle=bundle(),
        themes=script_json({"light": LIGHT, "dark": DARK}),
        script=text("page.js"),
    )


def chart(name: str, drawing: Drawing) -> str:
    """The place of a chart on a page, and its definition."""
    spec = live(drawing.spec(), drawing.turns, drawing.moves)
    spec["datasets"] = {name: packed(rows) for name, rows in spec["datasets"].items()}
    return (
        f'<div class="place"><div class="chart" id="{name}"></div>'
        f'<script type="application/json">{script_json(spec)}</script></div>'
    )


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no `<` may end it or open a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@cache
def bundle() -> str:
    """vega, vega-lite and vega-embed as one script, without the letters that would end it early."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def text(name: str) -> str:
    """A file of this folder."""
    return files("rl_lab.report.page").joinpath(name).read_text(encoding="utf-8")
