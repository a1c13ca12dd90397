"""Rows of a chart as columns, so that a page of many runs stays small; `page.js` undoes it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

Row = Mapping[str, Any]
DIGITS = 6
"""Significant digits of a measured number: far finer than a pixel, and than what a tooltip shows."""


def packed(rows: Sequence[Row]) -> dict[str, Any]:
    """{n: number of rows, columns: {name: column}}; what a row does not have is null.

    A column is a list of its values; or {runs: [[value, count], ...]}; or, of whole numbers, {steps: [[difference,
    count], ...]} from one to the next, the first from 0: whichever is shortest.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {"n": len(rows), "columns": {name: _column([row.get(name) for row in rows]) for name in names}}


def _column(values: list[Any]) -> Any:
    values = [_short(value) for value in values]
    runs = _counted(values)
    found: list[tuple[int, Any]] = [(len(values), values), (2 * len(runs), {"runs": runs})]
    if all(type(value) is int for value in values):
        steps = _counted(b - a for a, b in pairwise([0, *values]))
        found.append((2 * len(steps), {"steps": steps}))
    return min(found, key=lambda pair: pair[0])[1]


def _counted(values: Iterable[Any]) -> list[list[Any]]:
    # by type too: True is 1, and 1.0 is 1, but a chart tells them apart
    return [[key[1], len(list(same))] for key, same in groupby(values, key=lambda v: (type(v), v))]


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
