"""The text of one manifest and the places in it. Called by tree.py and check.py; every fault gets its position here.

Bytes from outside end here: what leaves this module is text without characters that YAML or Postgres refuse.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from functools import cached_property

from setpoint.contracts.codec import storable_text
from setpoint.contracts.limits import MANIFEST_FILE_BYTES_MAX
from setpoint.contracts.problem import Fault

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2 (section 5.1) does not allow in a stream."""

_EXCERPT_CHARS_MAX = 60


def excerpt(value: object) -> str:
    """Quote what a person wrote for a message: at most 60 characters of it, without line breaks."""
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= _EXCERPT_CHARS_MAX else text[: _EXCERPT_CHARS_MAX - 3] + "...")


@dataclass(frozen=True)
class Source:
    """A manifest: its path in the project and its text. Places are character offsets into ``text``.

    ``first_line`` is the line of the file on which the text begins, more than 1 for a piece of it.
    """

    file: str
    text: str
    first_line: int = 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both from 1, lines as an editor counts them."""
        bounded = min(max(offset, 0), len(self.text))
        line = bisect.bisect_right(self._line_starts, bounded)
        return line + self.first_line - 1, bounded - self._line_starts[line - 1] + 1

    def fault(self, code: str, message: str, offset: int, hint: str = "") -> Fault:
        """Make the fault at an offset. The texts may hold what a tenant wrote: they are made storable."""
        line, column = self.position(offset)
        return Fault(code, storable_text(message), storable_text(self.file), line, column, hint=storable_text(hint))


def read_source(file: str, content: bytes) -> Source | Fault:
    """Decode a manifest, or say why that cannot be: too large, not UTF-8, or with control characters in it."""
    if len(content) > MANIFEST_FILE_BYTES_MAX:
        message = f"the file has {len(content)} bytes; at most {MANIFEST_FILE_BYTES_MAX} are read"
        return Source(file, "").fault("too-large", message, 0, "split it into several files under resources/")
    try:
        source = Source(file, content.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        before = Source(file, content[: error.start].decode("utf-8"))
        return before.fault("yaml.encoding", "the file is not UTF-8 from here on", len(before.text))
    bad = _UNPRINTABLE.search(source.text)
    if bad is not None:
        message = f"the character U+{ord(bad.group()):04X} is not allowed in YAML"
        return source.fault("yaml.character", message, bad.start())
    return source
