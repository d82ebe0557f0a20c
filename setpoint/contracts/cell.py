"""The pipe between celld and a cell: inputs, decisions, effects, and the frames that carry them (proto/links.md).

The cell decides and never acts; celld commits what it decided, then performs the effects and feeds back what happened.
Frames are msgpack with a 4-byte big-endian length before each. Every frame names its session.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from setpoint.contracts.event import Event, NewEvent
from setpoint.contracts.run import Outcome, RunState, Step, StepResult

PROTOCOL = 1
"""Version of these frames; a cell and a celld of N and N-1 can talk."""


class Struct(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="frame"):
    """A value of this pipe. Its tag goes by ``frame``: a command has a ``type`` of its own."""


# Inputs: what happened in the world. The core never learns anything in another way.


class Owned(Struct, tag="owned", frozen=True):
    """This host has just become the owner (or restarted the cell): look at what is open and ask for its recovery."""

    host: str
    restarted: bool = False


class Delivered(Struct, tag="delivered", frozen=True):
    """A command from the inbox. ``attachment`` is the compiled set that an ``apply`` refers to."""

    command_id: str
    lane: int
    inbox_seq: int
    type: str
    payload: Any
    attachment: bytes | None = None


class Tick(Struct, tag="tick", frozen=True):
    """The time that the last decision asked for (``wake_at``) has come."""


class Materialized(Struct, tag="materialized", frozen=True):
    """The workspace of a generation stands. A changed host, ledger or number means the former workspace is lost."""

    generation: int
    sandbox_host: str
    ledger_id: str
    workspace_no: int


class MaterializeFailed(Struct, tag="materialize_failed", frozen=True):
    """The workspace cannot be prepared and trying again will not help; ``reason`` is for people."""

    generation: int
    reason: str


class StepEnded(Struct, tag="step_ended", frozen=True):
    """A step of an open run ended."""

    execution_id: str
    result: StepResult
    enforced: dict[str, str] = {}


class RunEnded(Struct, tag="run_ended", frozen=True):
    """An open run ended; no further step of it will follow."""

    execution_id: str
    outcome: Outcome
    enforced: dict[str, str] = {}


class RunFound(Struct, tag="run_found", frozen=True):
    """The answer to ``RecoverRun``. ``lost``: its fate cannot be learnt any more (new ledger, or the deadline)."""

    execution_id: str
    state: RunState | Literal["lost"]


class RunRefused(Struct, tag="run_refused", frozen=True):
    """A run was refused for good before it began: nothing ran. ``code`` as in run.Refused."""

    execution_id: str
    code: str
    detail: str


class LockBusy(Struct, tag="lock_busy", frozen=True):
    """The decision that took a lock was not written, because another execution holds it."""

    execution_id: str
    key: str
    holder: str


Input = (
    Owned
    | Delivered
    | Tick
    | Materialized
    | MaterializeFailed
    | StepEnded
    | RunEnded
    | RunFound
    | RunRefused
    | LockBusy
)


# Effects: what celld is to do once the decision is committed.


class Materialize(Struct, tag="materialize", frozen=True):
    """Prepare the workspace for a generation; answered by ``Materialized`` or ``MaterializeFailed``."""

    generation: int
    files: str


class StartRun(Struct, tag="start_run", frozen=True):
    """Start the run of an execution; answered by ``StepEnded`` per step and ``RunEnded``, or ``RunRefused``.

    ``seq_offset`` is the place of its started event among the events of the decision (0 = first): the run is
    started under that seq. A re-sent start of an older decision gives ``seq`` itself.
    """

    execution_id: str
    steps: tuple[Step, ...]
    generation: int
    asset: str = ""
    seq_offset: int = 0
    seq: int = 0
    orphan_timeout_s: float = 600.0


class RecoverRun(Struct, tag="recover_run", frozen=True):
    """Learn what became of an open run, after fencing its sandbox host; answered by ``RunFound``."""

    execution_id: str
    started_at: int
    orphan_timeout_s: float = 600.0


class AttachRun(Struct, tag="attach_run", frozen=True):
    """Get the results of a run after step ``after``: adopted while it runs, or fetched when it has finished."""

    execution_id: str
    after: int


class CancelRun(Struct, tag="cancel_run", frozen=True):
    """End a run's process tree; answered by ``RunEnded``."""

    execution_id: str


class Release(Struct, tag="release", frozen=True):
    """Give up the session: ``close`` ends it for good. celld calls release() and drops the cell."""

    mode: Literal["close", "hibernate", "drain", "move"]


Effect = Materialize | StartRun | RecoverRun | AttachRun | CancelRun | Release


class LockChange(Struct, frozen=True):
    """A tenant-wide lock that the decision takes or gives, for the execution named.

    ``ttl_s``: for how long nobody may break it without force, counted from when it is taken.
    """

    key: str
    execution_id: str
    ttl_s: float = 3600.0


class AssetDoc(Struct, frozen=True):
    """A changed row of the projection ``session_assets``; ``doc`` None deletes it."""

    name: str
    doc: dict[str, Any] | None


class Decision(Struct, frozen=True):
    """What the core decided on one input. Without events nothing is written and the effects may happen at once.

    ``wake_at``: microseconds since the epoch at which the core wants a ``Tick``, or None. It replaces any former one.
    """

    events: tuple[NewEvent, ...] = ()
    effects: tuple[Effect, ...] = ()
    wake_at: int | None = None
    assets: tuple[AssetDoc, ...] = ()
    takes: tuple[LockChange, ...] = ()
    gives: tuple[LockChange, ...] = ()


# Frames celld -> cell


class Restore(Struct, tag="restore", frozen=True):
    """A part of the session's log, in order; after the ``last`` part the cell answers ``Restored``.

    The first part starts from nothing. One with a ``snapshot`` has no events, comes before all others and is answered
    by ``Restored`` at once: the next events follow that seq. It is 0 when the cell cannot read the snapshot.
    """

    session: str
    events: tuple[Event, ...]
    last: bool
    snapshot: bytes | None = None


class Deliver(Struct, tag="deliver", frozen=True):
    """One input with its time (microseconds since the epoch). One such frame is in flight per session.

    ``more``: what waits behind it. The cell may decide on some of that in the same decision; it says on how many.
    """

    session: str
    input_no: int
    now: int
    input: Input
    more: tuple[Input, ...] = ()


class Committed(Struct, tag="committed", frozen=True):
    """The decision on ``input_no`` is in the log, its first event at ``first_seq``; the cell folds it now."""

    session: str
    input_no: int
    first_seq: int
    at: int
    epoch: tuple[int, int]


class Aborted(Struct, tag="aborted", frozen=True):
    """The decision on ``input_no`` was not written; the cell forgets it."""

    session: str
    input_no: int
    reason: str
    detail: str = ""


class Drop(Struct, tag="drop", frozen=True):
    """The session is no longer this host's: forget it."""

    session: str


class Ping(Struct, tag="ping", frozen=True):
    """Answer with ``Pong`` of the same number."""

    session: str
    n: int


class SnapshotWanted(Struct, tag="snapshot_request", frozen=True):
    """Answer with ``Snapshot``, while no decision is open. ``if_idle``: leave the content out when there is work."""

    session: str
    if_idle: bool = False


ToCell = Restore | Deliver | Committed | Aborted | Drop | Ping | SnapshotWanted


# Frames cell -> celld


class Hello(Struct, tag="hello", frozen=True):
    """The first frame of a cell."""

    session: str
    protocol: int
    code_version: str
    pid: int


class Restored(Struct, tag="restored", frozen=True):
    """The log is folded up to ``head_seq``."""

    session: str
    head_seq: int


class Decided(Struct, tag="decided", frozen=True):
    """The decision on ``input_no``, made on the state at ``base_seq``. ``taken``: on how many inputs of that frame."""

    session: str
    input_no: int
    base_seq: int
    decision: Decision
    taken: int = 1


class Pong(Struct, tag="pong", frozen=True):
    """The answer to ``Ping``."""

    session: str
    n: int


class Snapshot(Struct, tag="snapshot", frozen=True):
    """The state at ``head_seq``. ``content`` is for cells of the same code version, None: left out, or too large.

    ``idle``: no run is open, no command has not ended, nothing waits for its turn: only a command or the last
    ``wake_at`` has the session do something. ``assets``: how many it has.
    """

    session: str
    head_seq: int
    idle: bool
    assets: int
    content: bytes | None = None


FromCell = Hello | Restored | Decided | Pong | Snapshot
