"""Printing: one JSON document on standard output, or tables and sentences for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rl_lab.monitor.record.run_directory import encode


def document(value: Any) -> None:
    """One JSON document on standard output; non-finite numbers become strings."""
    sys.stdout.write(json.dumps(encode(value), indent=1, ensure_ascii=False) + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> None:
    """A table on standard output: as wide as the terminal, or as wide as it needs to be elsewhere.

    With a `width` it is at most so wide, wherever it goes, and long cells take several lines.
    """
    made = Table(*headers, box=None, pad_edge=False, header_style="bold", show_header=any(headers))
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    console = Console()
    if console.is_terminal:
        console.print(made, width=width)
        return
    # Not on a terminal there is no width to fit into, and a cut-off path helps nobody.
    written = StringIO()
    Console(file=written, width=width or 1000).print(made)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Name and value, one pair a line, continuation lines aligned."""
    table(("", ""), pairs)


def line(text: str = "") -> None:
    """One line on standard output."""
    print(text)
