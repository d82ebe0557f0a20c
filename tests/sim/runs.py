"""The runs of one life of a session: started, recovered, attached to and cancelled (``celld.host.runs``).

Each effect is a process that goes on until the world has answered; what it learns is pushed as an input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celld.host.bench import UNREACHABLE_S
from celld.host.facts import SessionFacts
from celld.plane.key import Epoch, Held
from setpoint.contracts import cell as frames
from setpoint.contracts import limits, run
from tests.sim.bench import Bench, Superseded, pauses
from tests.sim.kernel import Task, TimedOut, Work
from tests.sim.link import Link, LinkDown

if TYPE_CHECKING:
    from tests.sim.host import CellHost

_START_S_MAX: Final = 15.0
_ASK_S_MAX: Final = 10.0


@dataclass(slots=True)
class _Open:
    """A run that may be alive. ``attached``: its results come by the link that is up now."""

    changes_things: bool
    orphan_timeout_s: float
    attached: bool = False


@dataclass(slots=True)
class _Starting:
    """A start that has not been answered. ``sent``: it may have begun to run."""

    task: Task | None = None
    frame: run.Start | None = None
    host: str = ""
    sent: bool = False


class Runs:
    """The open runs of one life."""

    def __init__(
        self,
        host: CellHost,
        held: Held,
        facts: SessionFacts,
        push: Callable[[frames.Input], None],
        gone: Callable[[str], None],
        pass_on: Callable[[str], None],
    ) -> None:
        self._host, self._held, self._facts = host, held, facts
        self._push, self._gone = push, gone
        self.expected: set[str] = set()
        self._open: dict[str, _Open] = {}
        self._starting: dict[str, _Starting] = {}
        self._tasks: list[Task] = []
        self._bench = Bench(host, held, facts, push, self._may_change_things, pass_on)

    def close(self) -> None:
        """Stop everything that is under way here; the runs themselves go on. Idempotent."""
        self.expected.clear()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

    # Effects

    def materialize(self, effect: frames.Materialize) -> None:
        """Prepare the workspace."""
        self._spawn(self._bench.materialize(effect))

    def start(self, effect: frames.StartRun, seq: int) -> None:
        """Start a run under the seq of its started event."""
        starting = self._starting[effect.execution_id] = _Starting()
        starting.task = self._spawn(self._start(effect, seq))

    def recover(self, effect: frames.RecoverRun) -> None:
        """Learn what became of a run of an earlier life or epoch."""
        self._reopen(effect.execution_id, effect.orphan_timeout_s)

    def attach(self, effect: frames.AttachRun) -> None:
        """Get the results of a run after a step."""
        self._spawn(self._attach(effect.execution_id, effect.after))

    def cancel(self, effect: frames.CancelRun) -> None:
        """End a run, or its start if that was never sent."""
        starting = self._starting.get(effect.execution_id)
        if starting is not None and not starting.sent:
            assert starting.task is not None
            starting.task.cancel()
            del self._starting[effect.execution_id]
            self._push(frames.RunEnded(effect.execution_id, "cancelled"))
        else:
            self._spawn(self._cancel(effect.execution_id))

    # What the links tell

    def link_lost(self, host: str) -> None:
        """Find the attached runs again: when the link is back, or when their time is over."""
        if self._facts.place is None or self._facts.place.host != host:
            return
        for run_id, open_ in list(self._open.items()):
            if open_.attached:
                self._reopen(run_id, open_.orphan_timeout_s)

    def pushed(self, frame: run.StepDone | run.RunDone) -> None:
        """Pass on what a run came to."""
        if isinstance(frame, run.StepDone):
            self._push(frames.StepEnded(frame.run_id, frame.result, frame.enforced))
        else:
            self.expected.discard(frame.run_id)
            self._open.pop(frame.run_id, None)
            self._push(frames.RunEnded(frame.run_id, frame.outcome, frame.enforced))

    def open_on(self, host: str) -> tuple[str, Epoch] | None:
        """Return session and epoch when runs on this host are to be kept alive."""
        place = self._facts.place
        if not self._open or place is None or place.host != host:
            return None
        return self._held.key.session, self._held.epoch

    # Processes

    def _spawn(self, work: Work) -> Task:
        task = self._host.scope.spawn(self._guarded(work))
        if not task.over:
            self._tasks = [one for one in self._tasks if not one.over]
            self._tasks.append(task)
        return task

    def _guarded(self, work: Work) -> Work:
        try:
            yield from work
        except Superseded:
            self._gone("superseded")

    def _may_change_things(self) -> bool:
        return any(open_.changes_things for open_ in self._open.values())

    def _start(self, effect: frames.StartRun, seq: int) -> Work:
        run_id = effect.execution_id
        for pause_s in pauses():
            answer = yield from self._send_start(effect, seq)
            if isinstance(answer, run.Started):
                del self._starting[run_id]
                return
            if isinstance(answer, run.Refused) and self._is_final(run_id, answer):
                del self._starting[run_id]
                self._push(frames.RunRefused(run_id, answer.code, answer.detail))
                return
            yield pause_s

    def _send_start(self, effect: frames.StartRun, seq: int) -> Work:
        """Send a start, or repeat the one whose answer never came; None when nobody knows what came of it."""
        bench, host = self._bench, self._host
        starting = self._starting[effect.execution_id]
        fenced = yield from bench.ready()
        link, place = fenced.link, self._facts.place
        if place is None:
            return None
        try:
            if starting.frame is None or starting.host != link.name:
                yield from bench.may_start()
                token = yield from link.token(host.lease)
                if self._facts.place != place or bench.is_moving:
                    return None
                starting.host = link.name
                spec = self._spec(effect, seq, place.workspace_no)
                starting.frame = run.Start(link.next_id(), "", token, spec)
                changes = any(step.kind != "condition" for step in effect.steps)
                self._open[effect.execution_id] = _Open(changes, effect.orphan_timeout_s)
                self.expected.add(effect.execution_id)
                link.kept_alive_s, starting.sent = host.boottime_s(), True
            era = link.era
            answer = yield link.request(starting.frame, _START_S_MAX)
        except (LinkDown, TimedOut):
            return None
        if not isinstance(answer, run.Started):
            return bench.refusal(answer)
        self._joined(effect, link, era)
        return answer

    def _spec(self, effect: frames.StartRun, seq: int, workspace_no: int) -> run.RunSpec:
        key = self._held.key
        return run.RunSpec(
            effect.execution_id,
            key.tenant,
            key.session,
            self._held.epoch,
            seq,
            workspace_no,
            effect.steps,
            effect.generation,
            effect.asset,
            effect.orphan_timeout_s,
        )

    def _is_final(self, run_id: str, refused: run.Refused) -> bool:
        """Note that a start was refused; tell whether trying again is pointless."""
        self._starting[run_id].frame = None
        self._open.pop(run_id, None)
        self._starting[run_id].sent = False
        if refused.code == "unknown-workspace":
            self._bench.spoil(refused.code)
        return refused.code not in ("stale-token", "unknown-workspace") and not refused.retry

    def _joined(self, effect: frames.StartRun, link: Link, era: int) -> None:
        """Note that a run's results come by this link; if that is lost already, find the run again."""
        open_ = self._open.get(effect.execution_id)
        if open_ is None:
            return
        open_.attached = True
        if not link.connected or link.era != era:
            self._reopen(effect.execution_id, effect.orphan_timeout_s)

    def _reopen(self, run_id: str, orphan_timeout_s: float) -> None:
        place = self._facts.place
        link = self._host.links.get(place.host) if place is not None else None
        self._open[run_id] = _Open(self._facts.changes_things(run_id), orphan_timeout_s)
        kept_alive_s = link.kept_alive_s if link is not None else 0.0
        if self._facts.changes_things(run_id):
            until_s = max(self._held.answered_s, kept_alive_s) + orphan_timeout_s + limits.KILL_GRACE_S
        else:
            until_s = self._host.boottime_s() + UNREACHABLE_S
        self._spawn(self._recover(run_id, until_s))

    def _recover(self, run_id: str, until_s: float) -> Work:
        said = yield from self._bench.learn(until_s)
        met = self._host.rooms.met
        if said is None:
            met["found lost"] += 1
            self._open.pop(run_id, None)
            self._push(frames.RunFound(run_id, "lost"))
            return
        state = said.runs.get(run_id, "never_seen")
        met[f"found {state}"] += 1
        if state not in ("running", "finished"):
            self._open.pop(run_id, None)
        self._push(frames.RunFound(run_id, state))

    def _attach(self, run_id: str, after: int) -> Work:
        key, epoch = self._held.key, self._held.epoch
        self.expected.add(run_id)
        for pause_s in pauses():
            link = (yield from self._bench.ready()).link
            frame = run.Attach(link.next_id(), "", key.session, epoch, run_id, after)
            open_ = self._open.setdefault(run_id, _Open(self._facts.changes_things(run_id), 0.0))
            open_.attached = True
            try:
                answer = yield link.request(frame, _ASK_S_MAX)
            except LinkDown:
                return
            except TimedOut:
                continue
            if isinstance(answer, run.Started) and answer.state in ("running", "finished"):
                return
            refused = self._bench.refusal(answer)
            if isinstance(answer, run.Started) or (refused is not None and refused.code == "unknown-run"):
                self._open.pop(run_id, None)
                self._push(frames.RunFound(run_id, answer.state if isinstance(answer, run.Started) else "lost"))
                return
            yield pause_s

    def _cancel(self, run_id: str) -> Work:
        key, epoch = self._held.key, self._held.epoch
        for pause_s in pauses():
            starting = self._starting.get(run_id)
            if starting is not None and starting.task is not None:
                yield starting.task.ended
            if run_id not in self._open:
                return
            link = (yield from self._bench.ready()).link
            frame = run.Cancel(link.next_id(), "", key.session, epoch, run_id)
            try:
                answer = yield link.request(frame, _ASK_S_MAX)
            except (LinkDown, TimedOut):
                continue
            if isinstance(answer, run.Done):
                return
            refused = self._bench.refusal(answer)
            if refused is not None and refused.code == "unknown-run":
                self._open.pop(run_id, None)
                self._push(frames.RunEnded(run_id, "cancelled"))
                return
            yield pause_s
