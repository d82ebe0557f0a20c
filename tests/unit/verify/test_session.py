"""A session held against the rules of ``setpoint verify``: a sound one passes, and each fault is named."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from setpoint.contracts.event import Event, NewEvent, committed
from setpoint.verify.session import RULES, event_of, findings

SESSION = "0198c0de-0000-7000-8000-000000000001"
COMMAND = "0198c0de-0000-7000-8000-000000000002"
SYNC = "0198c0de-0000-7000-8000-000000000003"


def sound() -> list[Event]:
    """A session that was created, given up, taken over in mid-sync, and closed."""
    rows = [
        ((1, 0), NewEvent("session.created")),
        ((1, 1), NewEvent("lease.acquired", {"host": "h", "incarnation": "i1"})),
        ((1, 1), NewEvent("lease.released", {"mode": "drain"})),
        ((1, 2), NewEvent("lease.acquired", {"host": "h", "incarnation": "i1"})),
        ((1, 2), NewEvent("command.accepted", {"lane": 1}, command_id=COMMAND)),
        ((1, 2), NewEvent("sync.started", asset="a", execution_id=SYNC)),
        ((1, 3), NewEvent("lease.acquired", {"host": "g", "incarnation": "i2"})),
        ((1, 3), NewEvent("run.adopted", asset="a", execution_id=SYNC)),
        ((1, 3), NewEvent("sync.succeeded", asset="a", execution_id=SYNC)),
        ((1, 3), NewEvent("command.succeeded", command_id=COMMAND)),
        ((1, 3), NewEvent("session.closed", {"mode": "close"})),
    ]
    return [committed(new, seq, seq, SESSION, epoch) for seq, (epoch, new) in enumerate(rows, 1)]


def changed(at: int, **fields: object) -> Callable[[list[Event]], list[Event]]:
    """Return what changes the event of a seq."""

    def change(log: list[Event]) -> list[Event]:
        return [msgspec.structs.replace(event, **fields) if event.seq == at else event for event in log]

    return change


def without(*seqs: int) -> Callable[[list[Event]], list[Event]]:
    """Return what takes events out and gives the rest their seqs anew."""

    def change(log: list[Event]) -> list[Event]:
        left = [event for event in log if event.seq not in seqs]
        return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(left, 1)]

    return change


def test_a_sound_session_passes_whole_and_at_every_moment_before_its_end() -> None:
    log = sound()
    assert findings(log, {COMMAND: "succeeded"}, head_seq=len(log), closed=True) == []
    for head in range(1, len(log)):
        told = {COMMAND: "accepted"} if head >= 5 else {COMMAND: "queued"}
        assert findings(log[:head], told if head < 10 else {}, head_seq=head, closed=False) == []


def test_an_event_is_read_as_the_api_shows_it() -> None:
    for event in sound():
        assert event_of(msgspec.to_builtins(event.as_json())) == event


@pytest.mark.parametrize(
    ("change", "seq", "rule"),
    [
        (lambda log: log[:4] + log[5:], 6, "gaps"),
        (lambda log: log[:-1], 10, "gaps"),
        (changed(8, epoch=(1, 2)), 8, "epochs"),
        (without(7), 7, "epochs"),
        (changed(7, type="lease.released"), 8, "owners"),
        (without(9), 6, "executions"),
        (changed(6, type="asset.ready"), 9, "executions"),
        (changed(8, type="sync.started", execution_id="another"), 8, "overlaps"),
        (without(10), 5, "commands"),
        (changed(5, type="asset.ready"), 10, "commands"),
        (changed(10, type="command.failed"), 10, "results"),
    ],
)
def test_a_fault_is_found_at_its_seq_by_its_rule(
    change: Callable[[list[Event]], list[Event]], seq: int, rule: str
) -> None:
    found = findings(change(sound()), {COMMAND: "succeeded"}, head_seq=11, closed=True)
    assert (seq, rule) in {(one.seq, one.rule) for one in found}, found
    assert {one.rule for one in found} <= set(RULES)


def test_a_host_from_which_a_session_was_taken_may_not_own_it_again_as_it_was() -> None:
    log = changed(7, data={"host": "h", "incarnation": "i1"})(changed(3, type="asset.ready")(sound()))
    found = findings(log, {}, head_seq=11, closed=True)
    assert [(one.seq, one.rule) for one in found] == [(4, "owners"), (7, "owners")]
    assert "i1" in found[0].text
