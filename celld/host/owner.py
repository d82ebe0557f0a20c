"""The owner of one session: life after life of its cell under one epoch, until it is released, lost or has failed.

Made by ``owners`` for each session this host acquired. It decides what follows from a death; it never decides anything
about the session's work. It writes events of its own only to set aside what kills cells.
"""

from __future__ import annotations

import asyncio
from typing import Final

import prometheus_client

from celld.cell.wire import EXIT_REPLAY
from celld.host.deaths import OWNED, Deaths
from celld.host.inputs import Overflow
from celld.host.life import CellWrong, InputRejected, Life, LogTruncated, LogUnfoldable, SessionFailed, SessionGone
from celld.host.processes import CellDied
from celld.host.rooms import Rooms
from celld.host.watch import Poisonous, Watch
from celld.plane import inbox, item, log
from celld.plane.key import Held
from celld.plane.ownership import Mode
from migrations import outcome
from setpoint import runtime
from setpoint.contracts import cell as frames
from setpoint.contracts.event import NewEvent

DEATHS: Final = prometheus_client.Counter("setpoint_celld_cell_deaths_total", "Cells that ended unasked")
_RETRY_S: Final = 0.1
_ENDS: Final = (
    *(CellDied, CellWrong, Overflow, InputRejected, Poisonous),
    *(LogTruncated, LogUnfoldable, SessionFailed),
)
"""What a life ends of without the session being lost."""

_SKIPPED_MAX: Final = 1000


class Owner:
    """One owned session. ``run`` ends when it is this host's no more; ``stop`` asks for that."""

    def __init__(self, rooms: Rooms, held: Held) -> None:
        self._rooms, self.held = rooms, held
        self._deaths = Deaths()
        self._watch = Watch(rooms.pool, held, rooms.suspects)
        self._skipped: frozenset[str] = frozenset()
        self._whole_log, self._alone = False, False
        self._head_seq = held.head_seq
        self._stop, self._looked = asyncio.Event(), asyncio.Event()
        self._life: Life | None = None
        self.resting: str | None = None
        """Why nothing is done with the session, None while it lives."""

    @property
    def cell_pid(self) -> int | None:
        """Return the pid of the session's cell, None while there is none."""
        return self._life.cell_pid if self._life is not None else None

    def look(self) -> None:
        """Look into the inbox: somebody says there is something."""
        self._looked.set()
        if self._life is not None:
            self._life.inputs.look()

    def stop(self) -> None:
        """Give the session to another host at the next chance."""
        self._stop.set()
        self._looked.set()
        if self._life is not None:
            self._life.inputs.stop()

    async def run(self) -> None:
        """Own the session until it is released or lost."""
        session = self.held.key.session
        try:
            await self._live()
        except SessionGone as error:
            runtime.log().warning("session lost", session=session, epoch=self.held.epoch, why=str(error))

    async def _live(self) -> None:
        restarted = False
        await self._watch.begin()
        while not self._stop.is_set():
            life = self._life = self._new_life(restarted)
            ended: Exception | None = None
            try:
                if await life.run(self._released):
                    return
            except _ENDS as error:
                ended = error
            finally:
                self._life = None
                self._head_seq = life.head_seq
                await life.close()
            if ended is not None:
                await self._after(life, ended)
            elif life.passed_on is not None and not self._stop.is_set():
                runtime.log().warning("session passed on", session=self.held.key.session, to=life.passed_on)
                await self._released("move", self._head_seq, target=life.passed_on)
                return
            restarted = True
        await self._released("drain", self._head_seq)

    def _new_life(self, restarted: bool) -> Life:
        held = Held(self.held.key, self.held.epoch, self._head_seq, self.held.answered_s)
        return Life(
            *(self._rooms, held, self._watch),
            restarted=restarted,
            skipped=self._skipped,
            whole_log=self._whole_log,
            alone=self._alone,
        )

    async def _after(self, life: Life, ended: Exception) -> None:
        """Do what follows from the end of a life: the next one begins after it."""
        name = life.delivering_name()
        self._alone = self._alone or isinstance(ended, CellDied | CellWrong)
        if isinstance(ended, CellDied) and ended.shared:  # whose fault it was shows where each is alone
            DEATHS.inc()
            self._say("cell lost with others", why=str(ended), input=name)
            return
        if life.failed_from_snapshot:  # it may be the snapshot's fault, and the log does without
            runtime.log().error("snapshot distrusted", session=self.held.key.session, why=str(ended))
            self._whole_log = True
            return
        match ended:
            case LogTruncated():
                runtime.log().error("log truncated: session quarantined", session=self.held.key.session, why=str(ended))
                await self._rest(f"truncated: {ended}", recoverable=False)
            case SessionFailed():
                self._say("session rests", why=str(ended))
                await self._rest(str(ended))
            case LogUnfoldable():
                await self._fail(str(ended))
            case Overflow():
                self._say("too much at once", why=str(ended))
                await self._pause(_RETRY_S)
            case Poisonous():
                self._say("input set aside", why=str(ended))
                await self._set_aside(life.delivering, name)
            case CellDied() if ended.code == EXIT_REPLAY:
                DEATHS.inc()
                await self._fail("its log cannot be folded by this version")
            case _:
                DEATHS.inc()
                self._say("cell lost", why=str(ended), input=name)
                await self._after_death(life.delivering, name)

    async def _after_death(self, killer: frames.Input | None, name: str | None) -> None:
        self._watch.died(name)
        if self._deaths.note(name, runtime.boottime_s()) == "again":
            await self._pause(self._deaths.pause_s())
        else:
            await self._set_aside(killer, name)

    async def _set_aside(self, killer: frames.Input | None, name: str | None) -> None:
        """Go on without an input that kills; without the first of all, or when no input is to blame, not at all."""
        if killer is None or name is None or name == OWNED:
            await self._fail("its cells keep dying")
            return
        self._watch.clear(name)
        await self._quarantine(killer, name)

    async def _quarantine(self, killer: frames.Input, name: str) -> None:
        """Set an input aside that killed three cells, with an event, and go on without it."""
        self._say("input quarantined", input=name)
        message = "three cells, or the hosts of cells, died of it; it was set aside"
        if isinstance(killer, frames.Delivered):
            place = {"lane": killer.lane, "inbox_seq": killer.inbox_seq}
            await self._write(
                NewEvent("command.accepted", place | {"type": killer.type}, command_id=killer.command_id),
                NewEvent(
                    "command.quarantined",
                    {"lane": killer.lane, "result": {"message": message}},
                    command_id=killer.command_id,
                ),
            )
        else:
            if len(self._skipped) < _SKIPPED_MAX:
                self._skipped |= {name}
            await self._write(NewEvent("input.quarantined", {"input": name, "message": message}))

    async def _fail(self, reason: str) -> None:
        runtime.log().error("session failed", session=self.held.key.session, why=reason)
        await self._write(NewEvent("session.failed", {"reason": reason}))
        await self._rest(reason)

    async def _write(self, *events: NewEvent) -> None:
        """Append events of the shell's own; the next life folds them. Raises SessionGone."""
        now = runtime.now_us()
        head = await self._head()
        made = item.build(
            self.held.key, self.held.epoch, head.head_seq, runtime.new_id(), now, frames.Decision(events=events)
        )
        became = await self._rooms.committer.commit(made)
        if became.status != "committed":
            raise SessionGone(f"{events[0].type} was not written: {became.status} {became.detail}")
        self._head_seq = made.last_seq
        self._rooms.moved(self.held.key, self._head_seq)

    async def _head(self) -> log.Head:
        while True:
            try:
                head = await log.head(self._rooms.pool, self.held.key)
            except outcome.Fault:
                await asyncio.sleep(_RETRY_S)
                continue
            if head is None:
                raise SessionGone("there is no such session")
            return head

    async def _released(self, mode: Mode, head_seq: int, wake_at: int | None = None, target: str | None = None) -> bool:
        """Release the session; False when commands came in between and are to be answered first."""
        key, epoch = self.held.key, self.held.epoch
        while True:
            try:
                status, seq = await self._rooms.ownership.release(key, epoch, head_seq, mode, wake_at, target)
            except outcome.Fault:
                await asyncio.sleep(_RETRY_S)
                continue
            if status == "moved_head":
                head_seq = seq
            elif status == "busy":
                self._say("release put off: commands wait", mode=mode)
                return False
            else:
                self._say("session released", mode=mode, answer=status)
                self._rooms.moved(self.held.key, seq)
                return True

    async def _rest(self, why: str, *, recoverable: bool = True) -> None:
        """Keep the session without doing anything, until this host gives it away or somebody recovers it."""
        self.resting = why
        while True:
            self._looked.clear()
            if self._stop.is_set() or (recoverable and await self._recovered()):
                break
            await self._looked.wait()
        self.resting = None

    async def _recovered(self) -> bool:
        """Write down that the session is taken up again, when a command asks for that. Raises SessionGone."""
        try:
            rows = await inbox.read(self._rooms.pool, self.held.key, (0, 0))
        except outcome.Fault:
            return False  # the next poll looks again
        asked = next((row for row in rows if row.type == "recover"), None)
        if asked is None:
            return False
        reason = asked.payload.get("reason", "") if isinstance(asked.payload, dict) else ""
        place = {"lane": asked.lane, "inbox_seq": asked.inbox_seq, "type": asked.type}
        await self._write(
            NewEvent("command.accepted", place, command_id=asked.command_id),
            NewEvent("session.recovered", {"reason": reason}, command_id=asked.command_id),
            NewEvent("command.succeeded", {"lane": asked.lane, "result": {}}, command_id=asked.command_id),
        )
        self._say("session recovered", reason=reason)
        self._deaths, self._whole_log = Deaths(), True
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _say(self, what: str, **more: object) -> None:
        runtime.log().info(what, session=self.held.key.session, **more)
