"""Text of strangers made fit for a terminal. Pure. Called wherever the CLI prints a line for a person.

Names, reasons and messages hold what tenants' commands printed: an escape sequence in one could move the cursor, hide
a line or change the window's title. JSON output and ``setpoint logs`` are for programs and stay as they are.
"""

from __future__ import annotations

import re
from typing import Final

_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_LINES: Final = "\n\t"


def plain(text: str, *, keep_lines: bool = False) -> str:
    """Return the text with every control or direction character shown as its escape, ``\\x1b`` for one.

    ``keep_lines`` leaves line feeds and tabs alone.
    """
    return _UNFIT.sub(lambda found: found[0] if keep_lines and found[0] in _LINES else _shown(found[0]), text)


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
