"""One life of a session: a cell is restored from the log, then fed; each decision is committed, then carried out.

The loop of ``celld.host.life`` around celld's own cell (``celld.cell.loop``). The core's rules are all in there; here
is only the order of things: one decision in flight, commit first, then act, and the next life reads the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celld.cell import snapshot
from celld.cell.loop import Cell, _Hosted, is_idle
from celld.core.decide import concluded, decide, decide_several
from celld.core.evolve import evolve
from celld.core.state import State, empty
from celld.host.facts import Place, SessionFacts
from celld.host.life import _lock_busy
from celld.plane import item as items
from celld.plane.key import Held
from migrations.outcome import Fault
from setpoint.contracts import cell as frames
from setpoint.contracts.event import Event, NewEvent, committed
from tests.sim.inputs import Inputs, Quiet
from tests.sim.items import of_decision
from tests.sim.kernel import Expected, Work
from tests.sim.postgres import reads
from tests.sim.postgres.item import Item, decode
from tests.sim.runs import Runs

if TYPE_CHECKING:
    from tests.sim.host import CellHost

_IDLE_TICK_US: Final = 1_000_000
_RETRY_S: Final = 0.2
_ENCODED_EVERY: Final = 32
_FOLDED_TWICE: Final = 0.04
_SNAPSHOT_SHARE: Final = 0.03
_WOKEN_MORE: Final = 8
"""Sessions wake up much more often than their owners die: so much rarer is the whole log folded for it."""


class SessionGone(Expected):
    """The session is another owner's, or no more: forget it."""


class LogTruncated(Expected):
    """The log is shorter than this host knows it was."""


class CellDied(Expected):
    """The cell's process is gone."""


class Defect(Expected):
    """The core, or the model of the shell, does not keep its word: the simulation has found something."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _AdoptingCell(Cell):
    """A cell that may be given a state folded before, in place of the events.

    A ``quick`` one takes the state that the core decided by for what the fold of the committed events is, as it must
    be; of the others each commit is held against it (habit: the fold is checked, but not every time).
    """

    def __init__(self, *, quick: bool) -> None:
        super().__init__()
        self._quick = quick
        self._decided: State | None = None

    def decide(self, frame: frames.Deliver) -> frames.Decided:
        """Decide as ``take`` does."""
        state = self.state(frame.session)
        if self._quick:
            turn, taken = decide_several(state, (frame.input, *frame.more), frame.now)
            self._decided = turn.state
            return frames.Decided(frame.session, frame.input_no, state.head_seq, concluded(state, turn), taken)
        decided = self.take(frame)
        assert isinstance(decided, frames.Decided), decided
        proposed: list[NewEvent] = []
        for one in (frame.input, *frame.more)[: decided.taken]:
            events = decide(state, one, frame.now).events
            proposed += events
            for new in events:
                event = committed(new, state.head_seq + 1, frame.now, frame.session, state.epoch)
                state = evolve(state, _with(event, getattr(one, "attachment", None)))
        assert decided.decision.events == tuple(proposed), "inputs are decided on otherwise together than one by one"
        self._decided = state
        return decided

    def commit(self, frame: frames.Committed) -> None:
        """Take note that the last decision is in the log."""
        assert self._decided is not None, "committed what was not decided"
        if self._quick:
            self.adopt(frame.session, self._decided)
        else:
            self.take(frame)
            assert self.state(frame.session) == self._decided, "the fold of the events is not what was decided by"
        self._decided = None

    def abort(self, frame: frames.Aborted) -> None:
        """Forget the last decision."""
        self._decided = None
        if not self._quick:
            self.take(frame)

    def adopt(self, session: str, state: State) -> None:
        """Begin with a state as if its events had just been restored."""
        self._sessions[session] = _Hosted(state, restored=True)

    def state(self, session: str) -> State:
        """Return the committed state."""
        return self._sessions[session].state


class Life:
    """A cell and what belongs to it."""

    def __init__(self, host: CellHost, held: Held, head_seq: int, *, restarted: bool) -> None:
        self._host, self._rooms, self._held = host, host.rooms, held
        self._restarted = restarted
        self.facts = SessionFacts()
        self.head_seq = head_seq
        self.inputs = Inputs(host, held)
        self.runs = Runs(host, held, self.facts, self.inputs.push, self._gone, self._pass_on)
        self._cell = _AdoptingCell(quick=host.rooms.random.random() >= _FOLDED_TWICE)
        self._input_no = 0
        self._release: str | None = None
        self.passed_on: str | None = None

    @property
    def syncs_open(self) -> bool:
        """Tell whether a sync or a tool is open in the log."""
        return bool(self.facts._changing)

    def run(self, release: Callable[[str, int, int | None], Work]) -> Work:
        """Live until the session is released (True) or is to be given away (False)."""
        yield 0.005
        yield from self._restore()
        self.inputs.again(frames.Owned(self._host.name, self._restarted))
        while (next_ := (yield from self.inputs.next())) is not None:
            if isinstance(next_, Quiet):
                if (yield from self._fell_asleep(release)):
                    return True
                continue
            yield from self._take(next_)
            if self._release is not None:
                if (yield from release(self._release, self.head_seq, None)):
                    return True
                self._release = None
                self.inputs.look()
        return False

    def _fell_asleep(self, release: Callable[[str, int, int | None], Work]) -> Work:
        """Hibernate when only a command, or a timer that is far enough away, has the session do something again."""
        rooms, now, wake_at = self._rooms, self._host.wall_us(), self.inputs.wake_at
        assert rooms.quiet_s is not None, "a session falls asleep where none does"
        soon = wake_at is not None and wake_at < now + round(rooms.quiet_s * 1_000_000)
        if soon or self.runs.busy or not self.inputs.empty or not is_idle(self.state()):
            return False
        if rooms.random.random() < _SNAPSHOT_SHARE:
            state, session = self.state(), self._held.key.session
            assert snapshot.decode(snapshot.encode(state), session) == state, "a snapshot is not what it was made of"
        if (yield from release("hibernate", self.head_seq, wake_at)):
            rooms.met["fell asleep"] += 1
            rooms.slept[self._held.key] = self.head_seq, self.facts.dump()
            return True
        rooms.met["sleep raced by a command"] += 1
        self.inputs.look()
        return False

    def close(self) -> None:
        """End everything under way. Idempotent."""
        self.inputs.arm(None)
        self.runs.close()

    def state(self) -> State:
        """Return the committed state of the cell."""
        return self._cell.state(self._held.key.session)

    def _gone(self, why: str) -> None:
        self.inputs.break_off(SessionGone(why))

    def _pass_on(self, host: str) -> None:
        self.passed_on = host
        self.inputs.stop()

    # Restore

    def _restore(self) -> Work:
        key = self._held.key
        head, log = yield from self._patiently(read_log, key.tenant, key.session)
        if head is None:
            raise SessionGone("there is no such session")
        if head.sandbox_host:
            self.facts.place = Place(head.sandbox_host, head.ledger_id or "", head.workspace_no)
        known, content = self._rooms.slept.get(key, (0, b""))
        if known and not self.facts.load(content):
            raise Defect(AssertionError("the shell's part of a snapshot cannot be read back"))
        for event in log[known:]:
            self.facts.note(event, event.at)
        seq = len(log)
        if seq < max(self.head_seq, head.head_seq):
            raise LogTruncated(f"the log ends at {seq}, it was at {max(self.head_seq, head.head_seq)}")
        self._cell.adopt(key.session, self._folded(log))
        self.head_seq = seq

    def _folded(self, log: list[Event]) -> State:
        """Fold the log, or what is new of it since somebody in this world folded it."""
        rooms, key = self._rooms, self._held.key
        before = rooms.folded.get(key)
        woken = len(log) > 1 and log[-2].type == "session.hibernated"
        every = rooms.refold_every * (_WOKEN_MORE if woken and rooms.refold_every > 1 else 1)
        whole = every and rooms.random.random() * every < 1
        state = empty(key.session) if before is None or whole or before.head_seq > len(log) else before
        for event in log[state.head_seq :]:
            state = evolve(state, self._filled(event))
        if before is not None and before.head_seq == state.head_seq:
            assert before == state, f"the fold of the log of {key.session} is not the state at {state.head_seq}"
        rooms.folded[key] = state
        return state

    def _filled(self, event: Event) -> Event:
        if event.type != "resources.applied":
            return event
        return _with(event, self._rooms.blobs[event.data["resources"]])

    def _patiently(self, fn: Callable[..., Any], *args: Any) -> Work:
        while True:
            try:
                return (yield self._host.ask(fn, *args))
            except Fault:
                yield _RETRY_S

    # Decide, commit, act

    def _take(self, input_: frames.Input) -> Work:
        """Have an input decided, and what may be of those behind it; commit that, begin its effects."""
        rooms, session, more = self._rooms, self._held.key.session, self.inputs.behind(input_)
        now = max(self._host.wall_us(), self.facts.last_at)
        self._input_no += 1
        try:
            shown = self._with_attachment(input_)
            decided = self._cell.decide(frames.Deliver(session, self._input_no, now, shown, more))
        except Exception as error:
            raise Defect(error) from error
        decision = decided.decision
        rooms.decisions += decided.taken
        rooms.met["several inputs in one decision"] += decided.taken > 1
        self.inputs.again(*more[decided.taken - 1 :])
        assert self.state().head_seq == self.head_seq, "the cell is not where the log is"
        first_seq = self.head_seq + 1
        if decision.events and not (yield from self._commit(input_, decision, now)):
            return
        wake_at = decision.wake_at
        idle = isinstance(input_, frames.Tick) and not decision.events
        self.inputs.arm(now + _IDLE_TICK_US if wake_at is not None and idle and wake_at <= now else wake_at)
        for effect in decision.effects:
            self._perform(effect, first_seq)

    def _commit(self, input_: frames.Input, decision: frames.Decision, now: int) -> Work:
        """Write a decision; False when it was not written and its input comes again."""
        key, epoch = self._held.key, self._held.epoch
        became = yield self._host.commit(self.item(decision, now))
        match became.status:
            case "committed":
                self._host.doubtful.discard(key.session)
            case "lock_busy":
                self._rooms.met["lock_busy"] += 1
                self._cell.abort(frames.Aborted(key.session, self._input_no, "lock_busy", became.detail))
                self.inputs.again(_lock_busy(decision, became.detail), input_)
                return False
            case "fenced" | "gone":
                raise SessionGone(became.status)
            case "moved_head" if key.session in self._host.doubtful:
                self._host.doubtful.discard(key.session)
                self._rooms.met["refused, then late"] += 1
                raise CellDied
            case _:
                raise Defect(AssertionError(f"{became} to a decision at {self.head_seq} of {key.session}"))
        self._cell.commit(frames.Committed(key.session, self._input_no, self.head_seq + 1, now, epoch))
        self.head_seq += len(decision.events)
        known = self._rooms.folded.get(key)
        if known is None or known.head_seq < self.head_seq:
            self._rooms.folded[key] = self.state()
        for event in decision.events:
            self.facts.note(event, now)
        return True

    def item(self, decision: frames.Decision, now: int) -> Item:
        """Return what a decision becomes in the database, one in so many by way of its JSON, as really all do."""
        key, epoch, batch = self._held.key, self._held.epoch, self._rooms.new_id()
        if self._rooms.ids % _ENCODED_EVERY == 0:
            body = items.build(key, epoch, self.head_seq, batch, now, decision).body
            return decode(b"[" + body + b"]")[0]
        return of_decision(key, epoch, self.head_seq, batch, now, decision)

    def _with_attachment(self, input_: frames.Input) -> frames.Input:
        if not isinstance(input_, frames.Delivered) or input_.type != "apply" or not isinstance(input_.payload, dict):
            return input_
        content = self._rooms.blobs.get(input_.payload["generation"]["resources"])
        return frames.Delivered(
            input_.command_id, input_.lane, input_.inbox_seq, input_.type, input_.payload, attachment=content
        )

    def _perform(self, effect: frames.Effect, first_seq: int) -> None:
        match effect:
            case frames.Materialize():
                self.runs.materialize(effect)
            case frames.StartRun():
                self.runs.start(effect, effect.seq or first_seq + effect.seq_offset)
            case frames.RecoverRun():
                self.runs.recover(effect)
            case frames.AttachRun():
                self.runs.attach(effect)
            case frames.CancelRun():
                self.runs.cancel(effect)
            case frames.Release():
                self._release = effect.mode


def _with(event: Event, attachment: bytes | None) -> Event:
    """Give a resources.applied its compiled set."""
    if event.type != "resources.applied":
        return event
    fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
    return Event(**fields | {"attachment": attachment})


def read_log(db: Any, tenant: str, session: str) -> tuple[Any, list[Event]]:
    """Read the head row and the whole log at once."""
    return reads.session_row(db, tenant, session), reads.log_page(db, tenant, session, 0, 1_000_000)
