"""A session on a desk: the real core, fed by hand, without the checks of the simulation, so that its cost shows.

Every run that the core starts is answered at once or kept, as the bench says. Nothing here is measured itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from celld.core.decide import decide
from celld.core.evolve import evolve
from celld.core.state import State, empty
from setpoint.contracts.cell import (
    Decision,
    Delivered,
    Input,
    Materialize,
    Materialized,
    Owned,
    RunEnded,
    StartRun,
    StepEnded,
    Tick,
)
from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.command import lane_of
from setpoint.contracts.event import Event, committed
from setpoint.contracts.resource.model import CompiledSet, encode
from setpoint.contracts.run import Step, StepResult

SECOND = 1_000_000
SESSION = "0198c0de-0000-7000-8000-000000000001"


class Desk:
    """One session, its log, and the runs that nobody has answered yet. ``now`` is in microseconds since the epoch."""

    def __init__(self, compiled: CompiledSet) -> None:
        self.now = 1_800_000_000 * SECOND
        self.state: State = empty(SESSION)
        self.log: list[Event] = []
        self.runs: dict[str, StartRun] = {}
        self._inbox_seq = 0
        self._append(Event(1, "lease.acquired", self.now, SESSION, (1, 1), {"host": "host-1"}))
        self.feed(Owned("host-1"))
        content = encode(compiled)
        self.command("apply", {"generation": {"resources": sha256_hex(content), "files": "f" * 64}}, content)

    def fork(self) -> Desk:
        """Return another desk that goes on from here; the state is shared, for nothing ever changes one."""
        other = copy.copy(self)
        other.log, other.runs = list(self.log), dict(self.runs)
        return other

    def feed(self, observed: Input) -> Decision:
        """Give the core an input, commit what it decides, and go on for as long as it asks to be called at once."""
        decision = self._feed_once(observed)
        last = decision
        while last.wake_at is not None and last.wake_at == self.now + 1:
            self.now += 1
            last = self._feed_once(Tick())
        return decision

    def command(self, kind: str, payload: object, attachment: bytes | None = None) -> None:
        """Deliver a command."""
        self.feed(self.row(kind, payload, attachment))

    def row(self, kind: str, payload: object, attachment: bytes | None = None) -> Delivered:
        """Return the next row of the inbox."""
        self._inbox_seq += 1
        command_id = f"0198c0de-0000-7000-8000-1{self._inbox_seq:011d}"
        return Delivered(command_id, lane_of(kind), self._inbox_seq, kind, payload, attachment)

    def serve(self, holds: Callable[[str], bool], *, rest: int = 0) -> None:
        """Answer runs until no more than ``rest`` are open; a condition of an asset holds when ``holds`` says so."""
        while len(self.runs) > rest:
            start = self.runs.pop(next(iter(self.runs)))
            self.now += 1000
            for step in start.steps:
                self.feed(StepEnded(start.execution_id, self.result(step, step.kind == "stage" or holds(start.asset))))
            self.feed(RunEnded(start.execution_id, "completed"))

    def result(self, step: Step, good: bool) -> StepResult:
        """Return how a step ended."""
        return StepResult(step.index, step.kind, step.name, self.now, self.now, exit_code=0 if good else 1)

    def run_of(self, asset: str) -> StartRun:
        """Return the open run of an asset."""
        return next(start for start in self.runs.values() if start.asset == asset)

    def _feed_once(self, observed: Input) -> Decision:
        decision = decide(self.state, observed, self.now)
        attachment = observed.attachment if isinstance(observed, Delivered) else None
        for new in decision.events:
            row = committed(new, len(self.log) + 1, self.now, SESSION, self.state.epoch)
            applied: dict[str, Any] = {"attachment": attachment} if row.type == "resources.applied" else {}
            self._append(msgspec.structs.replace(row, **applied))
        for effect in decision.effects:
            if isinstance(effect, StartRun):
                self.runs[effect.execution_id] = effect
            elif isinstance(effect, Materialize):
                self.feed(Materialized(effect.generation, "sandbox-1", "ledger-1", 1))
        return decision

    def _append(self, row: Event) -> None:
        self.log.append(row)
        self.state = evolve(self.state, row)
