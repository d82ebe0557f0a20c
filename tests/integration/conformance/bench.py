"""A back end and short words for what the cases do with it. Ids are drawn from a counter."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.integration.conformance.backend import Backend
from tests.sim.postgres.tables import Key

SECOND = 1_000_000
TTL_US = 10 * SECOND
HOLD_US = 5 * SECOND
AT = 1_795_256_754_000_001


@dataclass(frozen=True, slots=True)
class Host:
    """A cell host in one incarnation."""

    name: str
    incarnation: str


@dataclass(slots=True)
class Owned:
    """A session as its owner knows it."""

    key: Key
    host: Host
    inc: int
    epoch: int
    head: int


@dataclass(slots=True)
class Bench:
    """What a case holds in its hands. ``calls``: every call and its answer, to be compared with the other back end."""

    db: Backend
    calls: list[tuple[str, tuple[Any, ...], Any]] = field(default_factory=list)
    is_replayable: bool = True
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new_id(self) -> str:
        """Return an id that nobody has."""
        return str(uuid.UUID(int=next(self._numbers) << 64 | 7))

    async def call(self, name: str, *args: Any) -> Any:
        """Call a function of the schema and keep what it answered."""
        answer = await self.db.call(name, *args)
        self.calls.append((name, args, answer))
        return answer

    async def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        us = int(seconds * SECOND)
        await self.db.advance(us)
        self.calls.append(("advance", (us,), None))

    async def while_running(self, pause: Key, name: str, *args: Any, during: Callable[[], Awaitable[None]]) -> None:
        """Run a call with others between its snapshot and its commit."""
        self.is_replayable = False
        await self.db.while_running(pause, name, *args, during=during)

    async def create(self, tenant: str = "", prefer: str | None = None) -> Key:
        """Create a session."""
        key = (tenant or self.new_id(), self.new_id())
        assert await self.call("create_session", *key, f"s-{key[1]}", {"a": "b"}, prefer, None, None) == ("ok", key[1])
        return key

    async def register(self, host: Host, key: bytes = b"key", ttl_us: int = TTL_US) -> Any:
        """Register a host."""
        return await self.call("host_register", host.name, host.incarnation, "127.0.0.1:1", key, ttl_us)

    async def host(self, name: str = "", ttl_us: int = TTL_US) -> Host:
        """Register a new host, or a new incarnation of one."""
        host = Host(name or f"h{next(self._numbers)}", self.new_id())
        assert (await self.register(host, ttl_us=ttl_us))[0] == "ok"
        return host

    async def renew(self, host: Host, last_no: int = 0) -> Any:
        """Renew a host's lease."""
        return await self.call("host_renew", host.name, host.incarnation, last_no, TTL_US)

    async def dead(self, host: Host, *, refused: bool = False) -> Any:
        """Mark a host."""
        return await self.call("host_dead", host.name, host.incarnation, refused)

    async def acquire(self, key: Key, host: Host, want: tuple[int, int]) -> Any:
        """Take a session at an epoch."""
        return await self.call("acquire", *key, host.name, host.incarnation, *want)

    async def own(self, key: Key, host: Host) -> Owned:
        """Take a session, which must succeed."""
        row = await self.call("session_row", *key)
        answer = await self.acquire(key, host, (row[4], row[5]))
        assert answer[0] == "ok", answer
        return Owned(key, host, *answer[1:])

    async def owned(self, tenant: str = "") -> Owned:
        """Return a new session with an owner of its own."""
        return await self.own(await self.create(tenant), await self.host())

    def item(self, owned: Owned, *types: str, **more: Any) -> dict[str, Any]:
        """Return an item of an owner."""
        events = [{"type": kind, "at": AT + n, "data": {"n": n}} for n, kind in enumerate(types or ("asset.ready",))]
        fixed = {"tenant": owned.key[0], "session": owned.key[1], "inc": owned.inc, "epoch": owned.epoch}
        return fixed | {"head_seq": owned.head, "batch": self.new_id(), "events": events} | more

    async def append(self, *items: dict[str, Any]) -> Any:
        """Commit items: the rows, or a Refusal."""
        return await self.call("append_batch", msgspec.json.encode(items).decode())

    async def write(self, owned: Owned, *types: str, **more: Any) -> int:
        """Commit one item, which must succeed; the new head."""
        rows = await self.append(self.item(owned, *types, **more))
        assert rows[0][1] == "ok", rows
        owned.head = int(rows[0][2])
        return owned.head

    async def enqueue(self, key: Key, command: str = "", **more: Any) -> Any:
        """Queue a command. ``more``: lane, kind, payload, idem, fingerprint, quota."""
        idem = more.get("idem")
        return await self.call(
            "enqueue",
            *(*key, command or self.new_id(), more.get("lane", 1), more.get("kind", "tool"), more.get("payload", {})),
            *(idem, more.get("fingerprint", b"same") if idem else None, more.get("quota", 100)),
        )

    async def release(self, owned: Owned, mode: str, *more: Any) -> Any:
        """Give a session up."""
        fixed = (*owned.key, owned.inc, owned.epoch, owned.head, mode)
        return await self.call("release", *fixed, *more)

    async def claim(self, who: str, limit: int = 100) -> list[str]:
        """Claim what is due; the sessions."""
        return [row[1] for row in await self.call("claim_wakes", who, limit, HOLD_US)]

    async def log(self, key: Key) -> list[str]:
        """Return the types of a session's events."""
        return [row[4] for row in await self.call("log_page", *key, 0, 500)]

    async def wake(self, key: Key) -> tuple[Any, ...] | None:
        """Return a session's wake row: (wake_at after now in microseconds, prefer, avoid)."""
        rows = [row for row in (await self.db.dump())["session_wakes"] if row[:2] == key]
        return (rows[0][2] - self.db.now, *rows[0][3:]) if rows else None

    async def head(self, key: Key) -> dict[str, Any]:
        """Return what the head row says, by name."""
        row = next(row for row in (await self.db.dump())["session_heads"] if row[:2] == key)
        names = (
            "tenant session inc epoch host incarnation state seq batch inbox_head open0 open1 unended0 unended1 sandbox"
            " ledger workspace_no snapshot_seq delivering delivering_deaths"
        )
        return dict(zip(names.split(), row, strict=True))


def statuses(rows: Any) -> list[str]:
    """Return the status of each row of append_batch."""
    return [row[1] for row in rows]
