"""A small world on virtual time around the real core: it commits decisions, performs effects, reports back.

Evaluations last 1 s and syncs 10 s unless told otherwise. A condition holds while ``truth`` says so; the ``run``
stage of a sync makes its pair's conditions hold unless the world has a script for it. After every decision the world
checks what must always be: the fold of the events is the state decided by, no wake in the past, no two syncs of an
asset at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from celld.core.decide import decide, work_out
from celld.core.evolve import evolve
from celld.core.state import State, empty
from setpoint.contracts.cell import (
    AttachRun,
    CancelRun,
    Decision,
    Delivered,
    Effect,
    Input,
    LockBusy,
    Materialize,
    Materialized,
    Owned,
    RecoverRun,
    Release,
    RunEnded,
    RunFound,
    StartRun,
    StepEnded,
    Tick,
)
from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.command import lane_of
from setpoint.contracts.event import Event, committed
from setpoint.contracts.explain import SESSION_ROW
from setpoint.contracts.limits import EVENTS_PER_DECISION_MAX
from setpoint.contracts.resource.model import (
    CompiledAsset,
    CompiledSet,
    CompiledSync,
    Condition,
    Pair,
    Settings,
    Stage,
    encode,
)
from setpoint.contracts.run import OutputRef, Step, StepResult

SECOND = 1_000_000
SESSION = "0198c0de-0000-7000-8000-000000000001"
Fate = Literal["running", "finished", "never_seen", "interrupted", "lost"]


def pair(
    *names: str,
    sync: str | None = "fix",
    interval: float | None = None,
    stages: str = "run",
    lock: str | None = None,
    **timers: Any,
) -> Pair:
    """Return a pair of an asset: conditions by name, and a sync with the stages named (``pre run post``)."""
    conditions = tuple(Condition(name, ("test", name), interval_s=interval, **timers) for name in names or ("c",))
    if sync is None:
        return Pair("-".join(names or ("c",)), conditions)
    steps = {stage: Stage(("do", stage)) for stage in stages.split()}
    compiled = CompiledSync(sync, run=steps["run"], pre=steps.get("pre"), post=steps.get("post"), lock_key=lock)
    return Pair("-".join(names or ("c",)), conditions, compiled)


def asset(
    name: str, *upstreams: str, pairs: Iterable[Pair] | None = None, interval: float | None = None, **fields: Any
) -> CompiledAsset:
    """Return a compiled asset; without ``pairs`` it has one condition ``c`` and one sync ``fix``."""
    chosen = (pair(interval=interval),) if pairs is None else tuple(pairs)
    spec = CompiledAsset(name, name, upstreams=tuple(sorted(upstreams)), pairs=chosen, **fields)
    return msgspec.structs.replace(spec, digest=sha256_hex(canonical_json(spec)))


def project(*assets: CompiledAsset, **settings: Any) -> CompiledSet:
    """Return a compiled set of these assets."""
    return CompiledSet({spec.name: spec for spec in assets}, Settings(**settings))


class Run:
    """A run in the world's sandbox."""

    def __init__(self, start: StartRun) -> None:
        self.start = start
        self.results: list[StepResult] = []
        self.over = False
        self.deaf = False  # its reports get lost until the owner attaches again

    @property
    def in_stages(self) -> bool:
        """Tell whether a stage of the run is being carried out."""
        left = self.start.steps[len(self.results) :]
        return not self.over and any(step.kind == "stage" for step in left)

    @property
    def syncs(self) -> bool:
        """Tell whether the run has stages."""
        return any(step.kind == "stage" for step in self.start.steps)


class World:
    """One session, its log, its sandbox, and the clock. ``now`` is in microseconds since the epoch."""

    def __init__(self, compiled: CompiledSet | None = None, *, all_ready: bool = False) -> None:
        self.now = 1_800_000_000 * SECOND
        self.began = self.now
        self.state: State = empty(SESSION)
        self.log: list[Event] = []
        self.truth: dict[tuple[str, str], bool | str] = {}
        self.sync_s: dict[str, float] = {}
        self.evaluate_s: dict[str, float] = {}
        self.scripts: dict[str, Callable[[World, str], bool]] = {}
        self.runs: dict[str, Run] = {}
        self.released: list[str] = []
        self.locks: dict[str, str] = {}  # key -> session/execution
        self.foreign: dict[str, str] = {}  # the same, of other sessions
        self.broken: set[tuple[str, str]] = set()  # what an operator took away: giving it back does nothing
        self.effects: list[Effect] = []
        self.place = ("sandbox-1", "ledger-1", 1)
        self.materialize_s = 0.0
        self.tolerant = False  # reports are made up: the world's own runs prove nothing
        self.compiled = CompiledSet()
        self._fate: Callable[[str], Fate] = lambda execution_id: "running"
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._commands = itertools.count(1)
        self._wake: int | None = None
        self.docs: dict[str, dict[str, Any]] = {}
        self.session_row: dict[str, Any] = {}
        self.acquire()
        if compiled is not None:
            self.apply(compiled, all_ready=all_ready)

    # What a test does to the world

    def acquire(self) -> None:
        """Begin under a new owner."""
        seq, n = len(self.log) + 1, self.state.epoch[1] + 1
        row = Event(seq, "lease.acquired", self.now, SESSION, (1, n), {"host": f"host-{n}"})
        self._append(row)
        self.feed(Owned(f"host-{n}"))

    def apply(self, compiled: CompiledSet, *, all_ready: bool = False, evaluate: bool = False) -> str:
        """Apply a project; unknown conditions are Drifted (or Ready) at first."""
        self.compiled = compiled
        for spec in compiled.assets.values():
            for condition in spec.conditions():
                self.truth.setdefault((spec.name, condition.name), all_ready)
        content = encode(compiled)
        payload = {"generation": {"resources": sha256_hex(content), "files": "f" * 64}, "evaluate": evaluate}
        return self.command("apply", payload, attachment=content)

    def command(self, kind: str, payload: object = None, attachment: bytes | None = None) -> str:
        """Deliver a command and return its id."""
        n = next(self._commands)
        command_id = f"0198c0de-0000-7000-8000-1{n:011d}"
        self.feed(Delivered(command_id, lane_of(kind), n, kind, {} if payload is None else payload, attachment))
        return command_id

    def drift(self, name: str, condition: str = "c") -> None:
        """Let a condition cease to hold, unseen."""
        self.truth[name, condition] = False

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something ``seconds`` from now."""
        self._later(seconds, lambda: (do(), None)[1])

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + round(seconds * SECOND)
        while True:
            due = self._agenda[0][0] if self._agenda else end + 1
            wake = self._wake if self._wake is not None else end + 1
            if min(due, wake) > end:
                break
            self.now = max(self.now, min(due, wake))
            if wake <= due:
                self._wake = None
                self.feed(Tick())
            else:
                heapq.heappop(self._agenda)[2]()
        self.now = end

    def crash(self, fate: Callable[[str], Fate] = lambda execution_id: "running") -> None:
        """Lose the cell and its owner; the next one finds each open run as ``fate`` says."""
        self.state = fold(self.log)
        self._wake = None
        for run in self.runs.values():
            run.deaf = True
        self._fate = fate
        self.acquire()

    def break_lock(self, key: str) -> str:
        """Take a lock from the execution of this session that has it, and tell it; return that execution."""
        holder = self.locks.pop(key)
        self.broken.add((key, holder))
        execution_id = holder.removeprefix(f"{SESSION}/")
        self.command("lock_broken", {"key": key, "execution_id": execution_id, "by": "key 1", "reason": "stuck"})
        return execution_id

    def hold(self, key: str) -> None:
        """Let another session have a lock, unless it is taken."""
        if key not in self.locks:
            self.foreign[key] = "other/execution"

    def change_files(self) -> None:
        """Apply the same resources with other files."""
        content = encode(self.compiled)
        generation = {"resources": sha256_hex(content), "files": sha256_hex(str(self.head).encode())}
        self.command("apply", {"generation": generation}, attachment=content)

    # What a test looks at

    def counts(self, name: str, after: int = 0) -> tuple[int, int]:
        """Return (completed evaluations, started syncs) of an asset after a seq."""
        kinds = self.types(name, after)
        return kinds.count("evaluation.completed"), kinds.count("sync.started")

    def types(self, name: str | None = None, after: int = 0) -> list[str]:
        """Return the types of events after a seq, of one asset or of all."""
        return [event.type for event in self.log if event.seq > after and name in (None, event.asset)]

    def events(self, kind: str, name: str | None = None, after: int = 0) -> list[Event]:
        """Return the events of a type, of one asset or of all, after a seq."""
        return [e for e in self.log if e.seq > after and e.type == kind and name in (None, e.asset)]

    def ends(self, command_id: str) -> list[Event]:
        """Return the ending events of a command: exactly one for each that was accepted and is over."""
        ends = ("succeeded", "failed", "cancelled", "rejected", "quarantined")
        return [e for e in self.log if e.command_id == command_id and e.type in [f"command.{end}" for end in ends]]

    @property
    def head(self) -> int:
        """Return the seq of the newest event."""
        return len(self.log)

    def seconds(self, event: Event) -> float:
        """Return when an event happened, in seconds from the beginning."""
        return (event.at - self.began) / SECOND

    @property
    def wake(self) -> int | None:
        """Return when the core has asked to be called again."""
        return self._wake

    def known(self) -> dict[str, str]:
        """Return what is known of each asset with conditions."""
        return {a.name: a.known for a in self.state.assets.values() if a.spec.pairs}

    # The machinery

    def feed(self, observed: Input) -> None:
        """Give the core an input, check its decision, commit it, perform its effects."""
        before = self.state
        turn = work_out(before, observed, self.now)
        decision = decide(before, observed, self.now)
        assert decision.events == tuple(turn.events), "decide is not a function of its arguments"
        assert len(decision.events) <= EVENTS_PER_DECISION_MAX, "more events than an append takes"
        if (busy := self._lock(decision)) is not None:
            self.feed(busy)
            self.feed(observed)
            return
        attachment = observed.attachment if isinstance(observed, Delivered) else None
        first = len(self.log) + 1
        for offset, new in enumerate(decision.events):
            row = committed(new, first + offset, self.now, SESSION, self.state.epoch)
            if row.type == "resources.applied":
                row = msgspec.structs.replace(row, attachment=attachment)
            self._append(row)
        held = {key: f"{SESSION}/{self.state.locks[key]}" for key in self.state.locks}
        assert self.locks == held, "what the database holds is not what the state says"
        assert self.state == turn.state, "the fold of the events is not the state that was decided by"
        assert decision.wake_at is None or decision.wake_at > self.now, "a wake in the past"
        self._wake = decision.wake_at
        for doc in decision.assets:
            if doc.name == SESSION_ROW:
                self.session_row = doc.doc or {}
            elif doc.doc is None:
                self.docs.pop(doc.name, None)
            else:
                self.docs[doc.name] = msgspec.json.decode(canonical_json(doc.doc))
        for effect in decision.effects:
            self.effects.append(effect)
            self._perform(effect, first)

    def _lock(self, decision: Decision) -> LockBusy | None:
        """Take and give locks as the database does; a busy one means that nothing of the decision is written."""
        mine = {change.key: f"{SESSION}/{change.execution_id}" for change in decision.takes}
        if mine:
            assert [event.type for event in decision.events] == ["sync.started"], "more than the start takes a lock"
        for key, holder in mine.items():
            held = self.foreign.get(key) or self.locks.get(key, holder)
            if held != holder:
                return LockBusy(decision.takes[0].execution_id, key, held)
        for change in decision.gives:
            giver = f"{SESSION}/{change.execution_id}"
            assert (change.key, giver) in self.broken or self.locks.pop(change.key) == giver, "a lock not its own"
        self.locks |= mine
        return None

    def _append(self, row: Event) -> None:
        self.log.append(row)
        self.state = evolve(self.state, row)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + round(seconds * SECOND), next(self._order), do))

    def _perform(self, effect: Effect, first: int) -> None:
        match effect:
            case Materialize(generation):
                assert self.tolerant or not any(run.in_stages for run in self.runs.values()), (
                    "materialized under a sync"
                )
                self._later(self.materialize_s, lambda: self.feed(Materialized(generation, *self.place)))
            case StartRun(execution_id):
                self._start(effect, first)
            case CancelRun(execution_id):
                if execution_id in self.runs:
                    self._later(0.1, lambda: self._cancelled(execution_id))
            case RecoverRun(execution_id):
                self._later(0.1, lambda: self._recover(execution_id))
            case AttachRun(execution_id, after):
                run = self.runs[execution_id]
                run.deaf = False
                for result in [result for result in run.results if result.index > after]:
                    self._report(run, StepEnded(execution_id, result))
                if run.over:
                    self._report(run, RunEnded(execution_id, "completed"))
            case Release(mode):
                self.released.append(mode)

    def _start(self, effect: StartRun, first: int) -> None:
        seq = effect.seq or first + effect.seq_offset
        started = self.log[seq - 1]
        assert started.execution_id == effect.execution_id, "a run starts under the seq of its started event"
        assert started.type in ("evaluation.started", "sync.started", "tool.started")
        if effect.execution_id in self.runs:
            assert self.tolerant or self.runs[effect.execution_id].deaf, "a run is started twice"
            return
        starting = self.state.executions.get(effect.execution_id)  # None: superseded in the same decision
        wanted = starting.sync if starting is not None else None
        if wanted is not None and wanted.lock_key is not None and not self.tolerant:
            assert self.locks[wanted.lock_key] == f"{SESSION}/{effect.execution_id}", "a sync runs without its lock"
        run = Run(effect)
        others = [other for other in self.runs.values() if not other.over and other.start.asset == effect.asset]
        alone = not run.syncs or not any(other.syncs for other in others)
        assert alone or self.tolerant, f"two syncs of {effect.asset} at once"
        self.runs[effect.execution_id] = run
        self._next_step(run)

    def _next_step(self, run: Run) -> None:
        steps = run.start.steps
        step = steps[len(run.results)]
        same = sum(other.kind == step.kind for other in steps)
        total_s = (
            self.sync_s.get(run.start.asset, 10.0)
            if step.kind == "stage"
            else self.evaluate_s.get(run.start.asset, 1.0)
        )
        failed = any(result.kind == "stage" and not result.ok for result in run.results)
        skipped = step.kind == "stage" and failed
        self._later(0 if skipped else total_s / same, lambda: self._step_over(run, step, skipped))

    def _step_over(self, run: Run, step: Step, skipped: bool) -> None:
        if run.over:
            return
        result = self._result(run, step, skipped)
        run.results.append(result)
        run.over = len(run.results) == len(run.start.steps)  # nothing of it runs any more
        self._report(run, StepEnded(run.start.execution_id, result))
        if run.over:
            self._report(run, RunEnded(run.start.execution_id, "completed"))
        else:
            self._next_step(run)

    def _result(self, run: Run, step: Step, skipped: bool) -> StepResult:
        fields: dict[str, Any] = {"exit_code": 0}
        name = run.start.asset
        if skipped:
            fields = {"error": "skipped"}
        elif step.kind == "stage":
            fields = {"exit_code": 0 if self._act(name, step.name) else 1}
        elif step.kind == "condition":
            holds = self.truth.get((name, step.name), False)
            fields = {"error": holds} if isinstance(holds, str) else {"exit_code": 0 if holds else 1}
        else:
            fields["stdout"] = OutputRef(bytes=2, tail="ok")
        return StepResult(step.index, step.kind, step.name, self.now, self.now, **fields)

    def _act(self, name: str, stage: str) -> bool:
        """Carry out a stage: a script gets ``sync/stage`` and says whether it went well; else ``run`` heals."""
        running = self.state.assets.get(name)
        sync = running.sync.pair_spec.sync if running is not None and running.sync is not None else None
        label = f"{sync.name if sync is not None else '?'}/{stage}"
        if name in self.scripts:
            return self.scripts[name](self, label)
        if stage == "run":
            self.heal(name, sync.name if sync is not None else None)
        return True

    def heal(self, name: str, sync: str | None = None) -> None:
        """Make the conditions of the pairs of a sync hold (of all pairs when none is named)."""
        spec = self.compiled.assets.get(name)
        for one in spec.pairs if spec is not None else ():
            if sync is None or (one.sync is not None and one.sync.name == sync):
                for condition in one.conditions:
                    self.truth[name, condition.name] = True

    def _cancelled(self, execution_id: str) -> None:
        run = self.runs.get(execution_id)
        if run is not None and not run.over:
            run.over = True
            self._report(run, RunEnded(execution_id, "cancelled"))

    def _report(self, run: Run, report: Input) -> None:
        if not run.deaf:
            self.feed(report)

    def _recover(self, execution_id: str) -> None:
        fate = self._fate(execution_id)
        run = self.runs.get(execution_id)
        if fate == "never_seen":
            self.runs.pop(execution_id, None)
            if run is not None:
                run.over = True
        elif run is None:
            fate = "never_seen"
        elif fate in ("interrupted", "lost"):
            run.over = True
        else:
            fate = "finished" if run.over else "running"
        self.feed(RunFound(execution_id, fate))


def fold(log: Iterable[Event]) -> State:
    """Return the state that a log amounts to."""
    state = empty(SESSION)
    for event in log:
        state = evolve(state, event)
    return state
