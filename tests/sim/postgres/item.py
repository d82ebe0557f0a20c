"""What append_batch takes: one session's part of a batch, as ``celld.plane.item.build`` encodes it.

Whoever has the encoded items gives them to ``decode``; whoever has no need of the encoding makes an ``Item`` itself.
Fields that the real type lets be null may be None here, so that what the database refuses can be said at all.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from setpoint.contracts.clock import parse_rfc3339
from tests.sim.postgres.tables import bad


class ItemEvent(msgspec.Struct):
    """An event of an item. ``at`` is microseconds since the epoch, or an RFC 3339 text."""

    type: str | None = None
    at: int | str | None = None
    data: Any = UNSET
    v: int | None = None
    command_id: str | None = None
    asset: str | None = None
    execution_id: str | None = None


class ItemResult(msgspec.Struct):
    """The end of a command."""

    command_id: str | None = None
    lane: int | None = None
    status: str | None = None
    result: Any = None


class ItemAsset(msgspec.Struct):
    """A row of the projection; ``doc`` None removes it."""

    name: str | None = None
    doc: Any = None


class ItemLock(msgspec.Struct):
    """A lock key and the execution that takes or gives it."""

    key: str | None = None
    execution: str = ""
    ttl_s: float | None = None


class ItemSandbox(msgspec.Struct):
    """Where the session's workspace is."""

    host: str | None = None
    ledger_id: str | None = None
    workspace_no: int | None = None


class ItemGeneration(msgspec.Struct):
    """A version of the applied project; the two texts name blobs."""

    n: int | None = None
    resources: str | None = None
    files: str | None = None


class Item(msgspec.Struct):
    """One session's part of a batch: the type append_item."""

    tenant: str
    session: str
    inc: int
    epoch: int
    head_seq: int
    batch: str | None = None
    events: list[ItemEvent] | None = None
    ack: list[tuple[int, int]] | None = None
    results: list[ItemResult] | None = None
    assets: list[ItemAsset] | None = None
    take: list[ItemLock] | None = None
    give: list[ItemLock] | None = None
    sandbox: ItemSandbox | None = None
    generation: ItemGeneration | None = None
    delivering: int | UnsetType | None = UNSET


def instant(at: int | str | None) -> int:
    """Read the time of an event that has one. Raises BadInput for a text that is none."""
    if isinstance(at, int):
        return at
    try:
        return parse_rfc3339(at or "")
    except ValueError as error:
        raise bad("22007", f"invalid input syntax for type timestamp with time zone: {at!r}") from error


_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_DECODER: Final = msgspec.json.Decoder(list[Item])


def decode(payload: bytes) -> list[Item]:
    """Read the argument of the real function: a JSON array of items. Raises BadInput for what has another shape."""
    if b"u0000" in payload and _NUL.search(payload):
        raise bad("22P05", "unsupported Unicode escape sequence")
    try:
        return _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise bad("22P02", str(error)) from error
