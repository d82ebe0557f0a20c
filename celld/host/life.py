"""One life of a session: a cell is restored from the log, then fed until it dies, is fenced, or is to be given up.

Made by the owner, again and again. One decision is in flight; it is committed, then its effects begin. Everything a
life holds can be lost: the next one reads the log and asks the sandbox host what became of the runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from celld.host import deaths
from celld.host.cells import Cell
from celld.host.facts import Place, SessionFacts, Unfoldable
from celld.host.inputs import Inputs, Quiet
from celld.host.perform import perform
from celld.host.processes import CellDied
from celld.host.rooms import Rooms
from celld.host.runs import Runs
from celld.host.snapshots import Snapshots
from celld.host.watch import Poisonous, Watch
from celld.plane import inbox, item, log
from celld.plane.commit import Outcome
from celld.plane.key import Held
from celld.plane.ownership import Mode
from migrations import outcome
from setpoint import failpoints, runtime
from setpoint.contracts import cell as frames
from setpoint.contracts import codec, limits
from setpoint.contracts.event import Event
from setpoint.objects import ObjectMissing, blob_key

_APPLIED: Final = "resources.applied"
_RETRY_S: Final = 0.2
_IDLE_TICK_US: Final = 1_000_000
_PART_BYTES_MAX: Final = 8 * 1024 * 1024


Release = Callable[[Mode, int, int | None], Awaitable[bool]]
"""Give the session up at a head seq, to become due at an instant or not; False when commands wait in its inbox."""


class SessionGone(Exception):
    """The session is another owner's, or no more: forget it."""


class LogTruncated(Exception):
    """The log is shorter than this host knows it was: something was lost, nobody may write on."""


class SessionFailed(Exception):
    """The session cannot be run: its log says so already, or cannot be folded. Only ``recover`` changes that."""


class LogUnfoldable(Exception):
    """An event of the log cannot be understood: its session has failed."""


class CellWrong(Exception):
    """The cell or the shell does not agree with the log: start again from it."""


class InputRejected(Exception):
    """The decision on the input in flight cannot be written."""


class Life:
    """A cell and what belongs to it. ``close`` always follows ``run``."""

    def __init__(
        self,
        rooms: Rooms,
        held: Held,
        watch: Watch,
        *,
        restarted: bool,
        skipped: frozenset[str],
        whole_log: bool = False,
        alone: bool = False,
    ) -> None:
        self._rooms, self._held, self._restarted, self._skipped = rooms, held, restarted, skipped
        self._watch, self._alone = watch, alone
        self.facts = SessionFacts()
        self.head_seq = held.head_seq
        self.inputs = Inputs(lambda known: inbox.read(rooms.pool, held.key, known), rooms.quiet_s)
        self.delivering: frames.Input | None = None
        """The input whose decision the cell has not answered yet: a death now is this input's.

        None while there are several: after a death each is delivered alone for a while, and the next is somebody's.
        """
        self._runs = Runs(rooms, held, self.facts, self.inputs.push, self._gone, self._pass_on)
        self._snapshots = Snapshots(rooms.pool, held, self.facts)
        self._whole_log, self._restored = whole_log, False
        self._cell: Cell | None = None
        self._release: Mode | None = None
        self.passed_on: str | None = None
        """The cell host that is to have the session instead, because its sandbox host cannot be reached from here."""

    @property
    def cell_pid(self) -> int | None:
        """Return the pid of the cell, None before there is one."""
        return self._cell.pid if self._cell is not None else None

    @property
    def failed_from_snapshot(self) -> bool:
        """Tell whether it began from a snapshot and did not come as far as the end of the log."""
        return self._snapshots.seq > 0 and not self._restored

    def delivering_name(self) -> str | None:
        """Name the input in flight."""
        if self.delivering is None:
            return None
        return deaths.name_of(self.delivering, self.inputs.timer.wake_at)

    async def run(self, release: Release) -> bool:
        """Live until the session is released (True) or is to be given away (False).

        Raises the classes above, CellDied, Overflow, ZygoteDied.
        """
        self._cell = await self._rooms.cells.open(self._held.key, alone=self._alone)
        await self._restore(self._cell)
        self._cell.lost.add_done_callback(lambda _: self.inputs.break_off(CellDied(None)))
        self.inputs.again(frames.Owned(self._rooms.host, self._restarted))
        while (next_ := await self._next(self._cell)) is not None:
            if isinstance(next_, Quiet):
                if await self._fell_asleep(self._cell, release):
                    return True
                continue
            if not self._skipped or deaths.name_of(next_, self.inputs.timer.wake_at) not in self._skipped:
                await self._take(self._cell, next_)
            if self._release is None and self._snapshots.due(self.head_seq):
                await self._snapshots.take(self._cell)
            if self._release is not None:
                if await release(self._release, self.head_seq, None):
                    return True
                self._release = None
                self.inputs.look()  # commands raced in: answering each makes the core ask for its release again
        await self._snapshots.at_release(self._cell, self.head_seq)
        return False

    async def close(self) -> None:
        """End the cell and everything under way. Idempotent."""
        self.inputs.close()
        try:
            await self._runs.close()
        finally:  # its successor may not wait for us: then at least the pipe is closed
            if self._cell is not None:
                await self._cell.close()

    async def _next(self, cell: Cell) -> frames.Input | Quiet | None:
        try:
            return await self.inputs.next()
        except CellDied:
            raise await cell.death() from None

    async def _fell_asleep(self, cell: Cell, release: Release) -> bool:
        """Hibernate when only a command, or a timer that is far enough away, has the session do something again."""
        now, wake_at = runtime.now_us(), self.inputs.timer.wake_at
        soon = wake_at is not None and wake_at < now + round(self._rooms.quiet_s * 1_000_000)
        if soon or self._skipped or self._runs.busy or not self.inputs.empty:
            return False
        said = await cell.snapshot(if_idle=True)
        if not said.idle:
            return False
        await self._snapshots.keep_at_release(cell, said)
        failpoints.hit("celld.hibernate.before")
        if wake_at is not None:
            wake_at = min(wake_at, now + round(limits.WAKE_AHEAD_S_MAX * 1_000_000))
        if await release("hibernate", self.head_seq, wake_at):
            return True
        self.inputs.look()
        return False

    def _gone(self, why: str) -> None:
        self.inputs.break_off(SessionGone(why))

    def _pass_on(self, host: str) -> None:
        self.passed_on = host
        self.inputs.stop()

    # Restore

    async def _restore(self, cell: Cell) -> None:
        """Fold the log into the cell and the facts, part by part; what a good snapshot covers is not read.

        To its end even where an event cannot be folded: the log may say already that the session has failed.
        """
        unfoldable = ""
        key = self._held.key
        head = await self._patiently_head()
        if head.sandbox_host:
            self.facts.place = Place(head.sandbox_host, head.ledger_id, head.workspace_no)
        seq = 0 if self._whole_log else await self._snapshots.resume(cell)
        while events := await self._patiently_page(seq):
            for part in self._parts([await self._filled(event) for event in events]):
                await cell.feed(frames.Restore(key.session, tuple(part), last=False))
            for event in events:
                if event.seq != seq + 1:
                    raise LogTruncated(f"event {seq + 1} is missing")
                seq = event.seq
                try:
                    self.facts.note(event, event.at)
                except Unfoldable as error:
                    unfoldable = unfoldable or f"event {seq} cannot be folded: {error}"
        if seq < max(self.head_seq, head.head_seq):
            raise LogTruncated(f"the log ends at {seq}, it was at {max(self.head_seq, head.head_seq)}")
        if self._snapshots.seq > head.head_seq:
            raise LogTruncated(f"the log ends at {head.head_seq}, a snapshot of it is at {self._snapshots.seq}")
        if self.facts.failed is not None:
            raise SessionFailed(self.facts.failed)
        if unfoldable:
            raise LogUnfoldable(unfoldable)
        restored = await cell.restore([frames.Restore(key.session, (), last=True)])
        if restored != seq:
            raise CellWrong(f"the cell is at {restored}, the log at {seq}")
        self.head_seq = seq
        self._restored = True
        runtime.log().info("session restored", session=key.session, seq=seq, snapshot=self._snapshots.seq)

    def _parts(self, events: list[Event]) -> list[list[Event]]:
        """Cut a page so that no frame carries more than a few attachments."""
        parts: list[list[Event]] = [[]]
        size = 0
        for event in events:
            size += len(event.attachment or b"")
            if size > _PART_BYTES_MAX and parts[-1]:
                parts.append([])
                size = len(event.attachment or b"")
            parts[-1].append(event)
        return parts

    async def _filled(self, event: Event) -> Event:
        """Give a resources.applied its compiled set. Raises SessionFailed when that is lost."""
        content_name = event.data.get("resources") if event.type == _APPLIED and isinstance(event.data, dict) else None
        if not isinstance(content_name, str):
            return event  # a row without one is for the fold to refuse
        content = await self._blob(content_name)
        if content is None:
            raise SessionFailed(f"the compiled set {content_name} of event {event.seq} is not in the object store")
        fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
        return Event(**fields | {"attachment": content})

    async def _patiently_head(self) -> log.Head:
        while True:
            try:
                head = await log.head(self._rooms.pool, self._held.key)
            except outcome.Fault as error:
                await self._wait_for_database(error)
                continue
            if head is None:
                raise SessionGone("there is no such session")
            return head

    async def _patiently_page(self, after: int) -> list[Event]:
        while True:
            try:
                return await log.page(self._rooms.pool, self._held.key, after)
            except outcome.Fault as error:
                await self._wait_for_database(error)

    async def _wait_for_database(self, error: outcome.Fault) -> None:
        runtime.log().warning("log not read", session=self._held.key.session, why=str(error)[:200])
        await asyncio.sleep(_RETRY_S)

    async def _blob(self, sha256: object) -> bytes | None:
        """Return a blob of the tenant, None when there is none of this name and content."""
        if not isinstance(sha256, str):
            return None
        try:
            content = await asyncio.to_thread(self._rooms.store.get, blob_key(self._held.key.tenant, sha256))
        except (ObjectMissing, ValueError):
            return None
        return content if codec.sha256_hex(content) == sha256 else None

    # Decide, commit, act

    async def _take(self, cell: Cell, input_: frames.Input) -> None:
        """Have an input decided, commit what was decided, begin its effects. Raises Poisonous as well."""
        if not self._watch.on:
            await self._carry_out(cell, input_, () if self._skipped else self.inputs.behind(input_))
            return
        try:
            name = deaths.name_of(input_, self.inputs.timer.wake_at)
            async with self._watch.over(name, a_command=isinstance(input_, frames.Delivered)):
                await self._carry_out(cell, input_)
        except Poisonous:
            self.delivering = input_
            raise

    async def _carry_out(self, cell: Cell, input_: frames.Input, more: tuple[frames.Input, ...] = ()) -> None:
        """Have an input decided, and with it what the cell takes of ``more``; the rest waits on."""
        now = max(runtime.now_us(), self.facts.last_at)  # another host's clock may have been ahead of ours
        for one in (input_, *more):
            if isinstance(one, frames.Delivered):
                failpoints.hit(f"celld.deliver.{one.type}")
        shown = await self._with_attachment(input_)
        self.delivering = None if more else input_
        try:
            decided = await cell.decide(shown, now, more)
        except codec.FrameRefused as error:
            if not more:
                raise InputRejected(f"it does not fit the pipe: {error}") from error
            self.inputs.again(*more)  # nothing was sent: alone it shows whose fault it is
            await self._carry_out(cell, input_)
            return
        self.inputs.again(*more[decided.taken - 1 :])
        self.delivering = input_ if decided.taken == 1 else None
        decision = decided.decision
        if decided.base_seq != self.head_seq:
            raise CellWrong(f"the cell decided at {decided.base_seq}, the log is at {self.head_seq}")
        first_seq = self.head_seq + 1
        if decision.events and not await self._commit(cell, input_, decision, now):
            self.delivering = None
            return
        self.delivering = None
        self.inputs.timer.arm(self._next_wake(input_, decision, now))
        for effect in decision.effects:
            perform(effect, first_seq, self._runs, self._note_release)
        self._runs.known = self._runs.known or isinstance(input_, frames.Owned)

    @staticmethod
    def _next_wake(input_: frames.Input, decision: frames.Decision, now: int) -> int | None:
        """Return when to wake the core; one that wants to be called at once and then does nothing may not spin."""
        wake_at = decision.wake_at
        idle = isinstance(input_, frames.Tick) and not decision.events
        return now + _IDLE_TICK_US if wake_at is not None and idle and wake_at <= now else wake_at

    async def _commit(self, cell: Cell, input_: frames.Input, decision: frames.Decision, now: int) -> bool:
        """Write a decision; False when it was not written and its input comes again."""
        key, epoch, blamed = self._held.key, self._held.epoch, self.delivering
        try:
            made = item.build(key, epoch, self.head_seq, runtime.new_id(), now, decision, delivered=self._watch.notes)
        except item.Unwritable as error:
            raise InputRejected(str(error)) from error
        self.delivering = None  # from here on the cell has answered: its death would be nobody's
        failpoints.hit("celld.commit.before")
        became = await self._rooms.committer.commit(made)
        failpoints.hit("celld.commit.after")
        self._raise_unless_ours(became, blamed)
        if became.status == "lock_busy":
            cell.aborted("lock_busy", became.detail)
            self.inputs.again(_lock_busy(decision, became.detail), input_)
            return False
        self._watch.committed()
        cell.committed(self.head_seq + 1, now, epoch)
        self.head_seq = made.last_seq
        for event in decision.events:
            self.facts.note(event, now)
        self._rooms.moved(key, self.head_seq)
        return True

    def _raise_unless_ours(self, became: Outcome, blamed: frames.Input | None) -> None:
        match became.status:
            case "committed" | "lock_busy":
                return
            case "fenced" | "gone":
                raise SessionGone(became.status)
            case "moved_head":
                raise CellWrong(f"the log is at {became.seq}, the cell decided on {self.head_seq}")
            case "truncated":
                raise LogTruncated(f"the log ends at {became.seq}, it was at {self.head_seq}")
            case "rejected":
                self.delivering = blamed
                raise InputRejected(became.detail)

    async def _with_attachment(self, input_: frames.Input) -> frames.Input:
        """Bring along the compiled set that an apply refers to; the core says so when there is none."""
        if not isinstance(input_, frames.Delivered) or input_.type != "apply" or not isinstance(input_.payload, dict):
            return input_
        generation = input_.payload.get("generation")
        content = await self._blob(generation.get("resources")) if isinstance(generation, dict) else None
        return frames.Delivered(
            input_.command_id, input_.lane, input_.inbox_seq, input_.type, input_.payload, attachment=content
        )

    def _note_release(self, mode: Mode) -> None:
        self._release = mode


def _lock_busy(decision: frames.Decision, detail: str) -> frames.LockBusy:
    """Say which lock kept a decision from being written: ``detail`` is the key, a blank, the holder."""
    key, _, holder = detail.rpartition(" ")
    taker = next((change.execution_id for change in decision.takes if change.key == key), "")
    return frames.LockBusy(taker, key, holder)
