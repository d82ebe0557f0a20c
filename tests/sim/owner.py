"""The owner of one session on one host: life after life of its cell under one epoch (``celld.host.owner``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celld.host.deaths import Deaths
from celld.plane.key import Epoch, Held
from migrations.outcome import Fault
from setpoint.contracts import cell as frames
from setpoint.contracts import run
from setpoint.contracts.event import NewEvent
from tests.sim.kernel import Future, Task, Work
from tests.sim.life import CellDied, Defect, Life, LogTruncated, SessionGone
from tests.sim.postgres import ownership

if TYPE_CHECKING:
    from tests.sim.host import CellHost

_RETRY_S: Final = 0.1


class Owner:
    """One owned session."""

    def __init__(self, host: CellHost, held: Held) -> None:
        self._host, self.held = host, held
        self.life: Life | None = None
        self.resting: str | None = None
        self._deaths = Deaths()
        self._head_seq = held.head_seq
        self._stop = Future()
        self._task: Task | None = None

    def start(self, forget: Callable[[Owner], object]) -> None:
        """Begin; ``forget`` is called when the session is this host's no more."""
        self._task = self._host.scope.spawn(self._run())
        self._task.ended.then(lambda ended: forget(self))

    def drop(self) -> None:
        """Stop where it stands."""
        if self._task is not None:
            self._task.cancel()
        if self.life is not None:
            self._note_loss(self.life)
            self.life.close()
            self.life = None

    def stop(self) -> None:
        """Give the session to another host at the next chance."""
        self._stop.give()
        if self.life is not None:
            self.life.inputs.stop()

    def look(self) -> None:
        """Look into the inbox."""
        if self.life is not None:
            self.life.inputs.look()

    def kill_cell(self) -> None:
        """Kill the cell's process."""
        if self.life is not None:
            self.life.inputs.break_off(CellDied())

    def link_lost(self, host: str) -> None:
        """Pass on that a link went down."""
        if self.life is not None:
            self.life.runs.link_lost(host)

    def expects(self, run_id: str) -> bool:
        """Tell whether what is pushed about a run is for this owner."""
        return self.life is not None and run_id in self.life.runs.expected

    def pushed(self, frame: run.StepDone | run.RunDone) -> None:
        """Take what is pushed."""
        if self.life is not None:
            self.life.runs.pushed(frame)

    def open_on(self, host: str) -> tuple[str, Epoch] | None:
        """Return session and epoch when runs on this host are to be kept alive."""
        return self.life.runs.open_on(host) if self.life is not None else None

    def _run(self) -> Work:
        try:
            yield from self._live()
        except SessionGone as error:
            self._host.rooms.met[f"gone {error}"] += 1
            if self.life is not None:
                self._note_loss(self.life)
                self.life.close()
                self.life = None

    def _note_loss(self, life: Life) -> None:
        if life.syncs_open:
            self._host.rooms.met["fence lost during a sync"] += 1

    def _live(self) -> Work:
        restarted = False
        while not self._stop.done:
            life = self.life = Life(self._host, self.held, self._head_seq, restarted=restarted)
            ended: Exception | None = None
            try:
                if (yield from life.run(self._released)):
                    life.close()
                    self.life = None
                    return
            except (CellDied, LogTruncated, Defect) as error:
                ended = error
            self.life = None
            self._head_seq = life.head_seq
            life.close()
            if isinstance(ended, Defect):
                raise ended.error
            assert not isinstance(ended, LogTruncated), f"the log of {self.held.key.session} is short: {ended}"
            if ended is not None:
                yield from self._after_death()
            elif life.passed_on is not None and not self._stop.done:
                self._host.rooms.met["passed on"] += 1
                yield from self._released("move", self._head_seq, target=life.passed_on)
                return
            restarted = True
        yield from self._released("drain", self._head_seq)

    def _after_death(self) -> Work:
        if self._deaths.note(None, self._host.boottime_s()) == "fail":
            yield from self._write(NewEvent("session.failed", {"reason": "its cells keep dying"}))
            self.resting = "failed"
            yield self._stop
        else:
            yield self._deaths.pause_s()

    def _write(self, *events: NewEvent) -> Work:
        """Append events of the shell's own."""
        life = Life(self._host, self.held, self._head_seq, restarted=True)
        became = yield self._host.commit(life.item(frames.Decision(events=events), self._host.wall_us()))
        if became.status != "committed":
            raise SessionGone(became.status)
        self._head_seq += len(events)

    def _released(self, mode: Any, head_seq: int, wake_at: int | None = None, target: str | None = None) -> Work:
        """Release the session; False when commands came in between."""
        key, epoch = self.held.key, self.held.epoch
        avoid = self._host.name if target is not None else None
        while True:
            try:
                row = yield self._host.ask(
                    ownership.release, key.tenant, key.session, *epoch, head_seq, mode, wake_at, target, avoid
                )
            except Fault:
                yield _RETRY_S
                continue
            if row.status == "moved_head":
                head_seq = row.seq
                continue
            return row.status != "busy"
