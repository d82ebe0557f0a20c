"""The lease of this host, kept on a thread, a loop and a connection of its own, and only while the main loop moves.

The main loop calls ``bump`` as a sign of life and ``may_start_effects`` before it starts anything; when the lease is
lost, ``lost`` is told why and celld must end: it comes back as a new incarnation. The lease never stops a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from migrations import door, named, outcome
from setpoint import runtime
from setpoint.contracts import limits

_SQL: Final = named.beside(__file__)
_STUCK_S: Final = 5.0
_RETRY_S: Final = 0.2
_ANSWER_S: Final = 1.0
_ABANDONED_MAX: Final = 8
_ROLE: Final = "setpoint_celld"


class LeaseLost(Exception):
    """The lease of this host is over and cannot be had back by this incarnation."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Whose lease, where, and for how long: it ends ``ttl_s`` after a renewal, and is renewed five times in that."""

    dsn: str
    host: str
    incarnation: str
    address: str
    public_key: bytes
    ttl_s: float = limits.LEASE_TTL_S

    @property
    def renew_s(self) -> float:
        """Return the pause between renewals."""
        return self.ttl_s / 5


class Lease:
    """A lease that is being kept. Make it on the main loop; ``start`` returns when it is registered."""

    def __init__(self, terms: LeaseTerms) -> None:
        self._terms = terms
        self._main = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._own: asyncio.AbstractEventLoop | None = None
        self._nudge: asyncio.Event | None = None
        self._stopping = threading.Event()
        self._pool: door.Pool | None = None
        self._abandoned: set[asyncio.Task[door.Pool]] = set()
        self._progress = 0
        self._seen, self._seen_s = 0, runtime.boottime_s()
        self._registered: asyncio.Future[None] = self._main.create_future()
        self._renewed = asyncio.Event()
        self.lost: asyncio.Future[str] = self._main.create_future()
        self.sent_s = 0.0
        """CLOCK_BOOTTIME just before the last renewal that succeeded was sent; 0 before the first."""

    @property
    def ttl_s(self) -> float:
        """Return for how long a renewal holds, which is also the greatest age of a clock token at a start."""
        return self._terms.ttl_s

    async def start(self) -> None:
        """Register and begin to renew; waits for a database that is not there yet. Raises LeaseLost, door.Refused."""
        self._thread.start()
        await self._registered

    def bump(self) -> None:
        """Show that the main loop makes progress; without it there are no renewals after five seconds."""
        self._progress += 1

    def may_start_effects(self) -> bool:
        """Tell whether something may be started now: two thirds of the lease are not over."""
        return runtime.boottime_s() < self.sent_s + self._terms.ttl_s * limits.LEASE_START_FRACTION

    async def renewal_after(self, boottime_s: float) -> None:
        """Wait until a renewal has succeeded that was sent after an instant; asks for one at once."""
        while self.sent_s <= boottime_s:
            self._renewed.clear()
            self._look_now()
            await self._renewed.wait()

    async def stop(self) -> None:
        """Stop renewing. Idempotent, bounded."""
        self._stopping.set()
        self._look_now()
        await asyncio.to_thread(self._thread.join, limits.LEASE_RENEW_S)

    def _look_now(self) -> None:
        """Wake the thread, if it is there."""
        own, nudge = self._own, self._nudge
        if own is None or nudge is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            own.call_soon_threadsafe(nudge.set)

    def _run(self) -> None:
        """Be the thread: whatever ends it ends the lease."""
        try:
            asyncio.run(self._keep())
        except (LeaseLost, door.Refused, outcome.Fault) as error:
            self._tell(self._fail, error)
        except BaseException as error:
            self._tell(self._fail, LeaseLost(f"the lease thread failed: {type(error).__name__}: {error}"))
            raise

    async def _keep(self) -> None:
        self._own, self._nudge = asyncio.get_running_loop(), asyncio.Event()
        try:
            number = await self._register()
            self._tell(self._note_registered)
            while not self._stopping.is_set():
                await self._pause()
                if not self._stopping.is_set() and self._is_alive():
                    number = await self._renew(number)
        finally:
            if self._pool is not None:
                await self._pool.close()

    async def _register(self) -> int:
        terms, ttl = self._terms, timedelta(seconds=self._terms.ttl_s)
        values = (terms.host, terms.incarnation, terms.address, terms.public_key, "{}", ttl)
        while True:
            sent_s = runtime.boottime_s()
            try:
                row = await self._ask(door.CONNECT_S_MAX, "register", *values)
            except outcome.Fault as error:
                runtime.log().warning("lease cannot be registered", why=str(error)[:200])
                await asyncio.sleep(limits.POLL_S)
                continue
            if row["status"] == "key_mismatch":
                raise LeaseLost(f"another key holds the lease of host {terms.host!r}")
            if row["status"] != "ok":
                raise LeaseLost(f"registration of {terms.host!r} answered {row['status']}")
            self.sent_s = sent_s
            return int(row["renewal_no"])

    async def _renew(self, number: int) -> int:
        """Renew once, trying until the lease is over; repeating a renewal does no harm. Raises LeaseLost."""
        terms, ttl = self._terms, timedelta(seconds=self._terms.ttl_s)
        patience_s, first = terms.renew_s, True
        while (left_s := self.sent_s + terms.ttl_s - runtime.boottime_s()) > 0 or first:
            sent_s, first = runtime.boottime_s(), False
            try:
                within_s = min(patience_s, max(_ANSWER_S, left_s))
                row = await self._ask(within_s, "renew", terms.host, terms.incarnation, number, ttl)
            except outcome.Fault as error:
                runtime.log().warning("lease not renewed", why=str(error)[:200])
                patience_s *= 2  # a connection that froze is left soon, a slow database is given its time
                await asyncio.sleep(_RETRY_S)
                continue
            if row["status"] != "ok":
                raise LeaseLost(f"renewal answered {row['status']}")
            self.sent_s = sent_s
            self._tell(self._renewed.set)
            return int(row["renewal_no"])
        raise LeaseLost(f"not renewed for {terms.ttl_s:g} s")

    async def _ask(self, within_s: float, name: str, *values: object) -> door.Row:
        """Call one function of the database. What does not answer in time, or with a fault, costs the connection only.

        Raises outcome.Fault.
        """
        until_s = runtime.boottime_s() + within_s
        if self._pool is None:
            # With a lease to lose, one that freezes here is to leave time for another.
            opened_s = min(within_s, max(_ANSWER_S, self._terms.renew_s)) if self.sent_s else within_s
            self._pool = await self._open(opened_s)
        pool = self._pool
        call = asyncio.create_task(pool.fetchrow(_SQL[name], *values))
        await asyncio.wait({call}, timeout=until_s - runtime.boottime_s())
        try:
            if not call.done():
                pool.cut()
            row = await call
        except outcome.Fault:
            self._pool = None
            pool.cut()
            raise
        assert row is not None, "a function that always returns one row"
        return row

    async def _open(self, within_s: float) -> door.Pool:
        """Open a connection, or leave it to end by itself when the server accepts it and then says nothing."""
        self._abandoned = {one for one in self._abandoned if not one.done()}
        if len(self._abandoned) >= _ABANDONED_MAX:
            raise outcome.Unavailable("too many connections are being opened")
        opening = asyncio.create_task(door.open_pool(self._terms.dsn, role_check=_ROLE, size=1))
        await asyncio.wait({opening}, timeout=within_s)
        if opening.done():
            return opening.result()
        opening.cancel()
        self._abandoned.add(opening)
        raise outcome.Unavailable(f"no connection within {within_s:.1f} s")

    async def _pause(self) -> None:
        assert self._nudge is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._terms.renew_s):
                await self._nudge.wait()
        self._nudge.clear()

    def _is_alive(self) -> bool:
        """Tell whether the main loop has moved in the last seconds."""
        now_s = runtime.boottime_s()
        if self._progress != self._seen:
            self._seen, self._seen_s = self._progress, now_s
        return now_s - self._seen_s < _STUCK_S

    def _note_registered(self) -> None:
        if not self._registered.done():
            self._registered.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._registered.done():
            self._registered.set_exception(error)
        elif not self.lost.done():
            self.lost.set_result(str(error))

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        """Call something on the main loop, if that is still there."""
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            self._main.call_soon_threadsafe(call, *args)
