"""Rows as a table for a person, and coloured lines. The other commands of the CLI call this; scripts read JSON instead.

It reads no settings and no session: only the terminal, NO_COLOR and FORCE_COLOR.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from setpoint import runtime
from setpoint.cli.plain import plain

_GOOD, _BAD, _BUSY = "green", "red", "yellow"
_COLOURS: Final = {
    "ready": _GOOD,
    "succeeded": _GOOD,
    "drifted": _BAD,
    "suspended": _BAD,
    "failed": _BAD,
    "fenced": _BAD,
    "expired": _BAD,
    "blocked": _BUSY,
    "syncing": _BUSY,
    "evaluating": _BUSY,
    "unknown": _BUSY,
    "unseen": _BUSY,
}
_COLOURED: Final = ("STATE", "KNOWN", "STATUS")
_FREE: Final = "WHY"
_FREE_WIDTH: Final = 24
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def line(text: str, colour: str | None = None, *, bold: bool = False, err: bool = False) -> None:
    """Print one line, coloured where that is wanted: on a terminal, unless NO_COLOR; anywhere with FORCE_COLOR."""
    click.secho(text, fg=colour, bold=bold, err=err, color=_colour_wanted())


def write(rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> None:
    """Print rows as a table with ``columns`` of (title, key): fitted to a terminal, else one plain line a row."""
    now = datetime.fromtimestamp(runtime.now_us() / 1e6, UTC)
    cells = [[cell(row.get(key), now) for _, key in columns] for row in rows]
    if not sys.stdout.isatty():
        lines = [[title for title, _ in columns], *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for row_cells in lines:
            click.echo("  ".join(text.ljust(width) for text, width in zip(row_cells, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in columns:
        # Only free text may be folded; a name or an id that is cut in two cannot be copied.
        drawn.add_column(title, no_wrap=title != _FREE, overflow="fold")
    for row_cells in cells:
        drawn.add_row(
            *(
                Text(text, style=_COLOURS.get(text, "") if title in _COLOURED else "")
                for text, (title, _) in zip(row_cells, columns, strict=True)
            )
        )
    console = Console(highlight=False)
    # Wider than the terminal is better than cut: the terminal breaks the line, and nothing is lost.
    needed = sum(_width(i, title, cells) + 2 for i, (title, _) in enumerate(columns))
    console.width = max(console.width, needed)
    console.print(drawn)


def _width(column: int, title: str, cells: Sequence[Sequence[str]]) -> int:
    return _FREE_WIDTH if title == _FREE else max([len(title), *(len(row[column]) for row in cells)])


def cell(value: object, now: datetime) -> str:
    """Return a value as a person reads it: instants to come as ``in 4 s``, others in UTC to the second."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item, now) for item in value) or "-"
    text = plain(str(value))
    if len(text) > 19 and text[10] == "T" and text.endswith("Z"):
        return plain(_instant(text, now))
    return plain(text)


def _instant(text: str, now: datetime) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    ahead_s = (at - now).total_seconds()
    if ahead_s <= 0:
        return at.strftime("%Y-%m-%d %H:%M:%SZ")
    size, unit = next((size, unit) for size, unit in _UNITS if ahead_s >= size or size == 1)
    return f"in {ahead_s / size:.0f} {unit}"


def _colour_wanted() -> bool | None:
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None
