"""The JSON bodies of the public API, as types: what a client sends (unknown fields refused) and what it gets.

Routes read and build these, and the OpenAPI document is generated from them, so there is one truth of every shape.
Instants are RFC 3339 texts in UTC with microseconds. Fields that are None are left out where the type says so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

CommandStatus = Literal["queued", "accepted", "succeeded", "failed", "cancelled", "rejected", "quarantined"]
"""Where a command is: not accepted by the session yet, accepted, or one of the five ends."""

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that a client sends."""


class Answer(msgspec.Struct, frozen=True):
    """A body that a client gets; new fields may be added."""


class CreateSession(Sent, frozen=True):
    """A new session. Without a ``name`` it is named by its id. ``labels`` are kept and shown, nothing else."""

    name: str | None = None
    labels: dict[str, str] = {}


class PostCommand(Sent, frozen=True):
    """A command: its type and the payload of that type."""

    type: str
    payload: dict[str, Any] = {}


class BreakLock(Sent, frozen=True):
    """Why a lock is taken away from its holder. ``force``: also before its time to live has passed."""

    reason: str
    force: bool = False


class ProjectFile(Sent, frozen=True):
    """One file of a project. ``mode`` is the permission bits as a number, e.g. 420 for 0o644."""

    path: str
    sha256: Sha256
    mode: int = 0o644


class ApplyProject(Sent, frozen=True):
    """The payload of ``apply``: every file of the project, already stored as blobs.

    ``variables`` are what ``${NAME}`` stands for in environments. They are stored with the project: no secrets.
    """

    files: list[ProjectFile]
    evaluate: bool = False
    variables: dict[str, str] = {}


class Session(Answer, frozen=True):
    """A session as it stood when it was read. ``unended`` counts commands that have not ended, by lane.

    A ``sleeping`` one is open and has no process: nothing is to be done until a command comes or its next timer is due.
    """

    id: str
    name: str
    labels: dict[str, str]
    state: Literal["open", "sleeping", "closed"]
    created_at: str
    closed_at: str | None
    head_seq: int
    epoch: tuple[int, int]
    owner_host: str | None
    sandbox_host: str | None
    unended: dict[str, int]


class Accepted(Answer, frozen=True):
    """A command that is durably queued. ``inbox_seq`` is its place in the session's inbox, which never changes.

    ``warnings`` of an apply are like ``errors`` of a problem, about what was accepted all the same.
    """

    command_id: str
    session_id: str
    type: str
    inbox_seq: int
    status: Literal["queued"] = "queued"
    warnings: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class Command(Answer, frozen=True, omit_defaults=True):
    """A command and what became of it.

    ``seq_before``: the end of a command that has not ended comes after this seq. ``seq``: where in the log it ended.
    """

    command_id: str
    session_id: str
    type: str
    status: CommandStatus
    payload: msgspec.Raw
    created_at: str
    seq_before: int | None = None
    seq: int | None = None
    ended_at: str | None = None
    result: msgspec.Raw | None = None


class Generation(Answer, frozen=True):
    """A version of the applied project: the sha256 of its compiled resources and of its file manifest."""

    generation: int
    resources: str
    files: str
    seq: int
    applied_at: str


class StepView(Answer, frozen=True, omit_defaults=True):
    """A step of an execution. ``status`` is ``pending`` until its end is in the log."""

    index: int
    status: Literal["pending", "succeeded", "failed", "skipped"]
    kind: str = ""
    name: str = ""
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    detail: str = ""
    stdout: dict[str, Any] = {}
    stderr: dict[str, Any] = {}


class Execution(Answer, frozen=True, omit_defaults=True):
    """One sync of one asset, one evaluation, or one tool call, as the log tells it."""

    id: str
    kind: Literal["sync", "evaluation", "tool"]
    status: str
    steps: list[StepView]
    started_seq: int
    started_at: str
    asset: str | None = None
    command_id: str | None = None
    ended_seq: int | None = None
    ended_at: str | None = None


class ReasonView(Answer, frozen=True):
    """Why an asset is as it is. ``object`` is the asset that it is about (empty: the session).

    ``clears`` says what ends it, ``next_check`` when it ends or is looked at by itself, ``command`` what one may type.
    """

    code: str
    message: str
    object: str
    clears: str
    since: str | None
    next_check: str | None
    command: str | None


class Explanation(Answer, frozen=True):
    """The reasons for an asset's state, root cause first; none when it is Ready and nothing is due.

    ``seq``: as of which event the asset was written.
    """

    name: str
    state: str
    known: str
    seq: int
    reasons: list[ReasonView]


class ConditionChange(Answer, frozen=True, omit_defaults=True):
    """A condition before and after an execution: ready, drifted, unknown, or left out when nothing was known.

    ``reason``: why it does not hold afterwards; where it does, why it did not before.
    """

    name: str
    type: str
    before: str | None = None
    after: str | None = None
    reason: str = ""


class HistoryEntry(Answer, frozen=True, omit_defaults=True):
    """A sync of an asset together with its verification, or an evaluation beside that. ``why`` is what led to it."""

    execution_id: str
    kind: Literal["sync", "evaluation"]
    why: str
    status: str
    seq: int
    started_at: str
    ended_at: str | None = None
    verdict: str | None = None
    reason: str = ""
    stages: list[dict[str, Any]] = []
    conditions: list[ConditionChange] = []


class Lock(Answer, frozen=True):
    """A tenant-wide lock and the sync that holds it. Once ``expired`` it may be broken without force."""

    key: str
    session_id: str
    session_name: str
    execution_id: str
    since: str
    acquired_at_epoch_secs: int
    ttl_secs: float
    expired: bool


class BrokenLock(Answer, frozen=True):
    """A lock that is free now, and the execution that held it. ``command_id``: the notice to its session.

    It is null when that session was closed.
    """

    key: str
    session_id: str
    execution_id: str
    command_id: str | None


class FencedWrite(Answer, frozen=True):
    """Writes of one kind under an epoch that had ended, refused: ``host`` had that epoch (null: the log does not say).

    ``against``: the epoch that the session had at the last of them, and ``against_host`` who had that one.
    """

    kind: Literal["append", "release", "snapshot"]
    epoch: tuple[int, int]
    host: str | None
    against: tuple[int, int]
    against_host: str | None
    refused: int
    first_at: str
    last_at: str


class Fencing(Answer, frozen=True):
    """A session's epoch and owner, and what was refused to former owners: in all, and the newest in detail."""

    session_id: str
    epoch: tuple[int, int]
    owner_host: str | None
    refused: int
    writes: list[FencedWrite]


class EventView(Answer, frozen=True, omit_defaults=True):
    """A row of the session's log. ``v`` is the version of its type's schema; ``epoch`` is (incarnation, n)."""

    seq: int
    type: str
    v: int
    at: str
    session_id: str
    epoch: tuple[int, int]
    data: dict[str, Any]
    command_id: str | None = None
    asset: str | None = None
    execution_id: str | None = None


class ProblemView(Answer, frozen=True, omit_defaults=True):
    """What went wrong (RFC 9457). ``code`` is one of the closed list; ``errors`` name every fault and its place."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, Any]] = []
    request_id: str = ""
