"""The state of a session: what the fold of its events amounts to. Frozen values; ``evolve`` makes the next one.

Everything the core decides by is in here. Nothing in here may be set by anything but an event.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from celld.core.lineage import Lineage
from celld.core.table import Agenda, Table
from setpoint.contracts.command import Tool
from setpoint.contracts.resource.model import CompiledAsset, CompiledSync, Condition, Pair, Settings

Verdict = Literal["ready", "drifted", "unknown"]
Known = Literal["not_evaluated", "ready", "drifted"]
SyncKind = Literal["direct", "drift", "manual"]


class Struct(msgspec.Struct, frozen=True, gc=False):
    """A part of the state. Instants are microseconds since the epoch, seqs are positions in the log.

    Frozen values hold only what was there before them, so they are in no cycle that a collector would have to find.
    """


class Result(Struct, frozen=True):
    """The last result of one condition, from the step that the event ``seq`` recorded ``at`` that instant."""

    state: Verdict
    reason: str
    seq: int
    at: int = 0


class Look(Struct, frozen=True):
    """An evaluation of all conditions that is owed, from ``at`` on. ``gated``: only when the asset is clear.

    ``generation``: one that looked at the files of an older one does not serve it.
    """

    at: int
    seq: int
    gated: bool
    why: str
    generation: int = 0


class Direct(Struct, frozen=True):
    """A direct trigger that is owed. ``merged``: it arrived while the sync ran that it would have run.

    ``patient``: it was held up by a person, and waits until nothing above moves (as all do under the policy ``all``).
    """

    at: int
    seq: int
    retry: bool = False
    merged: bool = False
    forwarded: bool = False
    patient: bool = False


class Drift(Struct, frozen=True):
    """The last verdict was Drifted and this pair's sync did not start, because of ``obstacle`` (empty: it did)."""

    at: int
    pair: int
    obstacle: str


class Retry(Struct, frozen=True):
    """An evaluation came to nothing (``seq``: where it started); the ``n``-th in a row. The next is due ``at``."""

    at: int
    n: int
    seq: int
    lost: bool = False


class Suspension(Struct, frozen=True):
    """Automatic syncs of an asset are stopped. ``by`` is ``guardrail`` or ``user``."""

    reason: str
    since: int
    by: str


class Evaluation(Struct, frozen=True):
    """An evaluation in flight. ``results`` are those that have come in so far; it looks at ``generation``'s files."""

    execution_id: str
    seq: int
    why: str
    conditions: tuple[str, ...]
    results: dict[str, Result] = {}
    at: int = 0
    generation: int = 0


class Sync(Struct, frozen=True):
    """A sync of an asset, from its request until it is verified.

    ``phase``: requested, stages (its commands run), verifying (its conditions run), owed (its run is over, its
    verification is still to be had). ``before``: what the evaluation found that led to it (drift syncs alone).
    ``ended``: its one ending event is in the log already. ``outdated``: the asset changed under it, so that the
    conditions of its run are not those that count. ``lock_at``: when the lock it needs is tried (again), after
    ``lock_tries`` times in vain; ``lock_holder`` had it then.
    """

    kind: SyncKind
    pair: int
    pair_spec: Pair
    stages: tuple[str, ...]
    whole: bool
    takes_direct: bool
    requested_at: int
    command_id: str | None = None
    phase: Literal["requested", "stages", "verifying", "owed"] = "requested"
    execution_id: str = ""
    stages_ok: bool = True
    ended: bool = False
    outdated: bool = False
    before: dict[str, Verdict] = {}
    exits: tuple[tuple[str, int | None], ...] = ()
    started_at: int = 0
    lock_at: int = 0
    lock_tries: int = 0
    lock_holder: str = ""

    @property
    def lock_key(self) -> str | None:
        """The tenant-wide lock without which it does not run."""
        return self.pair_spec.sync.lock_key if self.pair_spec.sync is not None else None


class LastEvaluation(Struct, frozen=True):
    """The last evaluation that came to a verdict. ``ran``: what those conditions said that it really ran."""

    execution_id: str
    at: int
    verdict: Verdict
    results: dict[str, Result]
    ran: dict[str, Verdict]


class LastSync(Struct, frozen=True):
    """The last sync that ended, for the projection. ``outcome`` is the name of its ending event."""

    execution_id: str
    kind: str
    outcome: str
    reason: str
    started_at: int
    ended_at: int
    exits: tuple[tuple[str, int | None], ...]


class Asset(Struct, frozen=True):
    """An asset of the applied generation and all that is known and owed of it.

    ``unclear`` counts the direct upstreams that are not solid. ``restless``: None, or its trigger is patient and this
    asset above it is busy (empty: none is); the indexes follow from it (schedule.py). Results older than
    ``valid_from`` (a seq) say nothing any more. ``due`` and ``ticks`` have the next instant of each timer, ``timer``
    the first that counts (timer.py).
    """

    name: str
    spec: CompiledAsset
    generation: int
    unclear: int = 0
    restless: str | None = None
    known: Known = "not_evaluated"
    stale: bool = False
    results: dict[str, Result] = {}
    valid_from: int = 0
    due: dict[str, int] = {}
    ticks: dict[str, int] = {}
    timer: int | None = None
    look: Look | None = None
    direct: Direct | None = None
    drift: Drift | None = None
    retry: Retry | None = None
    evaluation: Evaluation | None = None
    sync: Sync | None = None
    blocked: bool = False
    failures: int = 0
    turns: int = 0
    cooldown_until: int = 0
    suspended: Suspension | None = None
    last_evaluation: LastEvaluation | None = None
    last_sync: LastSync | None = None


class Execution(Struct, frozen=True):
    """A run that has been started and whose end is not in the log. ``last_step``: the newest one recorded.

    ``spec`` and ``settings`` are those it was started with, so that it can be started again word for word.
    ``dying``: it is to be cancelled.
    """

    id: str
    kind: Literal["evaluation", "sync", "tool"]
    seq: int
    at: int
    generation: int
    asset: str = ""
    command_id: str | None = None
    last_step: int = -1
    dying: bool = False
    stages: tuple[str, ...] = ()
    sync: CompiledSync | None = None
    conditions: tuple[Condition, ...] = ()
    tool: Tool | None = None
    settings: Settings = Settings()


class Command(Struct, frozen=True):
    """An accepted command that has not ended. ``active`` False: it waits for one that names the same assets.

    ``outcomes`` has what came of each name so far; for an evaluation ``left`` has the names without one, for a sync
    ``begun`` has those that were requested. ``named`` is the set of ``names``. ``unbegun``, ``running`` and ``bad``
    (begun, over, and not well) are sets of a manual sync's names as ``State.lineage`` has them. ``more``: names that
    could be requested were left for the next decision.
    """

    id: str
    type: str
    lane: int
    seq: int
    names: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    stages: tuple[str, ...] = ()
    active: bool = True
    cancelling: bool = False
    generation: int = 0
    tool: Tool | None = None
    execution_id: str = ""
    left: Table[bool] = Table()
    begun: Table[bool] = Table()
    more: bool = False
    outcomes: Table[str] = Table()
    unbegun: int = 0
    running: int = 0
    bad: int = 0


class Generation(Struct, frozen=True):
    """The applied project."""

    n: int
    resources: str
    files: str


class Workspace(Struct, frozen=True):
    """Where the session's files are, and at which generation."""

    generation: int
    sandbox_host: str
    ledger_id: str
    workspace_no: int


class Halted(Struct, frozen=True):
    """Automatic syncs of the whole session are stopped."""

    since: int
    reason: str
    by: str


class State(Struct, frozen=True):
    """A session. The agendas and counters follow from ``assets`` (schedule.py keeps them in step).

    ``looks``: assets with an evaluation to start; ``directs``: with a direct sync to request; ``requested``: with a
    sync that waits for its start; ``halted_drifts``: those that the halt alone keeps from syncing. ``locks``: which
    execution of this session holds a key; ``lock_queues``: the requested syncs that need one, oldest first (lock.py).
    ``busy`` is the set of assets that are (a set as ``lineage`` has them); ``quiet_waits`` has by name of a busy asset
    those whose trigger waits for it, and under the empty name those whose patient trigger waits for nothing above.
    """

    session_id: str
    epoch: tuple[int, int] = (0, 0)
    head_seq: int = 0
    execution_no: int = 0
    closed: bool = False
    closing: str | None = None
    generation: Generation | None = None
    settings: Settings = Settings()
    workspace: Workspace | None = None
    materialize_failed: int | None = None
    halted: Halted | None = None
    downstreams: dict[str, tuple[str, ...]] = {}
    lineage: Lineage = Lineage()
    assets: Table[Asset] = Table()
    executions: Table[Execution] = Table()
    commands: dict[str, Command] = {}
    ended: tuple[str, ...] = ()
    looks: Agenda = Agenda()
    directs: Agenda = Agenda()
    requested: Agenda = Agenda()
    halted_drifts: Agenda = Agenda()
    locks: Table[str] = Table()
    lock_queues: Table[Agenda] = Table()
    quiet_waits: Table[Agenda] = Table()
    evaluating: int = 0
    syncing: int = 0
    busy: int = 0


def empty(session_id: str) -> State:
    """Return the state of a session of which no event has been folded."""
    return State(session_id)
