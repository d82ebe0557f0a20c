"""Where one life of a session works: its sandbox host, reached, fenced, with the workspace in place (celld.host.bench).

It fences before anything else in each connection, and moves the session to another sandbox host only when the former
one cannot be reached any more, or lost its ledger, and nothing can still be changing things there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celld.host.bench import PASSED_ON_MAX, UNREACHABLE_S
from celld.host.choice import Candidate, choose
from celld.host.facts import Place, SessionFacts
from celld.plane.key import Held
from setpoint.contracts import cell as frames
from setpoint.contracts import run
from tests.sim.kernel import Expected, Future, TimedOut, Work
from tests.sim.link import Link, LinkDown

if TYPE_CHECKING:
    from tests.sim.host import CellHost

_FENCE_S_MAX: Final = 5.0
_MATERIALIZE_S_MAX: Final = 120.0
_WAIT_S: Final = 0.5
_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COMMIT_S: Final = 10.0


class Superseded(Expected):
    """A sandbox host knows a newer epoch of this session: it is not ours any more."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A link on which this epoch is the floor, and what the host said when it fenced."""

    link: Link
    answer: run.Fenced


class Gate:
    """One process at a time, in the order of asking."""

    __slots__ = ("_waiting", "locked")

    def __init__(self) -> None:
        self.locked = False
        self._waiting: list[Future] = []

    def enter(self) -> Work:
        """Wait for one's turn; ``leave`` follows."""
        while self.locked:
            turn = Future()
            self._waiting.append(turn)
            yield turn
        self.locked = True

    def leave(self) -> None:
        """Let the next one in."""
        self.locked = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.give()


class Bench:
    """The session's place under one owner. ``busy`` tells whether a run may still be changing things there."""

    def __init__(
        self,
        host: CellHost,
        held: Held,
        facts: SessionFacts,
        push: Callable[[frames.Input], None],
        busy: Callable[[], bool],
        pass_on: Callable[[str], None],
    ) -> None:
        self._host, self._held, self._facts = host, held, facts
        self._push, self._busy, self._pass_on = push, busy, pass_on
        self._fencing, self._moving = Gate(), Gate()
        self._fenced: tuple[str, int, run.Fenced] | None = None
        self._unreached: tuple[Place, float] | None = None
        self._spoilt: tuple[Place, str] | None = None
        self._chosen = ""

    @property
    def is_moving(self) -> bool:
        """Tell whether the session is being moved to another workspace."""
        return self._moving.locked

    def ready(self) -> Work:
        """Wait until the session's sandbox host can be used, moving the session if that is what it takes."""
        return (yield from self.ready_by(math.inf))

    def ready_by(self, until_s: float) -> Work:
        """Wait as ``ready`` does; None when ``until_s`` comes first."""
        while self._host.boottime_s() < until_s:
            place = self._facts.place
            assert place is not None, "a run is asked for before the workspace stands"
            fenced = yield from self._reach(place)
            if fenced is not None and self._why_spoilt(place) is None:
                if fenced.answer.token.ledger_id == place.ledger_id:
                    return fenced
                self._spoilt = place, "its ledger is new"
            if self._must_move(place) and not self._busy():
                yield from self._move(place)
            else:
                yield from self._host.change(_WAIT_S)
        return None

    def ask_again(self) -> None:
        """Have the next use fence anew: what was said of the runs may be older than what is asked about."""
        self._fenced = None

    def learn(self, until_s: float) -> Work:
        """Return what the place's host says of the session's runs; None when ``until_s`` comes first."""
        while (left_s := until_s - self._host.boottime_s()) > 0:
            place = self._facts.place
            fenced = (yield from self._reach(place)) if place is not None else None
            if fenced is not None and place is not None and fenced.answer.token.ledger_id == place.ledger_id:
                return fenced.answer
            yield from self._host.change(min(_WAIT_S, left_s))
        return None

    def materialize(self, effect: frames.Materialize) -> Work:
        """Prepare the workspace of a generation and push the answer."""
        for pause_s in pauses():
            place = self._facts.place
            if place is None:
                fenced, number = (yield from self._first()), 1
            else:
                fenced = yield from self.ready()
                place = self._facts.place
                number = place.workspace_no if place is not None else 1
            answer = yield from self._ask(fenced.link, number, effect.generation, effect.files)
            if self.is_moving or self._facts.place != place:
                yield pause_s  # the session has been moved: what was made is not its place any more
                continue
            if isinstance(answer, frames.Materialized):
                self._push(answer)
                return
            if isinstance(answer, run.Refused) and not answer.retry and answer.code in ("missing-object", "invalid"):
                self._push(frames.MaterializeFailed(effect.generation, answer.code))
                return
            if isinstance(answer, run.Refused) and answer.code == "unknown-workspace":
                self.spoil(answer.code, fenced.link.name, number)
            yield pause_s

    def spoil(self, why: str, host: str, workspace_no: int) -> None:
        """Note that a workspace is not there any more: before the next use it is made anew."""
        place = self._facts.place
        if place is not None and (place.host, place.workspace_no) == (host, workspace_no):
            self._spoilt = place, why

    def may_start(self) -> Work:
        """Wait until the lease allows to start something."""
        lease = self._host.lease
        while not lease.may_start_effects():
            yield from lease.renewal_after(lease.sent_s)

    def refusal(self, answer: object) -> run.Refused | None:
        """Return a refusal that is not about the epoch; None for an answer that is none. Raises Superseded."""
        if not isinstance(answer, run.Refused):
            return None
        if answer.code == "stale-epoch":
            raise Superseded
        return answer

    def holds(self, host: str) -> bool:
        """Tell whether the session's place is on this host and was reached in the connection that is up now."""
        place, link = self._facts.place, self._host.links[host]
        if self._fenced is None or place is None or not link.connected:
            return False
        fenced_on, era, answer = self._fenced
        return (fenced_on, era, answer.token.ledger_id) == (place.host, link.era, place.ledger_id) and fenced_on == host

    def _first(self) -> Work:
        while True:
            link = self._choose(sticky=self._chosen)
            fenced = (yield from self._fence(link)) if link is not None else None
            if fenced is not None:
                self._chosen = fenced.link.name
                return fenced
            yield from self._host.change(_WAIT_S)

    def _choose(self, *, sticky: str = "", avoid: str = "") -> Link | None:
        links = self._host.links
        held = links.get(sticky)
        if held is not None and held.connected:
            return held
        random = self._host.rooms.random
        reached = [Candidate(name, len(link.sandbox.live), 64) for name, link in links.items() if link.connected]
        chosen = choose(reached, (random.getrandbits(16), random.getrandbits(16)), avoid)
        return links[chosen] if chosen is not None else None

    def _move(self, place: Place) -> Work:
        """Make a new workspace, here when this host lost the old one, else elsewhere; wait until the log knows it."""
        yield from self._moving.enter()
        try:
            if self._facts.place != place or self._busy() or not self._must_move(place):
                return
            here = self._host.links[place.host]
            stays = self._why_spoilt(place) is not None and here.connected
            link = here if stays else self._choose(avoid=place.host)
            fenced = (yield from self._fence(link)) if link is not None else None
            if fenced is None:
                yield from self._host.change(_WAIT_S)
                return
            generation, files = self._facts.generation, self._facts.files
            answer = yield from self._ask(fenced.link, place.workspace_no + 1, generation, files)
            if not isinstance(answer, frames.Materialized):
                yield _PAUSES_S[-1]
                return
            self._host.rooms.met["workspace made anew"] += 1
            self._push(answer)
            deadline_s = self._host.boottime_s() + _COMMIT_S
            while self._facts.place == place and self._host.boottime_s() < deadline_s:
                yield from self._host.change(_PAUSES_S[0])
        finally:
            self._moving.leave()

    def _ask(self, link: Link, number: int, generation: int, files: str) -> Work:
        """Ask for a workspace at a generation; None when nobody knows what came of it."""
        key, epoch = self._held.key, self._held.epoch
        try:
            yield from self.may_start()
            token = yield from link.token(self._host.lease)
            frame = run.Materialize(link.next_id(), "", token, key.session, epoch, number, generation, files)
            answer = yield link.request(frame, _MATERIALIZE_S_MAX)
        except (LinkDown, TimedOut):
            return None
        if isinstance(answer, run.Done):
            return frames.Materialized(generation, link.name, token.ledger_id, number)
        return self.refusal(answer)

    def _reach(self, place: Place) -> Work:
        """Return the fenced link to a place's host, None while it cannot be had; keeps count of how long."""
        link = self._host.links[place.host]
        fenced = (yield from self._fence(link)) if link.connected else None
        if fenced is not None:
            self._unreached = None
        elif self._unreached is None or self._unreached[0] != place:
            self._unreached = place, self._host.boottime_s()
        elif self._is_given_up(place) and (other := self._other_owner(place, link)) is not None:
            self._pass_on(other)
            self._unreached = place, self._host.boottime_s()
        return fenced

    def _why_spoilt(self, place: Place) -> str | None:
        """Return why the workspace of this place is lost; None when that is not known: another's loss says nothing."""
        return self._spoilt[1] if self._spoilt is not None and self._spoilt[0] == place else None

    def _must_move(self, place: Place) -> bool:
        """Tell whether the workspace of this place is lost, or its host has not been reached for too long."""
        return self._why_spoilt(place) is not None or self._is_given_up(place)

    def _is_given_up(self, place: Place) -> bool:
        since_s = self._unreached[1] if self._unreached is not None and self._unreached[0] == place else math.inf
        return self._host.boottime_s() - since_s >= UNREACHABLE_S

    def _other_owner(self, place: Place, link: Link) -> str | None:
        """Return a cell host that has not tried to reach the place's host; None when it is to be given up.

        A sandbox host that is up is one that brokers hear of. Nobody gives orders to hosts here, or declares one dead.
        """
        tried = self._facts.tried
        untried = sorted(self._host.others - tried - {self._host.name})
        if self._why_spoilt(place) is not None or len(tried) >= PASSED_ON_MAX or not untried:
            return None
        if not link.sandbox.up and not self._busy():
            return None
        return untried[self._host.rooms.random.getrandbits(16) % len(untried)]

    def _fence(self, link: Link) -> Work:
        """Make this epoch the floor on a host, once per connection; None when it did not answer."""
        yield from self._fencing.enter()
        try:
            if self._fenced is not None and self._fenced[:2] == (link.name, link.era):
                return Fenced(link, self._fenced[2])
            era = link.era
            frame = run.Fence(link.next_id(), "", self._held.key.session, self._held.epoch)
            try:
                answer = yield link.request(frame, _FENCE_S_MAX)
            except (LinkDown, TimedOut):
                return None
            if not isinstance(answer, run.Fenced):
                self.refusal(answer)
                return None
            self._fenced = (link.name, era, answer)
            return Fenced(link, answer)
        finally:
            self._fencing.leave()


def pauses() -> Iterator[float]:
    """Return the pauses between attempts in seconds: growing, then two for ever."""
    return itertools.chain(_PAUSES_S, itertools.repeat(_PAUSES_S[-1]))
