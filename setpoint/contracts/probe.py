"""A probe: a question to a database file of the workspace, which a SQL or Freshness condition asks.

compile makes it, the core puts it into a step, sandboxd has it asked by a program of its own inside the sandbox,
read-only and locked. It never names anything outside the workspace.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Engine = Literal["duckdb", "sqlite"]
"""What reads the file."""

READY: Final = 0
DRIFTED: Final = 1
UNKNOWN: Final = 2
"""Exit codes of the program that asks: the answer holds, it does not, there is none. Its last line on stdout is the
reason of the latter two. Every other end of it (another code, a signal) is Unknown too."""


class Probe(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question. ``path`` is relative to the workspace, ``query`` one SELECT of which the first value counts.

    ``max_age_s`` None: the value is a boolean and true is Ready. Otherwise it is an instant (a timestamp, RFC 3339
    text, or seconds since the epoch) and Ready when it is at most so many seconds ago.
    """

    engine: Engine
    path: str
    query: str
    max_age_s: float | None = None
