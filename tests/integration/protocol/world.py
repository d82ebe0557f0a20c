"""The database as the protocol tests see it: pools of the real roles, and short calls of the functions they test.

Rows are read as setpoint_migrate, which may see everything; every write goes the way a daemon's does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from migrations.door import Connection, Pool, Row, connect, open_pool

AT = 1_795_256_754_123_457
TTL = timedelta(seconds=10)
EXPIRED = timedelta(seconds=-1)


class Database(Protocol):
    """The fixture ``database`` of tests/conftest.py."""

    @property
    def admin_dsn(self) -> str: ...

    @property
    def name(self) -> str: ...

    def dsn(self, role: str) -> str: ...


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Session:
    tenant: str
    id: str
    name: str


@dataclass(frozen=True)
class Host:
    id: str
    incarnation: str = field(default_factory=new_id)


@dataclass
class Owned:
    """A session as its owner knows it: what the next item must say."""

    session: Session
    inc: int
    epoch: int
    head: int

    def item(self, *types: str, batch: str | None = None, **more: Any) -> dict[str, Any]:
        events = [{"type": kind, "at": AT, "data": {"n": n}} for n, kind in enumerate(types or ("command.accepted",))]
        return {
            "tenant": self.session.tenant,
            "session": self.session.id,
            "inc": self.inc,
            "epoch": self.epoch,
            "head_seq": self.head,
            "batch": batch or new_id(),
            "events": events,
        } | more


class World:
    def __init__(self, gateway: Pool, celld: Pool, broker: Pool, all_seeing: Pool, database: Database) -> None:
        self.gateway, self.celld, self.broker, self.all_seeing = gateway, celld, broker, all_seeing
        self.database = database

    async def create(self, tenant: str | None = None, prefer: str | None = None) -> Session:
        session = Session(tenant or new_id(), new_id(), "s-" + uuid.uuid4().hex)
        row = await self.gateway.fetchrow(
            "SELECT * FROM setpoint.create_session($1, $2, $3, $4, $5, $6, $7)",
            *(session.tenant, session.id, session.name, "{}", prefer, None, None),
        )
        assert row and row["status"] == "ok"
        return session

    async def host(self, name: str = "", ttl: timedelta = TTL) -> Host:
        host = Host(name or "h-" + uuid.uuid4().hex[:12])
        assert (await self.register(host, ttl=ttl))["status"] == "ok"
        return host

    async def register(self, host: Host, key: bytes = b"key", ttl: timedelta = TTL) -> Row:
        return await self._one(
            self.celld,
            "SELECT * FROM setpoint.host_register($1, $2, $3, $4, $5, $6)",
            *(host.id, host.incarnation, f"127.0.0.1:{len(host.id)}", key, "{}", ttl),
        )

    async def renew(self, host: Host, last_no: int = 0, ttl: timedelta = TTL) -> Row:
        sql = "SELECT * FROM setpoint.host_renew($1, $2, $3, $4)"
        return await self._one(self.celld, sql, host.id, host.incarnation, last_no, ttl)

    async def expire(self, host: Host) -> None:
        await self.all_seeing.execute(
            "UPDATE setpoint.cell_hosts SET lease_expires_at = now() - interval '1 ms' WHERE host_id = $1", host.id
        )

    async def acquire(self, session: Session, host: Host, want: tuple[int, int] | None = None) -> Row:
        if want is None:
            head = await self.head(session)
            want = (head["epoch_inc"], head["epoch"])
        sql = "SELECT * FROM setpoint.acquire($1, $2, $3, $4, $5, $6)"
        return await self._one(self.celld, sql, session.tenant, session.id, host.id, host.incarnation, *want)

    async def own(self, session: Session, host: Host) -> Owned:
        row = await self.acquire(session, host)
        assert row["status"] == "ok", row
        return Owned(session, row["epoch_inc"], row["epoch"], row["head_seq"])

    async def owned(self, tenant: str | None = None) -> Owned:
        """A new session with an owner of its own."""
        return await self.own(await self.create(tenant), await self.host())

    async def enqueue(self, session: Session, lane: int = 1, **more: Any) -> Row:
        command, key = more.get("command", new_id()), more.get("key")
        return await self._one(
            self.gateway,
            "SELECT * FROM setpoint.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            *(session.tenant, session.id, command, lane, more.get("kind", "tool"), more.get("payload", "{}")),
            *(key, more.get("fingerprint", b"same") if key else None, more.get("quota", 100)),
        )

    async def append(self, *items: dict[str, Any], on: Pool | Connection | None = None) -> list[Row]:
        sql = "SELECT * FROM setpoint.append_batch($1)"
        return await (on or self.celld).fetch(sql, json.dumps(items))

    async def write(self, owned: Owned, *types: str, **more: Any) -> Row:
        """Append one item that must be ok, and move the owner's head."""
        (row,) = await self.append(owned.item(*types, **more))
        assert row["status"] == "ok", row
        owned.head = row["seq"]
        return row

    async def release(self, owned: Owned, mode: str, **more: Any) -> Row:
        return await self._one(
            self.celld,
            "SELECT * FROM setpoint.release($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            *(owned.session.tenant, owned.session.id, owned.inc, owned.epoch, owned.head, mode),
            *(more.get("next_wake"), more.get("target"), more.get("avoid")),
        )

    async def claim(self, host_id: str, limit: int = 100) -> list[Row]:
        sql = "SELECT * FROM setpoint.claim_wakes($1, $2, $3)"
        return await self.celld.fetch(sql, host_id, limit, timedelta(seconds=5))

    async def head(self, session: Session) -> Row:
        sql = "SELECT * FROM setpoint.session_heads WHERE tenant_id = $1 AND session_id = $2"
        return await self._one(self.all_seeing, sql, session.tenant, session.id)

    async def log(self, session: Session) -> list[Row]:
        sql = "SELECT * FROM setpoint.log_page($1, $2, 0, 1000)"
        return await self.celld.fetch(sql, session.tenant, session.id)

    async def inbox(self, session: Session) -> list[Row]:
        sql = "SELECT * FROM setpoint.inbox($1, $2, 0, 0, 100)"
        return await self.celld.fetch(sql, session.tenant, session.id)

    async def wake(self, session: Session) -> Row | None:
        sql = """SELECT *, wake_at <= clock_timestamp() AS due FROM setpoint.session_wakes
                 WHERE (tenant_id, session_id) = ($1, $2)"""
        return await self.all_seeing.fetchrow(sql, session.tenant, session.id)

    async def count(self, table: str, tenant: str) -> int:
        count: int = await self.all_seeing.fetchval(
            f"SELECT count(*) FROM setpoint.{table} WHERE tenant_id = $1", tenant
        )
        return count

    @contextlib.asynccontextmanager
    async def holding_head(self, session: Session) -> AsyncIterator[None]:
        """Hold the head lock in a transaction of a third party until the context ends."""
        async with connect(self.database.dsn("setpoint_migrate")) as third, third.transaction():
            sql = "SELECT 1 FROM setpoint.session_heads WHERE (tenant_id, session_id) = ($1, $2) FOR UPDATE"
            await third.execute(sql, session.tenant, session.id)
            yield

    async def until_waiting(self, count: int) -> None:
        """Return once ``count`` backends wait for a lock. Each look is a round trip; the limit is what fails."""
        sql = """SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE NOT l.granted AND a.datname = current_database()"""
        async with asyncio.timeout(10):
            while await self.all_seeing.fetchval(sql) < count:
                pass

    @staticmethod
    async def _one(pool: Pool, sql: str, *args: object) -> Row:
        row = await pool.fetchrow(sql, *args)
        assert row is not None
        return row


@contextlib.asynccontextmanager
async def world(database: Database) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        pools: list[Pool] = []
        for role in ("setpoint_gateway", "setpoint_celld", "setpoint_broker", "setpoint_migrate"):
            pool = await open_pool(database.dsn(role), role_check=role, size=10)
            stack.push_async_callback(pool.close)
            pools.append(pool)
        gateway, celld, broker, all_seeing = pools
        yield World(gateway, celld, broker, all_seeing, database)


def statuses(rows: Sequence[Row]) -> list[str]:
    return [row["status"] for row in rows]
