"""What a chart can do on a page and not in a picture."""

from typing import Any

Spec = dict[str, Any]

_PICK = {"name": "pick", "select": {"type": "point", "fields": ["agent"]}, "bind": "legend"}


def live(spec: Spec) -> Spec:
    """The chart's definition, as wide as its place; an agent clicked in the legend is shown alone."""
    layers = [_picked(layer) if _in_legend(layer) else layer for layer in spec["layer"]]
    chosen = next((i for i, layer in enumerate(layers) if _in_legend(layer)), None)
    if chosen is not None:
        layers[chosen] = {**layers[chosen], "params": [_PICK]}
    return {**spec, "width": "container", "layer": layers}


def _in_legend(layer: Spec) -> bool:
    return bool(layer.get("encoding", {}).get("color", {}).get("legend"))


def _picked(layer: Spec) -> Spec:
    return {**layer, "transform": [*layer.get("transform", []), {"filter": {"param": "pick"}}]}
