"""What goes on while a command waits: each event as a line on stderr, when a person watches there.

``sync``, ``evaluate``, ``cancel`` and ``session close`` call this; ``apply --wait`` shows its lines in any case.
"""

from __future__ import annotations

import sys
from typing import Any

from setpoint.cli import narrate, table


def show(event: dict[str, Any]) -> None:
    """Print an event as a line on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        show_always(event)


def show_always(event: dict[str, Any]) -> None:
    """Print an event as a line on stderr."""
    colour, text = narrate.line(event)
    table.line(text, colour, err=True)
