"""Frames on the pipe between celld and a cell: a 4-byte big-endian length, then msgpack (proto/links.md).

Both ends use it: the cell blocking, celld with whatever bytes have arrived.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final

from setpoint.contracts import codec, limits
from setpoint.contracts.codec import FrameRefused

EXIT_DECIDE: Final = 70
"""Exit code of a cell whose core raised while it decided."""

EXIT_REPLAY: Final = 71
"""Exit code of a cell that could not fold the log it was given."""

_LENGTH: Final = struct.Struct(">I")
_PIECE_BYTES: Final = 64 * 1024


def encode(frame: object) -> bytes:
    """Return a frame with its length before it. Raises FrameRefused when the pipe cannot carry it."""
    try:
        body = codec.pack(frame)
    except (OverflowError, UnicodeEncodeError) as error:  # JSON knows larger numbers, and stranger texts
        raise FrameRefused(str(error)) from error
    if len(body) > limits.CELL_FRAME_BYTES_MAX:
        raise FrameRefused(f"a frame of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cut a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, content: bytes) -> list[bytes]:
        """Take bytes in and return every frame they complete, without its length. Raises FrameRefused."""
        rest = self._rest
        rest += content
        found: list[bytes] = []
        start = 0
        while len(rest) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest, start)
            _check(size)
            end = start + _LENGTH.size + size
            if len(rest) < end:
                break
            found.append(bytes(rest[start + _LENGTH.size : end]))
            start = end
        del rest[:start]
        return found


def frames(pipe: socket.socket) -> Iterator[bytes]:
    """Yield the frames that come through a blocking socket until the other end is gone. Raises FrameRefused.

    Whatever has arrived is taken at once: a call for each length and each frame costs as much as the frames themselves.
    """
    splitter = Splitter()
    while content := pipe.recv(_PIECE_BYTES):
        yield from splitter.feed(content)


def _check(size: int) -> None:
    if size > limits.CELL_FRAME_BYTES_MAX:
        raise FrameRefused(f"a frame of {size} bytes")
