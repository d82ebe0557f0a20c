"""What the broker asks the database, bounded in time and number. Nothing else in the broker speaks to it.

Every call may be repeated, and is, when its answer was lost. None waits longer than STORE_S_MAX: then the caller gets
StoreFault while the call itself goes on, because a commit is never cancelled.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from broker.admission import Bound
from broker.keys import KIND
from migrations import door, named, patient
from migrations.outcome import BadInput
from setpoint.contracts import apikey, codec
from setpoint.contracts.hint import Join

T = TypeVar("T")

STORE_S_MAX: Final = 3.0
FENCED_KEPT: Final = timedelta(days=30)
HOSTS_KEPT: Final = timedelta(days=7)
_TERMS: Final = patient.Terms(role="setpoint_broker", size=4, calls_max=256)
_SQL: Final = named.beside(__file__)


class StoreFault(Exception):
    """The database did not do what was asked. ``passing``: it may do so later; else it refuses these values."""

    def __init__(self, detail: str, *, passing: bool = True) -> None:
        super().__init__(detail)
        self.detail, self.passing = detail, passing


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host as the database knows it. ``expires_in_s`` is of a cell host's lease, None for a sandbox host.

    ``ordered`` is what an operator wants of it: serve, cordon or drain.
    """

    role: Literal["cell", "sandbox"]
    host: str
    incarnation: str
    state: str
    address: str
    public_key: str
    capacity: dict[str, Any]
    seen_age_s: float
    expires_in_s: float | None
    sessions: int
    ordered: str = "serve"


@dataclass(frozen=True, slots=True)
class Left:
    """A session that a host still has. ``runs``: assets that are evaluated or synced; ``unended``: open commands."""

    tenant: str
    session: str
    name: str
    unended: int
    runs: tuple[str, ...]
    failed: bool


class Store:
    """The broker's connections. ``keep_open`` first: until it returns every call raises StoreFault."""

    def __init__(self, dsn: str) -> None:
        self._pool = patient.PatientPool(dsn, _TERMS)
        self.keep_open, self.close = self._pool.keep_open, self._pool.close

    async def publish(self, kid: str, public_key: bytes) -> bool:
        """Make a broker's public key known; False when ``kid`` belongs to another key."""
        return bool(await self._value("key_publish", kid, public_key, KIND))

    async def keys(self) -> dict[str, str]:
        """Return the public keys of all brokers: kid -> base64url."""
        return {row["kid"]: _text(row["public_key"]) for row in await self._rows("keys", KIND)}

    async def admits(self, join_token: str) -> bool:
        """Tell whether a join token of the database admits a host now."""
        return bool(await self._value("join_token_check", apikey.hash_secret(join_token)))

    async def hosts(self) -> list[HostRow]:
        """Return every host of both kinds."""
        return [
            HostRow(
                role=row["kind"],
                host=row["host_id"],
                incarnation=row["incarnation"],
                state=row["state"],
                address=row["address"],
                public_key=_text(row["public_key"]),
                capacity=msgspec.json.decode(row["capacity"], type=dict[str, Any]),
                seen_age_s=row["seen_age_s"],
                expires_in_s=row["expires_in_s"],
                sessions=row["sessions"],
                ordered=row["ordered"],
            )
            for row in await self._rows("hosts")
        ]

    async def bound(self, host: str) -> list[Bound]:
        """Return what a host id is bound to."""
        return [Bound(row["kind"], _text(row["public_key"])) for row in await self._rows("bound", host)]

    async def register_sandbox(self, join: Join) -> bool:
        """Write the row of a sandbox host that was admitted; False when this incarnation was declared dead."""
        return bool(
            await self._value(
                "sandbox_register",
                *(join.host, join.incarnation, join.ledger_id, join.address, _bytes(join.public_key)),
                codec.canonical_json(join.capacity).decode(),
            )
        )

    async def order(self, host: str, word: str, why: str) -> bool:
        """Note what an operator wants of a host: serve, cordon or drain; False when there is no such host."""
        return await self._value("host_order", host, word, why) is not None

    async def left(self, host: str, rows: int) -> tuple[int, list[Left]]:
        """Return how many awake sessions a host still has that can leave it, and at most so many of all it has."""
        found = await self._rows("host_left", host, rows)
        left = [
            Left(row["tenant_id"], row["session_id"], row["name"], row["unended"], tuple(row["runs"]), row["failed"])
            for row in found
        ]
        return (found[0]["total"] if found else 0), left

    async def declare_dead(self, host: str, incarnation: str, why: str) -> bool:
        """Declare an incarnation of a sandbox host dead; False when it is not the registered one, or is dead."""
        return bool(await self._value("host_declare_dead", host, incarnation, why))

    async def sandbox_seen(self, host: str, incarnation: str, capacity: dict[str, Any]) -> bool:
        """Note a heartbeat; False when this incarnation is not the registered one or was marked as gone."""
        document = codec.canonical_json(capacity).decode()
        return bool(await self._value("sandbox_seen", host, incarnation, document))

    async def sandbox_gone(self, host: str, incarnation: str) -> bool:
        """Mark a sandbox host; False when it was marked before or has come back as another incarnation."""
        return bool(await self._value("sandbox_gone", host, incarnation))

    async def dead_hosts(self) -> list[tuple[str, str]]:
        """Return (host, incarnation) of cell hosts whose lease is over and whose sessions are not all due yet."""
        return [(row["host_id"], row["incarnation"]) for row in await self._rows("dead_hosts")]

    async def host_dead(self, host: str, incarnation: str, *, refused: bool) -> int:
        """Mark a cell host; returns how many sessions became due, -1 when it still holds its lease."""
        return int(await self._value("host_dead", host, incarnation, refused))

    SWEEPS: Final[Mapping[str, tuple[timedelta, ...]]] = {
        "keys": (),
        "wakes": (),
        "locks": (),
        "tokens": (),
        "fenced": (FENCED_KEPT,),
        "cells": (HOSTS_KEPT,),
        "sandboxes": (HOSTS_KEPT,),
    }
    """What can be swept, and for how long it is kept after its end."""

    async def sweep(self, kind: str, rows: int) -> int:
        """Remove at most so many rows of one of SWEEPS that nobody needs; returns how many went."""
        return int(await self._value(f"sweep_{kind}", rows, *self.SWEEPS[kind]))

    async def _rows(self, name: str, *args: object) -> list[door.Row]:
        return await self._bounded(lambda pool: pool.fetch(_SQL[name], *args))

    async def _value(self, name: str, *args: object) -> Any:
        return await self._bounded(lambda pool: pool.fetchval(_SQL[name], *args))

    async def _bounded(self, query: Callable[[door.Pool], Awaitable[T]]) -> T:
        try:
            return await self._pool.call(query, STORE_S_MAX)
        except patient.Away as error:
            raise StoreFault(str(error)) from error
        except BadInput as error:
            raise StoreFault(error.detail, passing=False) from error


def _text(public_key: bytes) -> str:
    return base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()


def _bytes(public_key: str) -> bytes:
    return base64.urlsafe_b64decode(public_key + "=" * (-len(public_key) % 4))
