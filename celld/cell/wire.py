"""Frames on the pipe between celld and a cell: a 4-byte big-endian length, then msgpack (proto/links.md).

Both ends use it: the cell blocking, celld with whatever bytes have arrived.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from setpoint.contracts import codec, limits
from setpoint.contracts.codec import FrameRefused

EXIT_DECIDE: Final = 70
"""Exit code of a cell whose core raised while it decided."""

EXIT_REPLAY: Final = 71
"""Exit code of a cell that could not fold the log it was given."""

_LENGTH: Final = struct.Struct(">I")


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
        frames: list[bytes] = []
        start = 0
        while len(rest) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest, start)
            _check(size)
            end = start + _LENGTH.size + size
            if len(rest) < end:
                break
            frames.append(bytes(rest[start + _LENGTH.size : end]))
            start = end
        del rest[:start]
        return frames


def read(pipe: socket.socket) -> bytes | None:
    """Read one frame from a blocking socket; None when the other end is gone. Raises FrameRefused."""
    head = _exactly(pipe, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    _check(size)
    return _exactly(pipe, size)


def _check(size: int) -> None:
    if size > limits.CELL_FRAME_BYTES_MAX:
        raise FrameRefused(f"a frame of {size} bytes")


def _exactly(pipe: socket.socket, size: int) -> bytes | None:
    content = bytearray(size)
    view = memoryview(content)
    done = 0
    while done < size:
        got = pipe.recv_into(view[done:])
        if got == 0:
            return None
        done += got
    return bytes(content)
