"""A cell: read a frame, decide, write a frame. Called by the zygote in the forked process.

It holds the state of the sessions it was given and the one decision of each that celld has not answered yet. It has no
clock, no network, no timer and no file but its pipe; a state moves on only by ``Committed``.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Final, assert_never

from celld.cell import snapshot, wire
from celld.core import workspace
from celld.core.decide import concluded, decide_several
from celld.core.evolve import evolve
from celld.core.state import State, empty
from setpoint.contracts.cell import (
    PROTOCOL,
    Aborted,
    Committed,
    Decided,
    Deliver,
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

_unpack: Final = Unpacker(ToCell)  # built in the zygote, shared by every cell


class ReplayFailed(Exception):
    """The log of a session cannot be folded: trying again will not help."""


@dataclass
class _Open:
    """A decision that celld has not answered: the state that its events lead to, and the instant they were given."""

    input_no: int
    state: State
    now: int


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
        turn, taken = decide_several(hosted.state, (frame.input, *frame.more), frame.now)
        if turn.events:
            hosted.open = _Open(frame.input_no, turn.state, frame.now)
        return Decided(frame.session, frame.input_no, hosted.state.head_seq, concluded(hosted.state, turn), taken)

    def _commit(self, frame: Committed) -> None:
        """Move on to the state that was decided by: it is the fold of the events that are in the log now."""
        hosted = self._sessions[frame.session]
        open_ = hosted.open
        assert open_ is not None and open_.input_no == frame.input_no, "committed what was not decided"
        as_proposed = hosted.state.head_seq + 1, open_.now, open_.state.epoch
        assert as_proposed == (frame.first_seq, frame.at, frame.epoch), "committed otherwise than it was decided"
        hosted.state, hosted.open = open_.state, None


def is_idle(state: State) -> bool:
    """Tell whether nothing of a session is under way: it does something again at a command or when it asked for."""
    waits = state.requested.first() is not None or workspace.wanted(state) is not None
    return not state.closed and state.closing is None and not (state.executions or state.commands or waits)


def _complain(session: str, error: snapshot.SnapshotRefused) -> None:
    """Say on celld's log why the log must do without a snapshot."""
    print(f"no snapshot of session {session}: {error}", file=sys.stderr, flush=True)


def serve(pipe: socket.socket, label: str) -> None:
    """Serve the pipe until celld closes it. Raises what the core raises, ReplayFailed for a log that does not fold."""
    cell = Cell()
    pipe.sendall(wire.encode(Hello(label, PROTOCOL, snapshot.VERSION, os.getpid())))
    for content in wire.frames(pipe):
        answer = cell.take(_unpack(content))
        if answer is not None:
            pipe.sendall(wire.encode(answer))
