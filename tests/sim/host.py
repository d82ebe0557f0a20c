"""A cell host: its lease, its poll, its group commit and its links, in one incarnation after the other.

The shell of ``celld.host`` and ``celld.plane`` again, without asyncio: the same calls, the same order, the same rules
for what is repeated. What it decides with is celld's own wherever that is pure.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from celld.plane.commit import Outcome, take_batch
from celld.plane.key import Held, SessionKey
from migrations.outcome import Fault
from setpoint.contracts import limits, run
from tests.sim.ground import seconds
from tests.sim.kernel import Expected, Future, Scope, TimedOut, Work
from tests.sim.link import Link
from tests.sim.owner import Owner
from tests.sim.postgres import append, lease, ownership, registry
from tests.sim.postgres.item import Item
from tests.sim.postgres.tables import Tables
from tests.sim.rooms import Rooms

TTL_S: Final = limits.LEASE_TTL_S
RENEW_S: Final = limits.LEASE_RENEW_S
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_RESTART_S: Final = 0.5
_KEEPALIVE_S: Final = 3.0
_US: Final = 1_000_000


class LeaseLost(Expected):
    """The lease is over: the host ends and comes back as a new incarnation."""


class Lease:
    """The lease of one incarnation, kept by a process of its own (``celld.plane.lease``)."""

    def __init__(self, host: CellHost) -> None:
        self._host = host
        self.sent_s = 0.0
        self._nudge, self._renewed = Future(), Future()

    def may_start_effects(self) -> bool:
        """Tell whether something may be started now: two thirds of the lease are not over."""
        return self._host.boottime_s() < self.sent_s + TTL_S * limits.LEASE_START_FRACTION

    def renewal_after(self, boottime_s: float) -> Work:
        """Wait until a renewal has succeeded that was sent after an instant; asks for one at once."""
        while self.sent_s <= boottime_s:
            self._nudge.give()
            yield self._renewed

    def register(self) -> Work:
        """Begin; waits for a database that is not there yet. Raises LeaseLost."""
        host = self._host
        while True:
            sent_s = host.boottime_s()
            try:
                row = yield host.ask(
                    lease.host_register, host.name, host.incarnation, f"{host.name}:1", b"key", int(TTL_S * _US)
                )
            except Fault:
                yield limits.POLL_S
                continue
            if row.status != "ok":
                raise LeaseLost(row.status)
            self.sent_s = sent_s
            return row.renewal_no

    def keep(self, number: int) -> Work:
        """Renew until it is lost."""
        host = self._host
        while True:
            with contextlib.suppress(TimedOut):
                yield host.scope.within(self._nudge, RENEW_S)
            self._nudge = Future()
            number = yield from self._renew(number)

    def _renew(self, number: int) -> Work:
        host, first = self._host, True
        while first or host.boottime_s() < self.sent_s + TTL_S:
            first, sent_s = False, host.boottime_s()
            try:
                row = yield host.ask(lease.host_renew, host.name, host.incarnation, number, int(TTL_S * _US))
            except Fault:
                yield 0.2
                continue
            if row.status != "ok":
                raise LeaseLost(row.status)
            self.sent_s = sent_s
            renewed, self._renewed = self._renewed, Future()
            renewed.give()
            return row.renewal_no
        raise LeaseLost("not renewed in time")


@dataclass(slots=True)
class Survey:
    """What a poll reads."""

    mine: list[lease.Recorded]
    dead: list[tuple[str, str]]
    due: list[ownership.Due]
    told: registry.Told


def survey(db: Tables, host: str, incarnation: str) -> Survey:
    """Read at once what the real poll reads in four calls, one after the other."""
    return Survey(
        lease.owned(db, host, incarnation),
        lease.dead_hosts(db),
        ownership.claim_wakes(db, host, limits.WAKE_CLAIM_MAX, int(limits.WAKE_CLAIM_HOLD_S * _US)) if db.wakes else [],
        registry.host_told(db, host),
    )


class CellHost:
    """A host through all its incarnations. ``offset_us`` is how wrong its wall clock is."""

    def __init__(self, rooms: Rooms, name: str, offset_us: int) -> None:
        self._rooms, self.name, self.offset_us = rooms, name, offset_us
        self.kernel = rooms.kernel
        self.incarnation = ""
        self._incarnations = 0
        self.scope = Scope(self.kernel)
        self.scope.kill()
        self.lease = Lease(self)
        self.links: dict[str, Link] = {}
        self.owners: dict[SessionKey, Owner] = {}
        self.others: frozenset[str] = frozenset()
        self.doubtful: set[str] = set()
        """Sessions with a commit that was refused for a lock, and of which an earlier attempt may still come."""
        self._queue: deque[tuple[Item, Future]] = deque()
        self._filled = Future()
        self._changed = Future()
        self._draining = False

    def boottime_s(self) -> float:
        """Return the steady clock."""
        return seconds(self.kernel.now)

    def wall_us(self) -> int:
        """Return the wall clock, in microseconds since the epoch."""
        return self.kernel.now + self.offset_us

    @property
    def rooms(self) -> Rooms:
        """Return what the host works with."""
        return self._rooms

    # What happens to it

    def start(self) -> None:
        """Begin as a new incarnation."""
        if self.scope.alive:
            return
        self._incarnations += 1
        self.incarnation = f"{self._incarnations:08x}-0000-7000-8000-00000000000{self.name[-1]}"
        self.scope = Scope(self.kernel)
        self.lease = Lease(self)
        self.owners, self._queue, self._filled, self._changed = {}, deque(), Future(), Future()
        self._draining = False
        self.links, self.others, self.doubtful = {}, frozenset(), set()
        for sandbox in self._rooms.sandboxes.values():
            link = Link(self.scope, self.name, sandbox, self._rooms.weather[self.name, sandbox.name])
            link.on_push, link.on_change = self._pushed, self._link_changed
            self.links[sandbox.name] = link
            link.connect()
        self.scope.spawn(self._live()).ended.then(self._over)

    def crash(self) -> None:
        """Die at once."""
        self.scope.kill()
        self.owners, self.links = {}, {}

    def drain(self) -> Work:
        """Give every session to other hosts, then end."""
        self._draining = True
        for owner in self.owners.values():
            owner.stop()
        yield 2.0
        self.crash()

    def _over(self, ended: Future) -> None:
        """Come back after a lost lease, as the supervisor of the process has it."""
        assert isinstance(ended.error, LeaseLost), ended.error
        self.crash()
        self.kernel.later(_RESTART_S, self.start)

    def _live(self) -> Work:
        number = yield from self.lease.register()
        self.scope.spawn(self._poll())
        self.scope.spawn(self._commit_batches())
        self.scope.spawn(self._read_clocks())
        yield from self.lease.keep(number)

    # The database

    def ask(self, fn: Callable[..., Any], *args: Any) -> Future:
        """Call the database."""
        return self._rooms.database.call(self.scope, self.name, fn, *args)

    def commit(self, item: Item) -> Future:
        """Have an item committed; the future has its ``celld.plane.commit.Outcome``, once that is certain."""
        future = Future()
        self._queue.append((item, future))
        self._filled.give()
        return future

    def _commit_batches(self) -> Work:
        while True:
            while not self._queue:
                self._filled = Future()
                yield self._filled
            batch = take_batch(self._queue, lambda waiting: 1)
            attempt = 0
            while True:
                try:
                    rows = yield self.ask(append.append_batch, [item for item, _ in batch])
                    break
                except Fault:
                    yield _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
                    attempt += 1
            for (item, future), row in zip(batch, rows, strict=True):
                status: Any = "committed" if row.status in ("ok", "already") else row.status
                if row.status == "lock_busy" and attempt:
                    self.doubtful.add(item.session)
                if row.status not in ("ok", "lock_busy"):
                    self._rooms.met[f"append {row.status}"] += 1
                future.give(Outcome(status, row.seq or 0, row.detail or ""))

    # The poll

    def _poll(self) -> Work:
        while True:
            before = dict(self.owners)
            try:
                seen: Survey = yield self.ask(survey, self.name, self.incarnation)
                self.others = frozenset(seen.told.others)
                self._reconcile(seen.mine, before)
                for host, incarnation in seen.dead:
                    yield self.ask(lease.host_dead, host, incarnation, False)
                for due in seen.due:
                    self.scope.spawn(self._acquire(due))
            except Fault:
                pass
            yield self._rooms.poll_s

    def _acquire(self, due: ownership.Due) -> Work:
        try:
            row = yield self.ask(
                ownership.acquire, due.tenant, due.session, self.name, self.incarnation, due.epoch_inc, due.epoch
            )
        except Fault:
            return
        if row.status in ("ok", "mine"):
            key = SessionKey(due.tenant, due.session)
            self._own(Held(key, (row.epoch_inc, row.epoch), row.head_seq, self.boottime_s()))

    def _own(self, held: Held) -> None:
        known = self.owners.get(held.key)
        if self._draining or (known is not None and known.held.epoch >= held.epoch):
            return
        if known is not None:
            self._drop(held.key)
        owner = self.owners[held.key] = Owner(self, held)
        owner.start(self._forget)

    def _reconcile(self, recorded: list[lease.Recorded], before: dict[SessionKey, Owner]) -> None:
        """Own what is recorded, drop what is not, look where work waits (``celld.host.owners``)."""
        mine = {SessionKey(one.tenant, one.session): one for one in recorded}
        for key, owner in before.items():
            if key not in mine and self.owners.get(key) is owner:
                self._drop(key)
        for key, one in mine.items():
            owner_now, epoch = self.owners.get(key), (one.epoch_inc, one.epoch)
            if owner_now is None and key in before:
                continue
            if owner_now is None or owner_now.held.epoch < epoch:
                self._own(Held(key, epoch, one.head_seq, self.boottime_s()))
            elif one.open > 0:
                owner_now.look()

    def _drop(self, key: SessionKey) -> None:
        self.owners.pop(key).drop()

    def _forget(self, owner: Owner) -> None:
        if self.owners.get(owner.held.key) is owner:
            del self.owners[owner.held.key]

    # The links

    def change(self, within_s: float) -> Work:
        """Wait until a link comes or goes, at most so long."""
        with contextlib.suppress(TimedOut):
            yield self.scope.within(self._changed, within_s)

    def tell(self) -> None:
        """Wake everybody who waits for a change of the links."""
        changed, self._changed = self._changed, Future()
        changed.give()

    def _link_changed(self, link: Link) -> None:
        if not link.connected:
            for owner in list(self.owners.values()):
                owner.link_lost(link.name)
        self.tell()

    def _pushed(self, frame: run.StepDone | run.RunDone) -> None:
        for owner in self.owners.values():
            if owner.expects(frame.run_id):
                owner.pushed(frame)
                return

    def _read_clocks(self) -> Work:
        """Read the clocks and keep runs alive (``celld.host.sandboxes``)."""
        turn = 0
        while True:
            for link in self.links.values():
                if link.connected:
                    link.read_clock()
            turn += 1
            if turn % 2 == 0 or self._rooms.poll_s > _KEEPALIVE_S:
                for link in self.links.values():
                    self._keep_alive(link)
            yield self._rooms.poll_s

    def _keep_alive(self, link: Link) -> None:
        sessions = tuple(found for owner in self.owners.values() if (found := owner.open_on(link.name)) is not None)
        token = link.readings.usable(self.lease.sent_s) if sessions else None
        if token is not None and link.connected:
            link.keep_alive(token, sessions)
