"""The runs of one life of a session: started, recovered, attached to and cancelled (``celld.host.runs``).

Each effect is a process that goes on until the world has answered; what it learns is pushed as an input.
"""

from __future__ import annotations

import math
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
_LOOK_S: Final = 0.2


@dataclass(slots=True)
class _Open:
    """A run that may be alive. ``attached``: its results come by the link that is up now."""

    changes_things: bool
    orphan_timeout_s: float
    attached: bool = False


@dataclass(slots=True)
class _Starting:
    """A start that has not been answered. ``sent``: it may have begun to run, at the latest until ``until_s``.

    ``lost_until_s``: until when a sending without an answer may be let in.
    """

    task: Task | None = None
    frame: run.Start | None = None
    host: str = ""
    sent: bool = False
    lost_until_s: float = 0.0
    until_s: float = math.inf


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
        self._kept_alive_s = 0.0
        self._materializing: Task | None = None
        self._tasks: list[Task] = []
        self._bench = Bench(host, held, facts, push, self._may_change_things, pass_on)

    def close(self) -> None:
        """Stop everything that is under way here; the runs themselves go on. Idempotent."""
        self.expected.clear()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

    @property
    def busy(self) -> bool:
        """Tell whether a run may be alive, or an effect is under way."""
        return bool(self._open or self._starting or any(not task.over for task in self._tasks))

    # Effects

    def materialize(self, effect: frames.Materialize) -> None:
        """Prepare the workspace. What was asked for before is asked for no more: it could come last, and stay."""
        if self._materializing is not None:
            self._materializing.cancel()
        self._materializing = self._spawn(self._bench.materialize(effect))

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
        if not self._withdrawn(effect.execution_id):
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
        if not self._open or place is None or place.host != host or not self._bench.holds(host):
            return None
        self._kept_alive_s = self._host.boottime_s()
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
            if self._starting[run_id].until_s <= self._host.boottime_s():
                del self._starting[run_id]
                self._lost(run_id)
                return
            yield pause_s

    def _send_start(self, effect: frames.StartRun, seq: int) -> Work:
        """Send a start, or repeat the one whose answer never came; None when nobody knows what came of it."""
        bench, host = self._bench, self._host
        starting = self._starting[effect.execution_id]
        fenced = yield from bench.ready_by(starting.until_s)
        place = self._facts.place
        if fenced is None or place is None:
            return None
        link = fenced.link
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
                link.sends_start(effect.execution_id, limits.LEASE_TTL_S)
                starting.sent = True
            era = link.era
            answer = yield link.request(starting.frame, _START_S_MAX)
        except (LinkDown, TimedOut):
            self._unanswered(effect, starting, link)
            return None
        if not isinstance(answer, run.Started):
            return bench.refusal(answer)
        self._joined(effect, link, era)
        return answer

    def _unanswered(self, effect: frames.StartRun, starting: _Starting, link: Link) -> None:
        """Note that a start may have begun something: from now on the wait for its host has an end.

        What changes things keeps the session where it is, even when that host has come back with another ledger.
        """
        open_ = self._open.get(effect.execution_id)
        starting.lost_until_s = link.lets_in_until_s(effect.execution_id)
        if starting.sent and open_ is not None and open_.changes_things:
            starting.until_s = self._over_s(link, effect.orphan_timeout_s)

    def _over_s(self, link: Link | None, orphan_timeout_s: float) -> float:
        """Return when a run that nobody can keep alive any more is over: its host kills it, and a kill takes time."""
        # The last token that can have kept it alive: the former owner's was read before we got our answer.
        kept_alive_s = link.kept_alive_s if link is not None else 0.0
        return max(self._held.answered_s, kept_alive_s) + orphan_timeout_s + limits.KILL_GRACE_S

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
        starting = self._starting[run_id]
        frame, starting.frame = starting.frame, None
        link = self._host.links.get(starting.host)
        lost = refused.code == "no-capacity" and self._host.boottime_s() < starting.lost_until_s
        if not lost:
            self._open.pop(run_id, None)
            starting.sent, starting.until_s = False, math.inf
        if link is not None:
            link.start_settled(run_id, starting.lost_until_s if lost else 0.0)
        if refused.code == "unknown-workspace" and frame is not None:
            self._bench.spoil(refused.code, starting.host, frame.spec.workspace_no)
        return refused.code not in ("stale-token", "unknown-workspace") and not refused.retry

    def _joined(self, effect: frames.StartRun, link: Link, era: int) -> None:
        """Note that a run's results come by this link; if that is lost already, find the run again."""
        link.start_settled(effect.execution_id)
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
        if self._facts.changes_things(run_id):
            until_s = self._over_s(link, orphan_timeout_s)
        else:
            until_s = self._host.boottime_s() + UNREACHABLE_S
        self._spawn(self._recover(run_id, until_s))

    def _recover(self, run_id: str, until_s: float) -> Work:
        said = yield from self._told(run_id, until_s)
        if said is None and (later_s := self._kept_alive_until_s(run_id)) > until_s:
            self._spawn(self._recover(run_id, later_s))  # it was reached, and kept alive, by others than this wait
            return
        if said is None:
            self._lost(run_id)
            return
        state = said.runs.get(run_id, "never_seen")
        self._host.rooms.met[f"found {state}"] += 1
        if state not in ("running", "finished"):
            self._open.pop(run_id, None)
        self._push(frames.RunFound(run_id, state))

    def _told(self, run_id: str, until_s: float) -> Work:
        """Return what the host says of a run; that it never saw one counts once a start under way cannot come."""
        while True:
            place = self._facts.place
            link = self._host.links.get(place.host) if place is not None else None
            doubtful = link is not None and link.may_come(run_id)
            if link is not None and link.was_sent(run_id):
                self._bench.ask_again()
            said = yield from self._bench.learn(until_s)
            if said is None or not doubtful or said.runs.get(run_id, "never_seen") != "never_seen":
                return said
            self._host.rooms.met["never seen, and doubted"] += 1
            yield _LOOK_S

    def _lost(self, run_id: str) -> None:
        """Tell that nobody will ever know what became of a run."""
        self._host.rooms.met["found lost"] += 1
        self._open.pop(run_id, None)
        self._push(frames.RunFound(run_id, "lost"))

    def _kept_alive_until_s(self, run_id: str) -> float:
        """Return until when a run may go on that this life has kept alive; 0 for one that changes nothing."""
        open_ = self._open.get(run_id)
        if open_ is None or not open_.changes_things:
            return 0.0
        return self._kept_alive_s + open_.orphan_timeout_s + limits.KILL_GRACE_S

    def _waits_until_s(self, run_id: str) -> float:
        """Return until when a found run waits for its host: what changes nothing does not keep the session there."""
        open_, place = self._open.get(run_id), self._facts.place
        if open_ is None or place is None or not open_.changes_things:
            return math.inf
        return self._over_s(self._host.links.get(place.host), open_.orphan_timeout_s)

    def _host_of(self, run_id: str) -> Work:
        """Wait for the host of a found run; None when the run is over before, which is told: it is lost."""
        fenced = yield from self._bench.ready_by(self._waits_until_s(run_id))
        if fenced is None and run_id in self._open:
            self._lost(run_id)
        return fenced.link if fenced is not None else None

    def _attach(self, run_id: str, after: int) -> Work:
        key, epoch = self._held.key, self._held.epoch
        self.expected.add(run_id)
        for pause_s in pauses():
            link = yield from self._host_of(run_id)
            if link is None:
                return
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

    def _withdrawn(self, run_id: str) -> bool:
        """End a start that nobody can have got; False when there is none."""
        starting = self._starting.get(run_id)
        if starting is None or starting.sent:
            return False
        assert starting.task is not None
        starting.task.cancel()
        del self._starting[run_id]
        self._push(frames.RunEnded(run_id, "cancelled"))
        return True

    def _cancel(self, run_id: str) -> Work:
        key, epoch = self._held.key, self._held.epoch
        for pause_s in pauses():
            while run_id in self._starting:
                if self._withdrawn(run_id):
                    return
                yield _LOOK_S
            if run_id not in self._open:
                return
            link = yield from self._host_of(run_id)
            if link is None:
                return
            doubtful = link.may_come(run_id)
            frame = run.Cancel(link.next_id(), "", key.session, epoch, run_id)
            try:
                answer = yield link.request(frame, _ASK_S_MAX)
            except (LinkDown, TimedOut):
                continue
            if isinstance(answer, run.Done):
                if (open_ := self._open.get(run_id)) is not None and not open_.attached:
                    yield from self._attach(run_id, 0)  # else nobody is told of its end, and it keeps the session here
                return
            refused = self._bench.refusal(answer)
            if refused is not None and refused.code == "unknown-run" and not doubtful:
                self._open.pop(run_id, None)
                self._push(frames.RunEnded(run_id, "cancelled"))
                return
            yield pause_s
