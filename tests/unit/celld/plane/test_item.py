"""What a decision becomes in the database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celld.plane.item import Unwritable, build
from celld.plane.key import SessionKey
from setpoint.contracts import limits
from setpoint.contracts.cell import AssetDoc, Decision, LockChange
from setpoint.contracts.event import NewEvent

KEY = SessionKey("t", "s")
AT = 1_795_256_754_123_457


def made(*events: NewEvent, **more: Any) -> dict[str, Any]:
    item = build(KEY, (2, 7), 41, "batch", AT, Decision(events=events, **more))
    assert item.count == len(events) and item.last_seq == 41 + len(events)
    body: dict[str, Any] = json.loads(item.body)
    return body


def test_an_item_names_its_session_epoch_head_and_batch() -> None:
    body = made(NewEvent("halt.started", {"reason": ""}))
    assert {key: body[key] for key in ("tenant", "session", "inc", "epoch", "head_seq", "batch")} == {
        "tenant": "t",
        "session": "s",
        "inc": 2,
        "epoch": 7,
        "head_seq": 41,
        "batch": "batch",
    }
    assert body["events"] == [{"type": "halt.started", "v": 1, "at": AT, "data": {"reason": ""}}]
    assert body["ack"] == body["results"] == body["assets"] == body["take"] == body["give"] == []
    assert "sandbox" not in body and "generation" not in body


def test_an_acceptance_acknowledges_its_inbox_row_and_an_end_is_the_result() -> None:
    accepted = NewEvent("command.accepted", {"lane": 1, "inbox_seq": 9, "type": "tool"}, command_id="c")
    ended = NewEvent("command.succeeded", {"lane": 1, "result": {"exit_code": 0}}, command_id="c")
    body = made(accepted, ended)
    assert body["ack"] == [[1, 9]]
    assert body["results"] == [{"command_id": "c", "lane": 1, "status": "succeeded", "result": {"exit_code": 0}}]
    assert body["events"][0]["command_id"] == "c"


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "rejected", "quarantined"])
def test_each_of_the_five_ends_is_a_result(end: str) -> None:
    body = made(NewEvent(f"command.{end}", {"lane": 0}, command_id="c"))
    assert body["results"] == [{"command_id": "c", "lane": 0, "status": end, "result": None}]


def test_a_materialized_workspace_moves_the_heads_sandbox() -> None:
    place = {"generation": 3, "sandbox_host": "h", "ledger_id": "l", "workspace_no": 2}
    body = made(NewEvent("workspace.lost", {}), NewEvent("workspace.materialized", place))
    assert body["sandbox"] == {"host": "h", "ledger_id": "l", "workspace_no": 2}


def test_an_applied_project_becomes_a_generation() -> None:
    applied = NewEvent("resources.applied", {"generation": 3, "resources": "r", "files": "f", "added": 1})
    assert made(applied)["generation"] == {"n": 3, "resources": "r", "files": "f"}


def test_assets_and_locks_are_passed_on() -> None:
    body = made(
        NewEvent("sync.started", {}, asset="a", execution_id="x"),
        assets=(AssetDoc("a", {"known": "ready"}), AssetDoc("b", None)),
        takes=(LockChange("k", "x", 60.0),),
        gives=(LockChange("l", "y"),),
    )
    assert body["assets"] == [{"name": "a", "doc": {"known": "ready"}}, {"name": "b", "doc": None}]
    assert body["take"] == [{"key": "k", "execution": "x", "ttl_s": 60.0}]
    assert body["give"] == [{"key": "l", "execution": "y"}]
    assert body["events"][0]["asset"] == "a" and body["events"][0]["execution_id"] == "x"


@pytest.mark.parametrize(
    "events",
    [
        (),
        (NewEvent("halt.started", {"reason": "a\x00b"}),),
        (NewEvent("halt.started", {"reason": "\ud800"}),),
        (NewEvent("halt.started", {"\x00": 1}),),
        (NewEvent("halt.started", {"reason": "x" * limits.EVENT_BYTES_MAX}),),
        (NewEvent("halt.ended"),) * (limits.EVENTS_PER_DECISION_MAX + 1),
    ],
)
def test_what_the_database_would_refuse_is_not_sent(events: tuple[NewEvent, ...]) -> None:
    with pytest.raises(Unwritable):
        build(KEY, (1, 1), 0, "b", AT, Decision(events=events))


def test_a_text_that_cannot_be_stored_is_found_in_the_projection_too() -> None:
    with pytest.raises(Unwritable):
        made(NewEvent("halt.ended"), assets=(AssetDoc("a", {"reason": "\x00"}),))


def test_a_text_that_speaks_of_a_nul_is_storable() -> None:
    event = NewEvent("halt.started", {"reason": "a \\u0000 in JSON", "who": "\\"})
    assert made(event)["events"][0]["data"] == {"reason": "a \\u0000 in JSON", "who": "\\"}
