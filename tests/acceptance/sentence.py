"""How the features' sentences name assets, and what their tables say. Used by every module with steps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_bdd import parsers

NAMES = r"(?P<names>[A-Z](?:, [A-Z])*(?: and [A-Z])?)"


def listed(names: str) -> list[str]:
    """Return the assets that a sentence names, e.g. "A, B and C"."""
    return [name.lower() for name in re.findall(r"[A-Z]", names)]


def rows_of(table: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return a table's rows by the words in its first row."""
    head, *rest = table
    return [dict(zip(head, row, strict=True)) for row in rest]


def steps(text: str) -> parsers.re:
    """Return a parser for a sentence in which NAMES stands for names of assets."""
    return parsers.re(text.replace("NAMES", NAMES))
