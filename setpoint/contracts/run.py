"""Runs: what celld asks of a sandbox host and what it is told, as frames (``proto/links.md``, section 3).

celld is the client, sandboxd the server; frames are msgpack, one a WebSocket message. A request has an ``id`` that
its one answer repeats; ``StepDone`` and ``RunDone`` are pushed without being asked for to whoever attached last.
Authority travels in each request: a session grant, and for whatever starts or keeps something alive a clock token.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from setpoint.contracts.probe import Probe
from setpoint.contracts.reply import OutputIs as OutputIs
from setpoint.contracts.reply import Refused as Refused

Epoch = tuple[int, int]
"""(cluster incarnation, n); compared as a pair, larger is newer."""

RunState = Literal["running", "finished", "interrupted", "never_seen"]
"""The answers of a fence for a run id (architecture.md section 5)."""

Outcome = Literal["completed", "cancelled", "orphaned", "interrupted", "fenced"]
"""How a run as a whole ended. ``completed`` says only that its steps were carried out, not that they succeeded."""


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value of this link; unknown fields are ignored, so that N and N-1 can talk."""


class ClockToken(Struct, frozen=True):
    """A reading of a sandbox host's CLOCK_BOOTTIME (``clock_s``), bound to that boot, ledger and process."""

    boot_id: str
    ledger_id: str
    incarnation: str
    clock_s: float


class Step(Struct, frozen=True):
    """One command of a run. ``kind`` rules the order: stages stop at the first that fails, conditions follow them.

    With a ``probe`` there is no ``argv``: the sandbox host has its own program for it.
    """

    index: int
    kind: Literal["stage", "condition", "tool"]
    name: str
    argv: tuple[str, ...]
    timeout_s: float
    env: tuple[tuple[str, str], ...] = ()
    probe: Probe | None = None


class RunSpec(Struct, frozen=True):
    """One sandbox allocation. ``run_id`` is the execution id; ``seq`` is the log position it was started under."""

    run_id: str
    tenant: str
    session: str
    epoch: Epoch
    seq: int
    workspace_no: int
    steps: tuple[Step, ...]
    generation: int = 0
    asset: str = ""
    orphan_timeout_s: float = 600.0


class OutputRef(Struct, frozen=True):
    """Where the output of one stream is: ``object`` is its key in the object store once the step has ended.

    ``bytes`` and ``sha256`` are of what was kept; ``truncated`` says that more was written than is kept; ``tail`` is
    the end of it as text (invalid UTF-8 replaced, NUL removed), at most limits.OUTPUT_TAIL_BYTES.
    """

    bytes: int = 0
    sha256: str = ""
    object: str = ""
    truncated: bool = False
    tail: str = ""


class StepResult(Struct, frozen=True):
    """The end of one step. Exactly one of ``exit_code``, ``signal``, ``error`` says how.

    ``error`` is for a step that has no exit of its own: ``spawn`` (it could not be started: ``detail`` says why),
    ``timeout``, ``cancelled``, ``skipped`` (a stage before it failed). Times are microseconds since the epoch.
    """

    index: int
    kind: str
    name: str
    started_at: int
    ended_at: int
    exit_code: int | None = None
    signal: int | None = None
    error: Literal["spawn", "timeout", "cancelled", "skipped"] | None = None
    detail: str = ""
    stdout: OutputRef = OutputRef()
    stderr: OutputRef = OutputRef()

    @property
    def ok(self) -> bool:
        """Tell whether the step exited with 0."""
        return self.exit_code == 0


# Requests (celld -> sandboxd)


class Clock(Struct, tag="clock", frozen=True):
    """Read the host's clock; answered by ``ClockIs``. Needs no grant."""

    id: int


class Fence(Struct, tag="fence", frozen=True):
    """Raise the session's epoch floor, durably. Nothing of an older epoch starts after the answer ``Fenced``."""

    id: int
    grant: str
    session: str
    epoch: Epoch


class Materialize(Struct, tag="materialize", frozen=True):
    """Bring the workspace to a generation's files; ``files`` is the sha256 of its manifest. Answer: ``Done``.

    Files of the manifest overwrite; files that left it are deleted when unchanged since; all others are kept.
    An empty ``files`` only makes the workspace exist. Idempotent.
    """

    id: int
    grant: str
    token: ClockToken
    session: str
    epoch: Epoch
    workspace_no: int
    generation: int
    files: str


class Start(Struct, tag="start", frozen=True):
    """Start a run once. Repeated for a known run id it changes nothing. Answer: ``Started`` with that run's state."""

    id: int
    grant: str
    token: ClockToken
    spec: RunSpec


class Attach(Struct, tag="attach", frozen=True):
    """Get a run's results from step ``after + 1`` on, past and future, on this link. Answer: ``Started``."""

    id: int
    grant: str
    session: str
    epoch: Epoch
    run_id: str
    after: int = -1


class KeepAlive(Struct, tag="keepalive", frozen=True):
    """Move the orphan deadline of these sessions' runs to ``token`` + their orphan timeout. No answer."""

    token: ClockToken
    sessions: tuple[tuple[str, Epoch], ...]


class Cancel(Struct, tag="cancel", frozen=True):
    """End a run: its whole process tree dies. Answer: ``Done``; the run then ends as ``cancelled``."""

    id: int
    grant: str
    session: str
    epoch: Epoch
    run_id: str


class ReadOutput(Struct, tag="output", frozen=True):
    """Read spooled output from a byte offset. Answer: ``OutputIs``."""

    id: int
    grant: str
    session: str
    run_id: str
    step: int
    stream: Literal["stdout", "stderr"]
    offset: int
    limit: int


# Answers and pushes (sandboxd -> celld)


class ClockIs(Struct, tag="clock_is", frozen=True):
    """The clock, read after the request arrived."""

    id: int
    token: ClockToken


class Fenced(Struct, tag="fenced", frozen=True):
    """The floor is on disk. ``runs`` names every run of the session in the ledger; all others are ``never_seen``."""

    id: int
    token: ClockToken
    runs: dict[str, RunState]
    seq: int = 0


class Started(Struct, tag="started", frozen=True):
    """The run is in the ledger, in this state (``running``, or what it came to already)."""

    id: int
    run_id: str
    state: RunState


class Done(Struct, tag="done", frozen=True):
    """The request was carried out."""

    id: int
    detail: str = ""


class StepDone(Struct, tag="step_done", frozen=True):
    """A step of an attached run ended. ``enforced`` says what held for it, as in ``RunDone``."""

    run_id: str
    result: StepResult
    enforced: dict[str, str] = {}


class RunDone(Struct, tag="run_done", frozen=True):
    """An attached run ended. ``enforced`` says what held: {"isolation": "bwrap", "memory": "none", ...}."""

    run_id: str
    outcome: Outcome
    enforced: dict[str, str]


Request = Clock | Fence | Materialize | Start | Attach | KeepAlive | Cancel | ReadOutput
Reply = ClockIs | Fenced | Started | Done | Refused | OutputIs | StepDone | RunDone
