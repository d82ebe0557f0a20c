"""A sandbox host: its ledger survives a crash, what runs on it does not.

It answers the requests of ``setpoint.contracts.run`` in the order of ``sandboxd.host``: authority, floor, ledger, then
the deed; admission and the order of steps are sandboxd's own pure parts. Grants are taken as good: they are sandboxd's
own tests' matter. A ledger write takes a moment, so that a crash can come between any two of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sandboxd.core import admit, order
from setpoint.contracts import limits, run
from setpoint.contracts.run import Epoch, RunSpec, StepResult
from tests.sim.ground import Ground, Mark, seconds
from tests.sim.kernel import Future, Kernel, Scope, TimedOut, Work

TOKEN_S_MAX: Final = limits.LEASE_TTL_S
Error = Literal["spawn", "timeout", "cancelled", "skipped"]
_LEDGER_S: Final = 0.002
_WATCH_S: Final = 0.25

Tell = Callable[[run.StepDone | run.RunDone], object]


@dataclass(slots=True)
class Stored:
    """A run in the ledger."""

    spec: RunSpec
    state: run.RunState = "running"
    outcome: run.Outcome | None = None
    results: dict[int, StepResult] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """What is on the host's disk."""

    ledger_id: str
    floors: dict[str, Epoch] = field(default_factory=dict)
    runs: dict[str, Stored] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    workspaces: set[tuple[str, int]] = field(default_factory=set)


@dataclass(slots=True)
class Live:
    """A run that is being carried out."""

    stored: Stored
    deadline_s: float
    tell: Tell
    ending: order.Ending | None = None
    stopped: Future = field(default_factory=Future)
    mark: Mark | None = None

    def end(self, ending: order.Ending) -> None:
        """End it from outside. The first reason stays."""
        if self.ending is None:
            self.ending = ending
            self.stopped.give()


class SandboxHost:
    """One host. ``answer`` performs a request of a link; ``up`` is False between a crash and a restart."""

    def __init__(self, kernel: Kernel, ground: Ground, name: str, clock_s: float) -> None:
        self._kernel, self._ground, self.name = kernel, ground, name
        self._clock_s = clock_s
        self._ledgers, self._boots, self._starts = 1, 1, 1
        self.ledger = Ledger(self._ledger_id())
        self.scope = Scope(kernel)
        self.live: dict[str, Live] = {}
        self._owners: dict[str, tuple[str, Epoch]] = {}
        self.up = True
        self.refused: dict[str, int] = {}

    def _ledger_id(self) -> str:
        return f"{self._ledgers:08x}-0000-7000-8000-0000000000{self.name[-1]:>02}"

    def token(self) -> run.ClockToken:
        """Read the clock."""
        now_s = seconds(self._kernel.now) - self._clock_s
        return run.ClockToken(f"boot-{self._boots}", self.ledger.ledger_id, f"start-{self._starts}", now_s)

    # What happens to it

    def crash(self, *, reboot: bool = False, disk_lost: bool = False) -> None:
        """Die with everything that runs here."""
        self.scope.kill()
        self.up = False
        for live in self.live.values():
            if live.mark is not None and live.mark.ended is None:
                self._ground.end(live.mark, "died")
        self.live.clear()
        self._owners.clear()
        self._boots += reboot or disk_lost
        if disk_lost:
            self._ledgers += 1
            self.ledger = Ledger(self._ledger_id())

    def start(self) -> None:
        """Come back: what the predecessor left running is interrupted."""
        self._starts += 1
        self.scope, self.up = Scope(self._kernel), True
        for stored in self.ledger.runs.values():
            if stored.state == "running":
                stored.state, stored.outcome = "interrupted", "interrupted"

    # Requests

    def answer(self, host: str, frame: Any, tell: Tell) -> Any:
        """Perform a request of a cell host and return the answer; None for what has none."""
        match frame:
            case run.Fence():
                return self._fence(host, frame)
            case run.Start():
                return self._start(host, frame, tell)
            case run.Attach():
                return self._attach(host, frame, tell)
            case run.Materialize():
                return self._materialize(host, frame)
            case run.Cancel():
                return self._cancel(host, frame)
            case run.KeepAlive():
                return self._keep_alive(host, frame)
            case _:
                raise AssertionError(f"nobody sends {frame}")

    def _refuse(self, frame: Any, code: str, *, retry: bool = False) -> run.Refused:
        self.refused[code] = self.refused.get(code, 0) + 1
        return run.Refused(frame.id, code, "", retry)

    def _admits(self, host: str, session: str, epoch: Epoch) -> bool:
        """Hold a request against the floor and raise it."""
        if epoch < self.ledger.floors.get(session, (0, 0)):
            return False
        self.ledger.floors[session] = epoch
        self._owners[session] = (host, epoch)
        return True

    def _fence(self, host: str, frame: run.Fence) -> Any:
        if not self._admits(host, frame.session, frame.epoch):
            return self._refuse(frame, "stale-epoch")
        runs = {name: run.state for name, run in self.ledger.runs.items() if run.spec.session == frame.session}
        return run.Fenced(frame.id, self.token(), runs, self.ledger.seqs.get(frame.session, 0))

    def _materialize(self, host: str, frame: run.Materialize) -> Any:
        if admit.token_fault(frame.token, self.token(), TOKEN_S_MAX):
            return self._refuse(frame, "stale-token")
        if not self._admits(host, frame.session, frame.epoch):
            return self._refuse(frame, "stale-epoch")
        if any(live.stored.spec.session == frame.session for live in self.live.values()):
            return self._refuse(frame, "no-capacity", retry=True)
        self.ledger.workspaces.add((frame.session, frame.workspace_no))
        return run.Done(frame.id)

    def _start(self, host: str, frame: run.Start, tell: Tell) -> Any:
        spec = frame.spec
        assert not admit.spec_fault(spec), admit.spec_fault(spec)
        known = self.ledger.runs.get(spec.run_id)
        age_s_max = min(TOKEN_S_MAX, spec.orphan_timeout_s)
        if known is None and admit.token_fault(frame.token, self.token(), age_s_max):
            return self._refuse(frame, "stale-token")
        if known is None and (spec.session, spec.workspace_no) not in self.ledger.workspaces:
            return self._refuse(frame, "unknown-workspace")
        if not self._admits(host, spec.session, spec.epoch):
            return self._refuse(frame, "stale-epoch")
        if known is not None:
            return self._join(frame.id, known, -1, tell)
        stored = self.ledger.runs[spec.run_id] = Stored(spec)
        self.ledger.seqs[spec.session] = max(spec.seq, self.ledger.seqs.get(spec.session, 0))
        live = self.live[spec.run_id] = Live(stored, frame.token.clock_s + spec.orphan_timeout_s, tell)
        self.scope.spawn(self._carry_out(live))
        self._watch(live)
        return run.Started(frame.id, spec.run_id, "running")

    def _attach(self, host: str, frame: run.Attach, tell: Tell) -> Any:
        if not self._admits(host, frame.session, frame.epoch):
            return self._refuse(frame, "stale-epoch")
        known = self.ledger.runs.get(frame.run_id)
        return self._refuse(frame, "unknown-run") if known is None else self._join(frame.id, known, frame.after, tell)

    def _join(self, number: int, stored: Stored, after: int, tell: Tell) -> run.Started:
        """Answer with the state of a run and tell its results: past ones after the answer, others as they come."""
        run_id = stored.spec.run_id
        live = self.live.get(run_id)
        past: list[run.StepDone | run.RunDone] = [
            run.StepDone(run_id, result) for index, result in sorted(stored.results.items()) if index > after
        ]
        if live is not None:
            live.tell = tell
        elif stored.outcome is not None:
            past.append(run.RunDone(run_id, stored.outcome, {}))
        for frame in past:
            tell(frame)
        return run.Started(number, run_id, stored.state)

    def _cancel(self, host: str, frame: run.Cancel) -> Any:
        if not self._admits(host, frame.session, frame.epoch):
            return self._refuse(frame, "stale-epoch")
        if frame.run_id not in self.ledger.runs:
            return self._refuse(frame, "unknown-run")
        live = self.live.get(frame.run_id)
        if live is not None:
            live.end("cancelled")
        return run.Done(frame.id)

    def _keep_alive(self, host: str, frame: run.KeepAlive) -> None:
        if admit.token_fault(frame.token, self.token(), None):
            return
        for session, epoch in frame.sessions:
            if self._owners.get(session) != (host, epoch):
                continue
            for live in self.live.values():
                spec = live.stored.spec
                if spec.session == session:
                    live.deadline_s = max(live.deadline_s, frame.token.clock_s + spec.orphan_timeout_s)

    # Runs

    def _watch(self, live: Live) -> None:
        """Look at a run again once its orphan deadline may have passed."""
        if live.stored.spec.run_id not in self.live or live.ending is not None:
            return
        left_s = live.deadline_s - self.token().clock_s
        if left_s < 0:
            live.end("orphaned")
        else:
            self.scope.later(left_s + _WATCH_S, lambda: self._watch(live))

    def _carry_out(self, live: Live) -> Work:
        stored, spec = live.stored, live.stored.spec
        yield _LEDGER_S
        while todo := order.following(spec.steps, stored.results, live.ending):
            if isinstance(todo, order.Settle):
                now = self._kernel.now
                step = todo.step
                result = StepResult(step.index, step.kind, step.name, now, now, error=todo.error)
            elif (result := (yield from self._execute(live, todo.step))) is None:
                break
            yield _LEDGER_S
            stored.results[result.index] = result
            live.tell(run.StepDone(spec.run_id, result))
        stored.outcome = order.outcome(spec.steps, stored.results, live.ending)
        stored.state = "interrupted" if stored.outcome == "interrupted" else "finished"
        del self.live[spec.run_id]
        live.tell(run.RunDone(spec.run_id, stored.outcome, {}))

    def _execute(self, live: Live, step: run.Step) -> Work:
        """Carry out one step; returns its result, None when the run was taken away from under it."""
        spec, began = live.stored.spec, self._kernel.now
        mark = live.mark = self._ground.begin(spec, step, self.name)
        exit_code: int | None = None
        error: Error | None = None
        try:
            yield self.scope.within(live.stopped, self._ground.duration_s(spec, step))
        except TimedOut:
            exit_code, error = self._ground.carry_out(spec, step)
            self._ground.end(mark, error or f"exit {exit_code}")
        else:
            self._ground.end(mark, "killed")
            if live.ending != "cancelled":
                return None
            error = "cancelled"
        return StepResult(step.index, step.kind, step.name, began, self._kernel.now, exit_code=exit_code, error=error)
