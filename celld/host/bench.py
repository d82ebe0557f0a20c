"""Where one life of a session works: its sandbox host, reached, fenced under this epoch, with the workspace in place.

Used by ``runs``. It fences before anything else in each connection, and moves the session to another sandbox host only
when the former one is drained, dead, or cannot be reached any more (or lost its ledger), and nothing can still be
changing things there. Before it gives up a host that it cannot reach, other cell hosts try (``pass_on``).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from celld.host.choice import choose
from celld.host.facts import Place, SessionFacts
from celld.host.rooms import Rooms
from celld.host.sandboxes import SandboxLink
from celld.plane.key import Held
from setpoint import runtime
from setpoint.contracts import cell as frames
from setpoint.contracts import run
from setpoint.link import LinkDown

UNREACHABLE_S: Final = 5.0
"""After so long without its sandbox host a session in which nothing can be changing things goes to another."""

PASSED_ON_MAX: Final = 3
"""So many cell hosts in a row give a session away because they cannot reach its sandbox host; the next one stays."""

_FENCE_S_MAX: Final = 5.0
_MATERIALIZE_S_MAX: Final = 120.0
_WAIT_S: Final = 0.5
_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COMMIT_S: Final = 10.0


class Superseded(Exception):
    """A sandbox host knows a newer epoch of this session: it is not ours any more."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A link on which this epoch is the floor, and what the host said when it fenced."""

    link: SandboxLink
    answer: run.Fenced


OpenRuns = Literal["none", "harmless", "changing"]
"""Nothing runs; evaluations alone may run; a sync or a tool may."""


class Bench:
    """The session's place under one owner. ``open_runs`` tells whether runs may be alive there, and whether one of them
    may still be changing things; ``pass_on`` has a certain other cell host try."""

    def __init__(
        self,
        rooms: Rooms,
        held: Held,
        facts: SessionFacts,
        push: Callable[[frames.Input], None],
        open_runs: Callable[[], OpenRuns],
        pass_on: Callable[[str], None],
    ) -> None:
        self._rooms, self._held, self._facts = rooms, held, facts
        self._push, self._open_runs, self._pass_on = push, open_runs, pass_on
        self._fencing, self._moving = asyncio.Lock(), asyncio.Lock()
        self._fenced: tuple[str, int, run.Fenced] | None = None
        self._unreached: tuple[Place, float] | None = None
        self._spoilt: tuple[Place, str] | None = None
        self._chosen = ""
        self._said = False

    @property
    def is_moving(self) -> bool:
        """Tell whether the session is being moved to another workspace: nothing may start in the old one."""
        return self._moving.locked()

    async def ready(self, *, stays: bool = True) -> Fenced:
        """Wait until the session's sandbox host can be used, moving the session if that is what it takes.

        ``stays``: what is asked for belongs to a run there; else nothing new begins on a host that is drained: the
        session leaves it first, when what runs there has ended. Raises Superseded.
        """
        fenced = await self.ready_by(math.inf, stays=stays)
        assert fenced is not None, "a wait without an end came to one"
        return fenced

    async def ready_by(self, until_s: float, *, stays: bool = True) -> Fenced | None:
        """Wait as ``ready`` does; None when ``until_s`` is over first. Raises Superseded.

        What may be changing things keeps the session from moving: who waits for the sake of such a run names an end.
        """
        while not self.is_over(until_s):
            place = self._facts.place
            assert place is not None, "a run is asked for before the workspace stands"
            fenced = await self._reach(place)
            if fenced is not None and self._why_spoilt(place) is None:
                if fenced.answer.token.ledger_id != place.ledger_id:
                    self._spoilt = place, "its ledger is new"
                elif stays or not self._is_drained(place):
                    return fenced
            if self._why_move(place) is not None:
                await self._move(place)
            else:
                await self._rooms.sandboxes.change(_WAIT_S)
        return None

    def is_over(self, until_s: float) -> bool:
        """Tell whether a wait with an end (CLOCK_BOOTTIME; inf: none) is over: nobody waits for what is dead."""
        place = self._facts.place
        is_dead = until_s < math.inf and place is not None and self._is_dead(place)
        return is_dead or runtime.boottime_s() >= until_s

    async def leave(self) -> None:
        """Leave a sandbox host that is drained, unless something runs there. Raises Superseded."""
        place = self._facts.place
        if place is not None and self._is_drained(place) and self._why_move(place) is not None:
            await self._move(place)

    def ask_again(self) -> None:
        """Have the next use fence anew: what was said of the runs may be older than what is asked about."""
        self._fenced = None

    async def learn(self, until_s: float) -> run.Fenced | None:
        """Return what the place's host says of the session's runs; None when ``until_s`` (CLOCK_BOOTTIME) comes first.

        A host whose ledger is another one cannot say anything about them, ever; one that an operator declared dead
        is not waited for. Raises Superseded.
        """
        while not self.is_over(until_s):
            place = self._facts.place
            fenced = await self._reach(place) if place is not None else None
            if fenced is not None and place is not None and fenced.answer.token.ledger_id == place.ledger_id:
                return fenced.answer
            await self._rooms.sandboxes.change(min(_WAIT_S, max(0.0, until_s - runtime.boottime_s())))
        return None

    async def materialize(self, effect: frames.Materialize) -> None:
        """Prepare the workspace of a generation and push the answer. Raises Superseded."""
        for pause_s in pauses():
            place = self._facts.place
            if place is None:
                fenced, number = await self._first(), 1
            else:
                fenced = await self.ready(stays=False)
                place = self._facts.place
                number = place.workspace_no if place is not None else 1
            answer = await self._ask(fenced.link, number, effect.generation, effect.files)
            if self.is_moving or self._facts.place != place:
                await asyncio.sleep(pause_s)  # the session has been moved: what was made is not its place any more
                continue
            if isinstance(answer, frames.Materialized):
                self._push(answer)
                return
            if isinstance(answer, run.Refused) and not answer.retry and answer.code in ("missing-object", "invalid"):
                self._push(frames.MaterializeFailed(effect.generation, f"{answer.code}: {answer.detail}"))
                return
            if isinstance(answer, run.Refused) and answer.code == "unknown-workspace":
                self.spoil(answer.detail, fenced.link.host, number)
            await asyncio.sleep(pause_s)

    def spoil(self, why: str, host: str, workspace_no: int) -> None:
        """Note that a workspace is not there any more: before the next use it is made anew.

        The answer may be late, and speak of one that was left meanwhile: that changes nothing.
        """
        place = self._facts.place
        if place is not None and (place.host, place.workspace_no) == (host, workspace_no):
            self._spoilt = place, why

    def holds(self, host: str) -> bool:
        """Tell whether the session's place is on this host and was reached in the connection that is up now."""
        place, link = self._facts.place, self._rooms.sandboxes.link(host)
        if self._fenced is None or place is None or link is None or not link.connected:
            return False
        fenced_on, era, answer = self._fenced
        return (fenced_on, era, answer.token.ledger_id) == (place.host, link.era, place.ledger_id) and fenced_on == host

    async def _first(self) -> Fenced:
        """Choose a host for a session that has no workspace yet, and stay with it while it can be reached."""
        said = False
        while True:
            link = await self._choose(sticky=self._chosen)
            fenced = await self._fence(link) if link is not None else None
            if fenced is not None:
                self._chosen = fenced.link.host
                return fenced
            if not said:
                runtime.log().warning(
                    "no sandbox host can be reached that takes workspaces", session=self._held.key.session
                )
            said = True
            await self._rooms.sandboxes.change(_WAIT_S)

    async def _choose(self, *, sticky: str = "", avoid: str = "") -> SandboxLink | None:
        """Return a link to a good host: as a broker says, else our own pick among those that can be reached."""
        sandboxes = self._rooms.sandboxes
        held = sandboxes.link(sticky) if sticky else None
        if held is not None and held.connected and held.load.slots > 0:
            return held
        placed = None
        if self._rooms.broker.connected:
            placed = await self._rooms.broker.place("sandbox", self._held.key.session, sticky=sticky, avoid=avoid)
        link = sandboxes.link(placed.host) if placed is not None else None
        if link is None or not link.connected or link.host == avoid:
            draws = (int.from_bytes(os.urandom(4), "big"), int.from_bytes(os.urandom(4), "big"))
            host = choose(sandboxes.candidates(), draws, avoid)
            link = sandboxes.link(host) if host is not None else None
        return link

    async def _move(self, place: Place) -> None:
        """Make a new workspace, here when this host lost the old one, else elsewhere; wait until the log knows it."""
        async with self._moving:
            why = self._why_move(place)
            if self._facts.place != place or why is None:
                return  # also when somebody moved it while we waited for our turn
            link = await self._new_home(place)
            fenced = await self._fence(link) if link is not None else None
            if fenced is None:
                await self._rooms.sandboxes.change(_WAIT_S)
                return
            runtime.log().warning("workspace made anew", session=self._held.key.session, why=why, on=fenced.link.host)
            answer = await self._ask(fenced.link, place.workspace_no + 1, self._facts.generation, self._facts.files)
            if not isinstance(answer, frames.Materialized):
                await asyncio.sleep(_PAUSES_S[-1])
                return
            self._push(answer)
            deadline_s = runtime.boottime_s() + _COMMIT_S
            while self._facts.place == place and runtime.boottime_s() < deadline_s:
                await self._rooms.sandboxes.change(_PAUSES_S[0])

    async def _new_home(self, place: Place) -> SandboxLink | None:
        """Return where the next workspace goes: here, when this host lost the old one and takes new ones."""
        sandboxes = self._rooms.sandboxes
        here = sandboxes.link(place.host)
        stays = self._why_spoilt(place) is not None and here is not None and here.connected
        if stays and sandboxes.standing(place.host) == "ready":
            return here
        return await self._choose(avoid=place.host) or (here if stays else None)

    async def _ask(
        self, link: SandboxLink, number: int, generation: int, files: str
    ) -> frames.Materialized | run.Refused | None:
        """Ask for a workspace at a generation; None when nobody knows what came of it. Raises Superseded."""
        key, epoch = self._held.key, self._held.epoch
        try:
            await self.may_start()
            token = await link.token(self._rooms.lease)
            frame = run.Materialize(
                link.next_id(), link.grant(key, epoch), token, key.session, epoch, number, generation, files
            )
            answer = await link.request(frame, _MATERIALIZE_S_MAX)
        except (LinkDown, TimeoutError):
            return None
        if isinstance(answer, run.Done):
            return frames.Materialized(generation, link.host, token.ledger_id, number)
        return self.refusal(answer)

    async def may_start(self) -> None:
        """Wait until the lease allows to start something."""
        lease = self._rooms.lease
        while not lease.may_start_effects():
            await lease.renewal_after(lease.sent_s)

    def refusal(self, answer: object) -> run.Refused | None:
        """Return a refusal that is not about the epoch; None for an answer that is none. Raises Superseded."""
        if not isinstance(answer, run.Refused):
            return None
        if answer.code == "stale-epoch":
            raise Superseded(answer.detail)
        if answer.code == "bad-grant":
            runtime.log().warning("grant refused", session=self._held.key.session, why=answer.detail)
        return answer

    async def _reach(self, place: Place) -> Fenced | None:
        """Return the fenced link to a place's host, None while it cannot be had; keeps count of how long."""
        link = self._rooms.sandboxes.link(place.host)
        fenced = await self._fence(link) if link is not None and link.connected else None
        if fenced is not None:
            self._unreached = None
        elif self._unreached is None or self._unreached[0] != place:
            self._unreached = place, runtime.boottime_s()
        elif self._is_given_up(place):
            self._ask_another(place)
        return fenced

    def _ask_another(self, place: Place) -> None:
        """Have another cell host try to reach the place's host; say so once when none is left that could."""
        other = self._other_owner(place)
        if other is not None:
            self._pass_on(other)
            self._unreached = place, runtime.boottime_s()
        elif not self._said:
            runtime.log().warning("sandbox host cannot be reached", session=self._held.key.session, host=place.host)
            self._said = True

    def _why_spoilt(self, place: Place) -> str | None:
        """Return why the workspace of this place is lost; None when that is not known: another's loss says nothing."""
        return self._spoilt[1] if self._spoilt is not None and self._spoilt[0] == place else None

    def _why_move(self, place: Place) -> str | None:
        """Say why the session needs another workspace now; None when it does not, or something runs in the old one."""
        runs = self._open_runs()
        if runs == "changing":
            return None
        spoilt = self._why_spoilt(place)
        if spoilt is not None:
            return spoilt
        if self._is_dead(place):
            return "the sandbox host was declared dead"
        if self._is_given_up(place):
            return "the sandbox host cannot be reached"
        return "the sandbox host is drained" if self._is_drained(place) and runs == "none" else None

    def _is_given_up(self, place: Place) -> bool:
        since_s = self._unreached[1] if self._unreached is not None and self._unreached[0] == place else math.inf
        return runtime.boottime_s() - since_s >= UNREACHABLE_S

    def _is_dead(self, place: Place) -> bool:
        return self._rooms.sandboxes.standing(place.host) == "dead"

    def _is_drained(self, place: Place) -> bool:
        """Tell whether the place's host is to be left, and another can be reached that takes the workspace."""
        sandboxes = self._rooms.sandboxes
        return sandboxes.standing(place.host) == "draining" and bool(sandboxes.takers(place.host))

    def _other_owner(self, place: Place) -> str | None:
        """Return a cell host that has not tried to reach the place's host; None when it is to be given up.

        It is asked while a broker hears of that host, so that others may well reach it, or while something may be
        changing things there, which is waited for in any case. Else a new workspace is quicker: whoever takes over
        cannot know of a sync that it was never sent, and would wait for it.
        """
        sandboxes, tried = self._rooms.sandboxes, self._facts.tried
        untried = sorted(self._rooms.orders.others - tried - {self._rooms.host})
        refuses = sandboxes.standing(place.host) in ("fenced", "dead", None)
        if refuses or self._why_spoilt(place) is not None or len(tried) >= PASSED_ON_MAX or not untried:
            return None
        if not sandboxes.is_heard(place.host, UNREACHABLE_S) and self._open_runs() != "changing":
            return None
        return untried[int.from_bytes(os.urandom(4), "big") % len(untried)]

    async def _fence(self, link: SandboxLink) -> Fenced | None:
        """Make this epoch the floor on a host, once per connection; None when it did not answer. Raises Superseded."""
        async with self._fencing:
            if self._fenced is not None and self._fenced[:2] == (link.host, link.era):
                return Fenced(link, self._fenced[2])
            key, epoch, era = self._held.key, self._held.epoch, link.era
            frame = run.Fence(link.next_id(), link.grant(key, epoch), key.session, epoch)
            try:
                answer = await link.request(frame, _FENCE_S_MAX)
            except (LinkDown, TimeoutError):
                return None
            if not isinstance(answer, run.Fenced):
                self.refusal(answer)
                return None
            self._fenced = (link.host, era, answer)
            return Fenced(link, answer)


def pauses() -> Iterator[float]:
    """Return the pauses between attempts in seconds: growing, then two for ever."""
    return itertools.chain(_PAUSES_S, itertools.repeat(_PAUSES_S[-1]))
