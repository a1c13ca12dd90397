"""What a chart can do on a page and not in a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]

HIDDEN_ARMS, HIDDEN_SEEDS, SINGLES = "hidden_arms", "hidden_seeds", "single_runs"
"""Signals that page.js sets in every chart: what the reader has switched off, and whether every run has its line."""
_SIGNALS: list[Spec] = [
    {"name": HIDDEN_ARMS, "value": []},
    {"name": HIDDEN_SEEDS, "value": []},
    {"name": SINGLES, "value": False},
]
_FILTERS = {
    "agent": f"indexof({HIDDEN_ARMS}, datum.agent) < 0",
    "other": f"indexof({HIDDEN_ARMS}, datum.other) < 0",
    "seed": f"indexof({HIDDEN_SEEDS}, datum.seed) < 0",
    "many": f"!datum.many || {SINGLES} || length({HIDDEN_SEEDS}) > 0",
}
"""By column: which of its rows are drawn."""
_ZOOM = "wheel![event.ctrlKey || event.metaKey]"
"""The wheel alone scrolls the page."""


def live(spec: Spec, turns: Sequence[str] = (), moves: bool = True) -> Spec:
    """The definition, as wide as its place, filtered by what the reader switches off; lines can be moved and zoomed.

    `turns` are the axes that page.js offers to turn from linear to logarithmic and back.
    """
    rows: Rows = spec["datasets"]
    made = {**spec, "params": _SIGNALS, "usermeta": {"turns": list(turns)}}
    if "layer" not in spec:  # small multiples: page.js chooses how many stand in a row
        inner = spec["spec"]
        layers = [_filtered(layer, rows, spec.get("data")) for layer in inner["layer"]]
        return {**made, "data": spec["data"], "spec": {**inner, "layer": layers}}
    layers = [_filtered(layer, rows, spec.get("data")) for layer in spec["layer"]]
    movable = [i for i, layer in enumerate(layers) if moves and _moves(layer)]
    if movable:
        layers = [_clipped(layer) for layer in layers]
        layers[movable[0]] = {**layers[movable[0]], "params": [_grip(layers)]}
    return {
        **made,
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": layers,
    }


def _filtered(layer: Spec, rows: Rows, data: Spec | None = None) -> Spec:
    named = layer.get("data") or data or {}
    names = {name for row in rows.get(named.get("name", ""), ())[:1] for name in row}
    filters = [{"filter": expression} for column, expression in _FILTERS.items() if column in names]
    return {**layer, "transform": [*filters, *layer.get("transform", [])]}


def _moves(layer: Spec) -> bool:
    """Two measured axes: a row of names cannot be zoomed."""
    encoding = layer.get("encoding", {})
    return all(encoding.get(axis, {}).get("type") == "quantitative" for axis in ("x", "y"))


def _grip(layers: Sequence[Spec]) -> Spec:
    lanes = any(layer["encoding"].get("y", {}).get("field") == "lane" for layer in layers)
    select = {"type": "interval", "zoom": _ZOOM, "encodings": ["x"] if lanes else ["x", "y"]}
    return {"name": "zoom", "select": select, "bind": "scales"}


def _clipped(layer: Spec) -> Spec:
    mark = layer["mark"] if isinstance(layer["mark"], dict) else {"type": layer["mark"]}
    return layer if mark["type"] == "text" else {**layer, "mark": {**mark, "clip": True}}
