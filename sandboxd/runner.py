"""Carrying out runs: one task per run, step by step, every result on disk before anybody hears of it.

The host starts runs here after the ledger has them. The runner decides nothing about who may start what, and never
reads a frame; whoever attached last hears of results through a callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import prometheus_client

from sandboxd.core import order, plan
from sandboxd.jail.driver import Jail, Place
from sandboxd.jail.process import Exit, Process
from sandboxd.ledger_thread import LedgerThread
from sandboxd.spool import STREAMS, Spool, Stream, StreamName, drained
from sandboxd.warden import Warden
from setpoint import failpoints, runtime
from setpoint.contracts import limits
from setpoint.contracts.run import OutputRef, RunDone, RunSpec, Step, StepDone, StepResult

STEPS = prometheus_client.Counter("setpoint_sandbox_steps", "Steps that ended, by how", ["end"])
RUNNING = prometheus_client.Gauge("setpoint_sandbox_runs_running", "Runs that are being carried out")
_TICK_S = 0.25

Listener = Callable[[StepDone | RunDone], object]


@dataclass(slots=True)
class Run:
    """A run that is being carried out. ``deadline_s`` is its orphan deadline on this host's CLOCK_BOOTTIME."""

    spec: RunSpec
    place: Place
    deadline_s: float
    listener: Listener | None = None
    results: dict[int, StepResult] = field(default_factory=dict)
    streams: dict[tuple[int, str], Stream] = field(default_factory=dict)
    ending: order.Ending | None = None
    process: Process | None = None

    def end(self, ending: order.Ending) -> None:
        """End the run from outside: its process tree dies now. The first reason stays."""
        if self.ending is None:
            self.ending = ending
            if self.process is not None:
                self.process.kill()

    def tell(self, frame: StepDone | RunDone) -> None:
        """Tell whoever attached last."""
        if self.listener is not None:
            self.listener(frame)


class Runner:
    """All runs of this host. ``runs`` holds those being carried out, by run id."""

    def __init__(
        self, jail: Jail, ledger: LedgerThread, spool: Spool, warden: Warden, tasks: asyncio.TaskGroup
    ) -> None:
        self._jail, self._ledger, self._spool, self._warden, self._tasks = jail, ledger, spool, warden, tasks
        self.runs: dict[str, Run] = {}
        self._carried: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def enforced(self) -> Mapping[str, str]:
        """What holds for every step of this host."""
        return self._jail.enforced

    def busy(self, session: str) -> bool:
        """Tell whether a run of this session is being carried out."""
        return any(run.spec.session == session for run in self.runs.values())

    def begin(self, run: Run) -> None:
        """Carry out a run that the ledger has as running. Returns at once; while stopping, the run is interrupted."""
        if self._stopping:
            run.end("interrupted")
        self.runs[run.spec.run_id] = run
        RUNNING.set(len(self.runs))
        task = self._tasks.create_task(self._carry_out(run))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    def keep_alive(self, session: str, clock_s: float) -> None:
        """Move the orphan deadlines of a session's runs; they never move back, and one that is over stays so."""
        now_s = runtime.boottime_s()
        for run in self.runs.values():
            if run.spec.session == session and now_s <= run.deadline_s:
                run.deadline_s = max(run.deadline_s, clock_s + run.spec.orphan_timeout_s)
                self._warden.move(run.spec.run_id, run.deadline_s)

    async def watch_orphans(self) -> None:
        """Kill runs whose owner has not been heard of by their deadline; goes on until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            for run in self.runs.values():
                _end_orphan(run)

    async def stop(self) -> None:
        """Interrupt every run and wait until all are gone and written down, for a bounded time.

        What does not die by then is left to the next start, which proves it gone before it listens.
        """
        self._stopping = True
        for run in self.runs.values():
            run.end("interrupted")
        if self._carried:
            await asyncio.wait(self._carried, timeout=2 * limits.KILL_GRACE_S)

    async def _carry_out(self, run: Run) -> None:
        spec = run.spec
        _end_orphan(run)
        while todo := order.following(spec.steps, run.results, run.ending):
            if isinstance(todo, order.Settle):
                now = runtime.now_us()
                result: StepResult | None = _result(todo.step, now, now, error=todo.error)
            else:
                result = await self._execute(run, todo.step)
            if result is None:
                break
            failpoints.hit("sandboxd.run.before_result")
            await self._ledger.call(self._ledger.ledger.add_result, spec.run_id, result)
            run.results[result.index] = result
            STEPS.labels(result.error or ("ok" if result.ok else "failed")).inc()
            run.tell(StepDone(spec.run_id, result, plan.held(todo.step, self.enforced)))
            _end_orphan(run)
        outcome = order.outcome(spec.steps, run.results, run.ending)
        await self._ledger.call(self._ledger.ledger.end, spec.run_id, outcome, dict(self.enforced), runtime.now_us())
        del self.runs[spec.run_id]
        RUNNING.set(len(self.runs))
        run.tell(RunDone(spec.run_id, outcome, dict(self.enforced)))

    async def _execute(self, run: Run, step: Step) -> StepResult | None:
        """Carry out one step; None when it has no outcome because the run was taken away from under it."""
        run_id, began = run.spec.run_id, runtime.now_us()
        try:
            process = self._jail.spawn(run.place, run_id, step)
        except (OSError, ValueError) as error:
            return _result(step, began, runtime.now_us(), error="spawn", detail=f"cannot be started: {error}")
        streams: dict[StreamName, Stream] = {
            "stdout": Stream(process.stdout, self._spool.path(run_id, step.index, "stdout")),
            "stderr": Stream(process.stderr, self._spool.path(run_id, step.index, "stderr")),
        }
        run.process = process
        self._warden.hold(run_id, process.word, run.deadline_s)
        try:
            for name, stream in streams.items():
                run.streams[step.index, name] = stream
                stream.open()
            await self._ledger.call(self._ledger.ledger.note_process, run_id, process.pid, process.start)
            failpoints.hit("sandboxd.run.before_exec")
            ended, timed_out = await self._until_gone(run, process, step.timeout_s)
            self._warden.drop(run_id)
            failpoints.hit("sandboxd.run.after_exit")
            await drained(streams.values(), limits.KILL_GRACE_S)
        finally:
            run.process = None
            for stream in streams.values():
                stream.close()
            process.close()
        _end_orphan(run)  # this process may have been frozen, and its warden have ended the step
        if run.ending == "orphaned" or (process.killed and not timed_out and run.ending == "interrupted"):
            return None
        refs = [await self._kept(run, step, name, streams[name]) for name in STREAMS]
        return _ended(step, began, ended, timed_out=timed_out, killed=process.killed, refs=(refs[0], refs[1]))

    async def _kept(self, run: Run, step: Step, name: StreamName, stream: Stream) -> OutputRef:
        """Put what a stream left into the object store; most leave nothing, and need no thread for that."""
        if not stream.path.exists():
            return OutputRef(truncated=stream.truncated)
        spec = run.spec
        return await asyncio.to_thread(
            self._spool.store, spec.tenant, spec.run_id, step.index, name, truncated=stream.truncated
        )

    async def _until_gone(self, run: Run, process: Process, timeout_s: float) -> tuple[Exit, bool]:
        """Let the command run until it ends, its time is over, or the run is ended; returns when all of it is dead."""
        _end_orphan(run)
        if run.ending is not None:
            process.kill()  # ended while the ledger was written: the gate stays shut
        else:
            process.release()
        waiting = asyncio.create_task(process.wait())
        timed_out = False
        await asyncio.wait([waiting], timeout=timeout_s)
        if not waiting.done() and not process.killed:
            timed_out = True
            process.kill()
        while not waiting.done():
            await asyncio.wait([waiting], timeout=limits.KILL_GRACE_S)
            if not waiting.done():
                # Nothing else may start in its place: a process that the kernel holds back may still write.
                runtime.log().error("a killed step does not die", run=run.spec.run_id, pid=process.pid)
                process.kill()
        return waiting.result(), timed_out


def _end_orphan(run: Run) -> None:
    """End a run whose orphan deadline is over. Asked before each thing that happens, as this process may freeze."""
    if runtime.boottime_s() > run.deadline_s and run.ending is None:
        runtime.log().warning("run orphaned", run=run.spec.run_id, session=run.spec.session)
        run.end("orphaned")


def _ended(
    step: Step, began: int, ended: Exit, *, timed_out: bool, killed: bool, refs: tuple[OutputRef, OutputRef]
) -> StepResult:
    now = runtime.now_us()
    if timed_out:
        return _result(step, began, now, error="timeout", detail=f"not done after {step.timeout_s:g} s", refs=refs)
    if killed:
        return _result(step, began, now, error="cancelled", refs=refs)
    if not ended.started:
        said = refs[1].tail.strip().splitlines() or ["the sandbox could not be set up"]
        return _result(step, began, now, error="spawn", detail=said[-1][:500], refs=refs)
    return _result(step, began, now, ended=ended, refs=refs)


def _result(
    step: Step,
    began: int,
    now: int,
    *,
    ended: Exit | None = None,
    error: Literal["spawn", "timeout", "cancelled", "skipped"] | None = None,
    detail: str = "",
    refs: tuple[OutputRef, OutputRef] = (OutputRef(), OutputRef()),
) -> StepResult:
    return StepResult(
        index=step.index,
        kind=step.kind,
        name=step.name,
        started_at=began,
        ended_at=now,
        exit_code=ended.exit_code if ended else None,
        signal=ended.signal if ended else None,
        error=error,
        detail=detail,
        stdout=refs[0],
        stderr=refs[1],
    )
