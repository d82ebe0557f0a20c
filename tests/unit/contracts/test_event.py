"""Events: the closed list of types, and the row's public form."""

from __future__ import annotations

import re

import msgspec

from setpoint.contracts.event import COMMAND_ENDS, TYPES, Event, NewEvent, committed

SESSION = "019aa5a0-0000-7000-8000-000000000001"


def test_every_type_is_a_family_and_a_word() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in TYPES)
    assert COMMAND_ENDS < TYPES
    assert "command.accepted" in TYPES
    assert "command.accepted" not in COMMAND_ENDS


def test_the_public_form_leaves_out_what_is_absent_and_keeps_the_order() -> None:
    event = Event(3, "session.created", 1_795_256_754_123_456, SESSION, (1, 2), {"name": "s"})
    assert list(event.as_json().items()) == [
        ("seq", 3),
        ("type", "session.created"),
        ("v", 1),
        ("at", "2026-11-21T10:25:54.123456Z"),
        ("session_id", SESSION),
        ("epoch", [1, 2]),
        ("data", {"name": "s"}),
    ]


def test_a_committed_event_is_what_was_proposed_with_its_place() -> None:
    new = NewEvent("sync.started", {"n": 1}, 2, "c", "a", "x")
    row = committed(new, 7, 9, SESSION, (1, 4))
    assert row == Event(7, "sync.started", 9, SESSION, (1, 4), {"n": 1}, 2, "c", "a", "x")
    public = row.as_json()
    assert (public["command_id"], public["asset"], public["execution_id"], public["v"]) == ("c", "a", "x", 2)


def test_an_attachment_is_for_the_fold_alone() -> None:
    event = Event(1, "resources.applied", 0, SESSION, (1, 1), attachment=b"set")
    assert "attachment" not in event.as_json()


def test_an_event_crosses_a_pipe_unchanged() -> None:
    event = Event(1, "resources.applied", 0, SESSION, (1, 1), {"k": [1, None]}, attachment=b"\x00set", asset="a")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event
