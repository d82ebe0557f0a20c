"""Encodings: canonical JSON for what is hashed or stored, msgpack for what crosses a pipe or link."""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_json = msgspec.json.Encoder(order="deterministic")
_pack = msgspec.msgpack.Encoder()
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class FrameRefused(Exception):
    """Bytes that are no frame of this link. The peer is of another version or hostile: close the link."""


def canonical_json(value: object) -> bytes:
    """Encode a value as JSON with sorted keys and no spaces: equal values, equal bytes."""
    return _json.encode(value)


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hex: the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def pack(frame: object) -> bytes:
    """Encode a frame as msgpack."""
    return _pack.encode(frame)


class Unpacker:
    """Decode frames of one union. Make one per link and direction and keep it: building it is the costly part."""

    def __init__(self, union: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(union)

    def __call__(self, content: bytes) -> Any:
        """Decode one frame. Raises FrameRefused when it is none of the union."""
        try:
            return self._decoder.decode(content)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise FrameRefused(str(error)) from error


def unstorable(value: object) -> str | None:
    """Name the first string in a JSON value that Postgres cannot hold (NUL, lone surrogate), or None.

    Source: feasibility.md section 5: one such string makes the whole batch of many sessions fail.
    """
    if isinstance(value, str):
        if "\x00" in value:
            return "a NUL character"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "a lone surrogate"
        return None
    children: list[object] = []
    if isinstance(value, dict):
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        children = list(value)
    return next((fault for child in children if (fault := unstorable(child))), None)


def storable_text(text: str) -> str:
    """Make any text storable: NUL and lone surrogates become the replacement character."""
    return _UNSTORABLE.sub("\ufffd", text)
