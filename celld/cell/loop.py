"""A cell: read a frame, decide, write a frame. Called by the zygote in the forked process.

It holds the state of the sessions it was given and the one decision of each that celld has not answered yet. It has no
clock, no network, no timer and no file but its pipe; a state moves on only by ``Committed``.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from celld.cell import snapshot, wire
from celld.core import workspace
from celld.core.decide import decide
from celld.core.evolve import evolve
from celld.core.state import State, empty
from setpoint.contracts.cell import (
    PROTOCOL,
    Aborted,
    Committed,
    Decided,
    Deliver,
    Delivered,
    Drop,
    FromCell,
    Hello,
    Ping,
    Pong,
    Restore,
    Restored,
    Snapshot,
    SnapshotWanted,
    ToCell,
)
from setpoint.contracts.codec import Unpacker
from setpoint.contracts.event import Event, NewEvent, committed

APPLIED: Final = "resources.applied"
_unpack: Final = Unpacker(ToCell)  # built in the zygote, shared by every cell


class ReplayFailed(Exception):
    """The log of a session cannot be folded: trying again will not help."""


@dataclass
class _Open:
    """A decision that celld has not answered: its events, and the content that goes with a resources.applied."""

    input_no: int
    events: tuple[NewEvent, ...]
    attachment: bytes | None


@dataclass
class _Hosted:
    """A session in this cell."""

    state: State
    restored: bool = False
    open: _Open | None = field(default=None)


class Cell:
    """The sessions of one process. ``take`` is pure but for its own memory: a frame in, at most one frame out."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Hosted] = {}

    def take(self, frame: ToCell) -> FromCell | None:
        """Act on a frame and return the answer, if it has one. Raises what the core raises: the process must die."""
        match frame:
            case Restore():
                return self._restore(frame)
            case Deliver():
                return self._deliver(frame)
            case Committed():
                self._commit(frame)
            case Aborted():
                self._sessions[frame.session].open = None
            case Drop():
                self._sessions.pop(frame.session, None)
            case Ping():
                return Pong(frame.session, frame.n)
            case SnapshotWanted():
                return self._snapshot(frame)
            case _:
                assert_never(frame)
        return None

    def _restore(self, frame: Restore) -> Restored | None:
        if frame.snapshot is not None:
            return self._resume(frame.session, frame.snapshot)
        hosted = self._sessions.get(frame.session)
        if hosted is None or hosted.restored:
            hosted = self._sessions[frame.session] = _Hosted(empty(frame.session))
        for event in frame.events:
            try:
                hosted.state = evolve(hosted.state, event)
            except Exception as error:  # whatever the fold raises means the same: this log cannot be folded
                raise ReplayFailed(f"event {event.seq} ({event.type}): {type(error).__name__}: {error}") from error
        if not frame.last:
            return None
        hosted.restored = True
        return Restored(frame.session, hosted.state.head_seq)

    def _resume(self, session: str, content: bytes) -> Restored:
        """Begin with the state of a snapshot, or from nothing when this version cannot read it."""
        try:
            state = snapshot.decode(content, session)
        except snapshot.SnapshotRefused as error:
            _complain(session, error)
            state = empty(session)
        self._sessions[session] = _Hosted(state)
        return Restored(session, state.head_seq)

    def _snapshot(self, frame: SnapshotWanted) -> Snapshot:
        hosted = self._sessions[frame.session]
        assert hosted.restored and hosted.open is None, "a snapshot is of a state that is in the log"
        state, idle = hosted.state, is_idle(hosted.state)
        content = None
        if idle or not frame.if_idle:
            try:
                content = snapshot.encode(state)
            except snapshot.SnapshotRefused as error:
                _complain(frame.session, error)
        return Snapshot(frame.session, state.head_seq, idle, len(state.assets), content)

    def _deliver(self, frame: Deliver) -> Decided:
        hosted = self._sessions[frame.session]
        assert hosted.restored and hosted.open is None, "one decision is in flight per session"
        decision = decide(hosted.state, frame.input, frame.now)
        if decision.events:
            attachment = frame.input.attachment if isinstance(frame.input, Delivered) else None
            hosted.open = _Open(frame.input_no, decision.events, attachment)
        return Decided(frame.session, frame.input_no, hosted.state.head_seq, decision)

    def _commit(self, frame: Committed) -> None:
        hosted = self._sessions[frame.session]
        open_ = hosted.open
        assert open_ is not None and open_.input_no == frame.input_no, "committed what was not decided"
        hosted.open = None
        for n, new in enumerate(open_.events):
            event = committed(new, frame.first_seq + n, frame.at, frame.session, frame.epoch)
            hosted.state = evolve(hosted.state, _filled(event, open_.attachment))


def is_idle(state: State) -> bool:
    """Tell whether nothing of a session is under way: it does something again at a command or when it asked for."""
    waits = state.requested.first() is not None or workspace.wanted(state) is not None
    return not state.closed and state.closing is None and not (state.executions or state.commands or waits)


def _complain(session: str, error: snapshot.SnapshotRefused) -> None:
    """Say on celld's log why the log must do without a snapshot."""
    print(f"no snapshot of session {session}: {error}", file=sys.stderr, flush=True)


def _filled(event: Event, attachment: bytes | None) -> Event:
    """Give a resources.applied the compiled set that its command brought along."""
    if event.type != APPLIED or attachment is None:
        return event
    fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
    return Event(**fields | {"attachment": attachment})


def serve(pipe: socket.socket, label: str) -> None:
    """Serve the pipe until celld closes it. Raises what the core raises, ReplayFailed for a log that does not fold."""
    cell = Cell()
    pipe.sendall(wire.encode(Hello(label, PROTOCOL, snapshot.VERSION, os.getpid())))
    for content in wire.frames(pipe):
        answer = cell.take(_unpack(content))
        if answer is not None:
            pipe.sendall(wire.encode(answer))
