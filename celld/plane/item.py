"""What a decision becomes in the database: one item of ``append_batch``. Pure; called by a session's owner.

The item is derived from the events alone where it can be: an acceptance acknowledges its inbox row, an end is the
command's result, a materialized workspace moves the head's sandbox. So the log and what is kept beside it agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from celld.plane.key import Epoch, SessionKey
from setpoint.contracts import codec, limits
from setpoint.contracts.cell import AssetDoc, Decision, LockChange
from setpoint.contracts.event import COMMAND_ENDS, NewEvent

_NUL: Final = rb"\u0000"
"""A NUL as JSON says it; also what ends a text that speaks of one."""


class Unwritable(Exception):
    """A decision that the database would refuse, or that breaks a bound: the input it answers is not survivable."""


@dataclass(frozen=True, slots=True)
class Item:
    """One session's part of a batch, encoded. ``count`` is the number of its events."""

    key: SessionKey
    body: bytes
    count: int
    last_seq: int


def build(
    key: SessionKey, epoch: Epoch, head_seq: int, batch_id: str, at: int, decision: Decision, *, delivered: bool = False
) -> Item:
    """Make the item of a decision with events, on a head at ``head_seq``. Raises Unwritable.

    ``delivered``: the note of what is being delivered goes with it.
    """
    events = decision.events
    if not 0 < len(events) <= limits.EVENTS_PER_DECISION_MAX:
        raise Unwritable(f"a decision with {len(events)} events")
    body: dict[str, Any] = {
        "tenant": key.tenant,
        "session": key.session,
        "inc": epoch[0],
        "epoch": epoch[1],
        "head_seq": head_seq,
        "batch": batch_id,
        "events": [_event(event, at) for event in events],
        "ack": [[event.data["lane"], event.data["inbox_seq"]] for event in events if event.type == "command.accepted"],
        "results": [_result(event) for event in events if event.type in COMMAND_ENDS],
        "assets": [_asset(doc) for doc in decision.assets],
        "take": [_lock(change) | {"ttl_s": change.ttl_s} for change in decision.takes],
        "give": [_lock(change) for change in decision.gives],
    }
    body |= _moves(events) | ({"delivering": None} if delivered else {})
    return Item(key, _storable(body), len(events), head_seq + len(events))


def _storable(body: dict[str, Any]) -> bytes:
    """Encode an item. Raises Unwritable for what Postgres cannot hold; only a text that looks like it is read again."""
    try:
        content = codec.canonical_json(body)
    except UnicodeEncodeError as error:
        raise Unwritable("a text in the decision holds a lone surrogate") from error
    if _NUL in content and (fault := codec.unstorable(msgspec.json.decode(content))):
        raise Unwritable(f"a text in the decision holds {fault}")
    return content


def _event(event: NewEvent, at: int) -> dict[str, Any]:
    try:
        data = codec.canonical_json(event.data)
    except UnicodeEncodeError as error:
        raise Unwritable(f"{event.type}: a text holds a lone surrogate") from error
    if len(data) > limits.EVENT_BYTES_MAX:
        raise Unwritable(f"{event.type}: a payload of {len(data)} bytes")
    row: dict[str, Any] = {"type": event.type, "v": event.v, "at": at, "data": msgspec.Raw(data)}
    if event.command_id is not None:
        row["command_id"] = event.command_id
    if event.asset is not None:
        row["asset"] = event.asset
    if event.execution_id is not None:
        row["execution_id"] = event.execution_id
    return row


def _result(event: NewEvent) -> dict[str, Any]:
    status = event.type.removeprefix("command.")
    return {
        "command_id": event.command_id,
        "lane": event.data["lane"],
        "status": status,
        "result": event.data.get("result"),
    }


def _asset(changed: AssetDoc) -> dict[str, Any]:
    return {"name": changed.name, "doc": changed.doc}


def _lock(change: LockChange) -> dict[str, Any]:
    return {"key": change.key, "execution": change.execution_id}


def _moves(events: Sequence[NewEvent]) -> dict[str, Any]:
    """Return what the head and the generations take over from the newest such event of a decision."""
    moves: dict[str, Any] = {}
    for event in events:
        data = event.data
        if event.type == "workspace.materialized":
            moves["sandbox"] = {
                "host": data["sandbox_host"],
                "ledger_id": data["ledger_id"],
                "workspace_no": data["workspace_no"],
            }
        elif event.type == "resources.applied":
            moves["generation"] = {"n": data["generation"], "resources": data["resources"], "files": data["files"]}
    return moves
