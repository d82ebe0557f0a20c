"""What a bench prints: a table for people, then one line of JSON for machines; or that line alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a bench has found. ``figures`` name their units; ``bar`` says in words what has to hold, or is empty."""

    bench: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: dict[str, Any]
    ratio: float | None = None
    bar: str = ""
    holds: bool = True
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the line for machines."""
        load = [round(one, 2) for one in os.getloadavg()]
        return json.dumps(
            {
                "bench": self.bench,
                "figures": self.figures,
                "ratio": self.ratio,
                "bar": self.bar,
                "holds": self.holds,
                "load": load,
                "cpus": os.cpu_count(),
            }
        )


def show(report: Report, *, as_json: bool) -> None:
    """Print a report."""
    if not as_json:
        print(f"\n{report.bench}: {report.bar or 'no bar'}\n")
        print(table(report.head, report.rows))
        for note in report.notes:
            print(f"  {note}")
        one, five, fifteen = os.getloadavg()
        print(f"  load {one:.1f} {five:.1f} {fifteen:.1f} on {os.cpu_count()} cores when it ended\n")
    print(report.line(), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, all others to the right."""
    every = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[place]) for row in every) for place in range(len(head))]
    lines = [
        "  "
        + "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    ]
    lines.insert(1, "  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return float(median(values))
