"""celld put together: what it starts, in which order, what it waits for, and how it ends.

Called by ``__main__``. It ends 0 after SIGTERM, with its sessions given away; it ends 1 when its lease or its zygote is
gone, and comes back as a new incarnation.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from celld.config import Config
from celld.host import links
from celld.host.cells import Cells
from celld.host.orders import Orders
from celld.host.owners import Owners
from celld.host.rooms import Rooms
from celld.host.sandboxes import Sandboxes
from celld.host.sweep import Sweep
from celld.host.zygote import Zygote, ZygoteDied
from celld.plane.commit import Committer
from celld.plane.lease import Lease, LeaseLost, LeaseTerms
from celld.plane.ownership import Ownership
from migrations import door, outcome
from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts import limits
from setpoint.identity import Identity, open_private
from setpoint.objects import open_store
from setpoint.web import serve_app

_ROLE: Final = "setpoint_celld"
_POOL_SIZE: Final = 8
_BUMP_S: Final = 0.5


class StateDirBusy(Exception):
    """Another celld uses this state directory."""


class _Progress:
    """How far the start has come, for ``/readyz`` and ``/healthz``."""

    def __init__(self) -> None:
        self.missing = ["admission by a broker"]
        self.owners: Owners | None = None

    def waits_for(self, *what: str) -> None:
        """Say what is waited for; nothing means that the host serves."""
        self.missing = list(what)
        if what:
            runtime.log().info("celld waits", for_=", ".join(what))


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set. Raises LeaseLost, ZygoteDied and whatever else this host cannot survive."""
    try:
        await _serve(config, stop)
    except ExceptionGroup as group:
        raise _expected(group) or group from None


def _expected(group: ExceptionGroup[Exception]) -> Exception | None:
    """Return the one end that has a word of its own, None when there is more to a failure."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, LeaseLost | ZygoteDied | door.Refused) else None


async def _serve(config: Config, stop: asyncio.Event) -> None:
    with _locked(config.state_dir):
        identity = Identity(config.state_dir, config.host, "cell")
        gateways = links.Gateways()
        progress = _Progress()
        app = links.make_app(identity, gateways, lambda: _facts(identity, progress), lambda: progress.missing)
        async with _listening(app, config) as port, _zygote() as zygote:
            address = config.advertise or f"{config.listen[0]}:{port}"
            broker = BrokerLink(
                identity,
                config.brokers,
                join_token=config.join_token,
                address=address,
                capacity=lambda: _capacity(progress),
            )
            runtime.log().info("celld listens", address=address, host=config.host, incarnation=identity.incarnation)
            start = _Start(config, identity, zygote, broker, gateways, progress, address)
            main = _serve_all(start, links.door_of(app), stop)
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(work) for work in (broker.run(), _watch(zygote))]
                await _until_done(stop, tasks.create_task(main), progress)
                for task in beside:
                    task.cancel()


class _Start:
    """What is there before the database is."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        zygote: Zygote,
        broker: BrokerLink,
        gateways: links.Gateways,
        progress: _Progress,
        address: str,
    ) -> None:
        self.config, self.identity, self.zygote, self.broker = config, identity, zygote, broker
        self.gateways, self.progress, self.address = gateways, progress, address


async def _serve_all(start: _Start, link: links.Door, stop: asyncio.Event) -> None:
    """Wait for admission, database and lease; then own sessions until ``stop``, and give them away."""
    progress = start.progress
    progress.waits_for("admission by a broker")
    await start.broker.admitted.wait()
    progress.waits_for("the database")
    pool = await _open_pool(start.config.database_url)
    try:
        progress.waits_for("its lease")
        lease = Lease(_terms(start))
        await lease.start()
        try:
            await _own(start, link, pool, lease, stop)
        finally:
            await lease.stop()
    finally:
        await pool.close()


async def _own(start: _Start, link: links.Door, pool: door.Pool, lease: Lease, stop: asyncio.Event) -> None:
    ownership = Ownership(pool, start.config.host, start.identity.incarnation)
    sandboxes = Sandboxes(start.identity, lease, ownership.sandboxes)
    committer = Committer(pool)
    rooms = Rooms(
        start.config.host,
        pool,
        ownership,
        committer,
        open_store(start.config.objects),
        Cells(start.zygote, start.config.cells_per_process),
        lease,
        sandboxes,
        start.broker,
        start.gateways.moved,
        start.config.hibernate_after_s,
        Orders(),
    )
    async with asyncio.TaskGroup() as tasks:
        owners = start.progress.owners = Owners(rooms, tasks)
        sweep = Sweep(ownership, owners, rooms.orders)
        link.open(owners, sweep, links.Relay(owners, sandboxes, pool))
        sweeping = tasks.create_task(sweep.run())
        rest = [
            tasks.create_task(work)
            for work in (
                committer.run(),
                sandboxes.run(),
                _bump(lease),
                _end_with(lease, owners, pool),
                owners.move_out(),
            )
        ]
        start.progress.waits_for()
        runtime.log().info("celld serves", address=start.address)
        runtime.notify_ready()
        await stop.wait()
        runtime.log().info("celld gives its sessions away", sessions=len(owners))
        sweeping.cancel()
        await asyncio.wait({sweeping})
        await owners.drain()
        for task in rest:
            task.cancel()


async def _until_done(stop: asyncio.Event, main: asyncio.Task[None], progress: _Progress) -> None:
    """Wait for the end of ``main``; a ``stop`` while it does not serve yet cancels it."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not main.done() and progress.owners is not None:
            await asyncio.wait({main}, timeout=limits.LEASE_TTL_S)
        main.cancel()
    finally:
        stopping.cancel()


async def _open_pool(dsn: str) -> door.Pool:
    said = False
    while True:
        try:
            return await door.open_pool(dsn, role_check=_ROLE, size=_POOL_SIZE, cached=True)
        except outcome.Fault as error:
            if not said:
                runtime.log().warning("celld waits for the database", why=str(error)[:200])
            said = True
            await asyncio.sleep(limits.POLL_S)


async def _bump(lease: Lease) -> None:
    """Show the lease that this loop moves."""
    while True:
        lease.bump()
        await asyncio.sleep(_BUMP_S)


async def _end_with(lease: Lease, owners: Owners, pool: door.Pool) -> None:
    """End celld with its lease: every session is stopped where it stands, another host may have it already."""
    why = await lease.lost
    runtime.log().error("lease lost: all sessions are stopped", why=why, sessions=len(owners))
    owners.abandon()
    pool.cut()  # what waits for a database that never answers waits for ever, also for its own cancellation
    raise LeaseLost(why)


async def _watch(zygote: Zygote) -> None:
    await zygote.died
    raise ZygoteDied("the zygote is gone, and all cells with it")


def _terms(start: _Start) -> LeaseTerms:
    key = start.identity.public_key
    return LeaseTerms(
        start.config.database_url,
        start.config.host,
        start.identity.incarnation,
        start.address,
        base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)),
        start.config.lease_ttl_s,
    )


def _facts(identity: Identity, progress: _Progress) -> dict[str, object]:
    return {
        "host": identity.host,
        "role": "cell",
        "incarnation": identity.incarnation,
        "pid": os.getpid(),
        **_capacity(progress),
    }


def _capacity(progress: _Progress) -> dict[str, Any]:
    owners = progress.owners
    return {"sessions": len(owners) if owners else 0, "cells": owners.cells() if owners else 0}


@contextlib.asynccontextmanager
async def _listening(app: web.Application, config: Config) -> AsyncIterator[int]:
    runner, port = await serve_app(app, *config.listen)
    try:
        yield port
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _zygote() -> AsyncIterator[Zygote]:
    zygote = Zygote.start()
    try:
        yield zygote
    finally:
        await zygote.stop()


@contextlib.contextmanager
def _locked(state_dir: Path) -> Any:
    """Hold this state directory alone."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(state_dir / "celld.lock", "w", opener=open_private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateDirBusy(f"another celld uses {state_dir}") from error
        yield
