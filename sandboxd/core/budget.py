"""How much of a stream is kept: so many bytes, then a marker, then nothing. Pure.

The spool asks ``take`` for each piece it read; the pipe is drained all the same, so that a chatty command never blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from setpoint.contracts import limits

MARKER = b"\n[output truncated here]\n"


@dataclass(slots=True)
class Budget:
    """What is left of one stream's allowance; the marker fits into it."""

    bytes_max: int = limits.OUTPUT_BYTES_MAX
    kept: int = field(default=0, init=False)
    truncated: bool = field(default=False, init=False)

    def take(self, piece: bytes) -> bytes:
        """Return what of ``piece`` is to be written, with the marker when it is the first that does not fit."""
        if self.truncated:
            return b""
        room = self.bytes_max - len(MARKER) - self.kept
        if len(piece) <= room:
            self.kept += len(piece)
            return piece
        self.truncated = True
        cut = piece[:room] + MARKER
        self.kept += len(cut)
        return cut


def tail_text(content: bytes, bytes_max: int = limits.OUTPUT_TAIL_BYTES) -> str:
    """Return the end of an output as text of at most ``bytes_max`` bytes of UTF-8.

    Invalid bytes are replaced, NUL is removed; a character that the cut halves is left out.
    """
    end = content[-bytes_max:]
    if len(content) > bytes_max:
        while end and end[0] & 0xC0 == 0x80:
            end = end[1:]
    text = end.decode("utf-8", "replace").replace("\x00", "")
    encoded = text.encode()
    return text if len(encoded) <= bytes_max else encoded[-bytes_max:].decode("utf-8", "ignore")
