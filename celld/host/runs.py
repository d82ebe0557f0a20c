"""The runs of one life of a session: started, recovered, attached to and cancelled on its sandbox host.

Made and closed by a life; its methods are the effects of ``perform``. Each effect is a task that goes on until the
world has answered; what it learns is pushed as an input. It never writes to the log and never decides what a result
means. Whatever is cut off here is asked for again by the next life (``RecoverRun``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from celld.host.bench import UNREACHABLE_S, Bench, OpenRuns, Superseded, pauses
from celld.host.facts import SessionFacts
from celld.host.opened import Open, Starting
from celld.host.rooms import Rooms
from celld.host.sandboxes import SandboxLink
from celld.plane.key import Epoch, Held
from setpoint import failpoints, runtime
from setpoint.contracts import cell as frames
from setpoint.contracts import limits, run
from setpoint.link import LinkDown

_START_S_MAX: Final = 15.0
_ASK_S_MAX: Final = 10.0
_LOOK_S: Final = 0.2


class Runs:
    """The open runs of one life. ``push`` takes inputs, ``gone`` is told that a newer owner exists, ``pass_on`` which
    other cell host should try to reach the sandbox host."""

    def __init__(
        self,
        rooms: Rooms,
        held: Held,
        facts: SessionFacts,
        push: Callable[[frames.Input], None],
        gone: Callable[[str], None],
        pass_on: Callable[[str], None],
    ) -> None:
        self._rooms, self._held, self._facts = rooms, held, facts
        self._push, self._gone = push, gone
        self._open: dict[str, Open] = {}
        self._starting: dict[str, Starting] = {}
        self._kept_alive_s = 0.0
        self._materializing: asyncio.Task[None] | None = None
        self.known = False
        """Whether all runs that the log has open are known here: the owner's first decision asks for them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._bench = Bench(rooms, held, facts, push, self._open_runs, pass_on)
        rooms.sandboxes.enter(self)

    async def close(self) -> None:
        """Stop everything that is under way here; the runs themselves go on. Idempotent."""
        self._rooms.sandboxes.leave(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """Tell whether a run may be alive, or an effect is under way."""
        return bool(self._open or self._starting or self._tasks)

    # Effects

    def materialize(self, effect: frames.Materialize) -> None:
        """Prepare the workspace. What was asked for before is asked for no more: it could come last, and stay."""
        if self._materializing is not None:
            self._materializing.cancel()
        self._materializing = self._spawn(self._bench.materialize(effect))

    def start(self, effect: frames.StartRun, seq: int) -> None:
        """Start a run under the seq of its started event."""
        task = self._spawn(self._start(effect, seq))
        self._starting[effect.execution_id] = Starting(task)

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
        for run_id, open_ in self._open.items():
            if open_.attached:
                self._reopen(run_id, open_.orphan_timeout_s)

    def pushed(self, frame: run.StepDone | run.RunDone) -> None:
        """Pass on what a run came to."""
        if isinstance(frame, run.StepDone):
            self._push(frames.StepEnded(frame.run_id, frame.result, frame.enforced))
        else:
            self._open.pop(frame.run_id, None)
            self._push(frames.RunEnded(frame.run_id, frame.outcome, frame.enforced))

    def open_on(self, host: str) -> tuple[str, Epoch] | None:
        """Return session and epoch when runs on this host are to be kept alive."""
        place = self._facts.place
        if not self._open or place is None or place.host != host or not self._bench.holds(host):
            return None
        self._kept_alive_s = runtime.boottime_s()
        return self._held.key.session, self._held.epoch

    def leave(self, host: str) -> bool:
        """Begin to leave a sandbox host that is drained, when nothing is under way; whether it did."""
        place = self._facts.place
        if place is None or place.host != host or not self.known or self.busy or self._facts.is_changing:
            return False
        self._spawn(self._bench.leave())
        return True

    # Tasks

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work))
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before its first step never ran it
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Superseded as error:
            self._gone(str(error))

    def _open_runs(self) -> OpenRuns:
        if any(open_.changes_things for open_ in self._open.values()):
            return "changing"
        return "harmless" if self._open else "none"

    async def _start(self, effect: frames.StartRun, seq: int) -> None:
        run_id = effect.execution_id
        for pause_s in pauses():
            answer = await self._send_start(effect, seq)
            if isinstance(answer, run.Started):
                del self._starting[run_id]
                return
            if isinstance(answer, run.Refused) and self._is_final(run_id, answer):
                del self._starting[run_id]
                self._push(frames.RunRefused(run_id, answer.code, answer.detail))
                return
            if self._bench.is_over(self._starting[run_id].until_s):
                del self._starting[run_id]
                self._lost(run_id)
                return
            await asyncio.sleep(pause_s)

    async def _send_start(self, effect: frames.StartRun, seq: int) -> run.Started | run.Refused | None:
        """Send a start, or repeat the one whose answer never came; None when nobody knows what came of it."""
        bench, lease = self._bench, self._rooms.lease
        starting = self._starting[effect.execution_id]
        fenced = await bench.ready_by(starting.until_s, stays=starting.sent)
        place = self._facts.place
        if fenced is None or place is None:
            return None
        link = fenced.link
        try:
            if starting.frame is None or starting.host != link.host:
                await bench.may_start()
                token = await link.token(lease)
                if self._facts.place != place or bench.is_moving:
                    return None
                spec = self._spec(effect, seq, place.workspace_no)
                starting.host = link.host
                starting.frame = run.Start(link.next_id(), link.grant(self._held.key, self._held.epoch), token, spec)
                changes = any(step.kind != "condition" for step in effect.steps)
                self._open[effect.execution_id] = Open(changes, effect.orphan_timeout_s)
                self._rooms.sandboxes.expect(effect.execution_id, self)
                link.sends_start(effect.execution_id, lease.ttl_s)
                starting.sent = True
            era = link.era
            # From here on it may run: the token in the frame is what a host that never saw a newer epoch refuses by.
            failpoints.hit("celld.run.before_send")
            answer = await link.request(starting.frame, _START_S_MAX)
        except (LinkDown, TimeoutError):
            self._unanswered(effect, starting, link)
            return None
        failpoints.hit("celld.run.after_send")
        if not isinstance(answer, run.Started):
            return bench.refusal(answer)
        self._joined(effect, link, era)
        return answer

    def _unanswered(self, effect: frames.StartRun, starting: Starting, link: SandboxLink) -> None:
        """Note that a start may have begun something: from now on the wait for its host has an end.

        What changes things keeps the session where it is, even when that host has come back with another ledger.
        """
        open_ = self._open.get(effect.execution_id)
        starting.lost_until_s = link.lets_in_until_s(effect.execution_id)
        if starting.sent and open_ is not None and open_.changes_things:
            starting.until_s = self._over_s(link, effect.orphan_timeout_s)

    def _over_s(self, link: SandboxLink | None, orphan_timeout_s: float) -> float:
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
        link = self._rooms.sandboxes.link(starting.host)
        # A grant is asked for before the ledger is, and room comes and goes: an earlier sending may start it yet.
        lost = refused.code == "no-capacity" and runtime.boottime_s() < starting.lost_until_s
        if refused.code != "bad-grant" and not lost:
            self._open.pop(run_id, None)
            starting.sent, starting.until_s = False, math.inf
        if refused.code != "bad-grant" and link is not None:
            link.start_settled(run_id, starting.lost_until_s if lost else 0.0)
        if refused.code == "unknown-workspace" and frame is not None:
            self._bench.spoil(refused.detail, starting.host, frame.spec.workspace_no)
        passing = refused.code in ("stale-token", "bad-grant", "unknown-workspace")
        if not passing and refused.retry:
            runtime.log().info("start put off", run=run_id, why=refused.code)
        return not passing and not refused.retry

    def _joined(self, effect: frames.StartRun, link: SandboxLink, era: int) -> None:
        """Note that a run's results come by this link; if that is lost already, find the run again."""
        link.start_settled(effect.execution_id)
        open_ = self._open.get(effect.execution_id)
        if open_ is None:
            return  # its end was pushed together with the answer
        open_.attached = True
        if not link.connected or link.era != era:
            self._reopen(effect.execution_id, effect.orphan_timeout_s)

    def _reopen(self, run_id: str, orphan_timeout_s: float) -> None:
        place = self._facts.place
        link = self._rooms.sandboxes.link(place.host) if place is not None else None
        self._open[run_id] = Open(self._facts.changes_things(run_id), orphan_timeout_s)
        if self._facts.changes_things(run_id):
            until_s = self._over_s(link, orphan_timeout_s)
        else:
            until_s = runtime.boottime_s() + UNREACHABLE_S
        self._spawn(self._recover(run_id, until_s))

    async def _recover(self, run_id: str, until_s: float) -> None:
        said = await self._told(run_id, until_s)
        if said is None and (later_s := self._kept_alive_until_s(run_id)) > until_s:
            self._spawn(self._recover(run_id, later_s))  # it was reached, and kept alive, by others than this wait
            return
        if said is None:
            self._lost(run_id)
            return
        state = said.runs.get(run_id, "never_seen")
        runtime.log().info("run found", run=run_id, session=self._held.key.session, state=state)
        if state not in ("running", "finished"):
            self._open.pop(run_id, None)
        self._push(frames.RunFound(run_id, state))

    async def _told(self, run_id: str, until_s: float) -> run.Fenced | None:
        """Return what the host says of a run; that it never saw one counts once a start under way cannot come any more.

        A start of this epoch, perhaps an earlier life's, may overtake or follow the question: no floor keeps it out.
        """
        while True:
            place = self._facts.place
            link = self._rooms.sandboxes.link(place.host) if place is not None else None
            doubtful = link is not None and link.may_come(run_id)
            if link is not None and link.was_sent(run_id):
                self._bench.ask_again()
            said = await self._bench.learn(until_s)
            if said is None or not doubtful or said.runs.get(run_id, "never_seen") != "never_seen":
                return said
            await asyncio.sleep(_LOOK_S)

    def _lost(self, run_id: str) -> None:
        """Tell that nobody will ever know what became of a run."""
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
        return self._over_s(self._rooms.sandboxes.link(place.host), open_.orphan_timeout_s)

    async def _host_of(self, run_id: str) -> SandboxLink | None:
        """Wait for the host of a found run; None when the run is over before, which is told: it is lost."""
        fenced = await self._bench.ready_by(self._waits_until_s(run_id))
        if fenced is None and run_id in self._open:
            self._lost(run_id)
        return fenced.link if fenced is not None else None

    async def _attach(self, run_id: str, after: int) -> None:
        key, epoch = self._held.key, self._held.epoch
        self._rooms.sandboxes.expect(run_id, self)
        for pause_s in pauses():
            link = await self._host_of(run_id)
            if link is None:
                return
            frame = run.Attach(link.next_id(), link.grant(key, epoch), key.session, epoch, run_id, after)
            open_ = self._open.setdefault(run_id, Open(self._facts.changes_things(run_id), 0.0))
            open_.attached = True
            try:
                answer = await link.request(frame, _ASK_S_MAX)
            except LinkDown:
                return  # it was attached when the link went: link_lost finds it again
            except TimeoutError:
                continue
            if isinstance(answer, run.Started) and answer.state in ("running", "finished"):
                return
            refused = self._bench.refusal(answer)
            if isinstance(answer, run.Started) or (refused is not None and refused.code == "unknown-run"):
                self._open.pop(run_id, None)
                self._push(frames.RunFound(run_id, answer.state if isinstance(answer, run.Started) else "lost"))
                return
            await asyncio.sleep(pause_s)

    def _withdrawn(self, run_id: str) -> bool:
        """End a start that nobody can have got; False when there is none."""
        starting = self._starting.get(run_id)
        if starting is None or starting.sent:
            return False
        starting.task.cancel()
        del self._starting[run_id]
        self._push(frames.RunEnded(run_id, "cancelled"))
        return True

    async def _cancel(self, run_id: str) -> None:
        key, epoch = self._held.key, self._held.epoch
        for pause_s in pauses():
            while (starting := self._starting.get(run_id)) is not None:  # it may run already: first learn that it does
                if self._withdrawn(run_id):
                    return
                await asyncio.wait({starting.task}, timeout=_LOOK_S)
            if run_id not in self._open:
                return
            link = await self._host_of(run_id)
            if link is None:
                return
            doubtful = link.may_come(run_id)  # asked before: what comes after the answer is what matters
            frame = run.Cancel(link.next_id(), link.grant(key, epoch), key.session, epoch, run_id)
            try:
                answer = await link.request(frame, _ASK_S_MAX)
            except (LinkDown, TimeoutError):
                continue
            if isinstance(answer, run.Done):
                if (open_ := self._open.get(run_id)) is not None and not open_.attached:
                    await self._attach(run_id, 0)  # else nobody is told of its end, and it keeps the session here
                return
            refused = self._bench.refusal(answer)
            if refused is not None and refused.code == "unknown-run" and not doubtful:
                self._open.pop(run_id, None)
                self._push(frames.RunEnded(run_id, "cancelled"))
                return
            await asyncio.sleep(pause_s)
