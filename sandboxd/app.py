"""The running sandbox host: its listener, its link to the brokers, its runs, and how they start and stop together.

``__main__`` gives it a jail that was seen to isolate and a ledger whose predecessor is gone; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandboxd.authority import Authority
from sandboxd.config import Config
from sandboxd.host import SandboxHost, Self
from sandboxd.jail.driver import Jail
from sandboxd.jail.process import adopt_orphans
from sandboxd.ledger import Ledger
from sandboxd.ledger_thread import LedgerThread
from sandboxd.runner import Runner
from sandboxd.spool import Spool
from sandboxd.warden import Warden
from sandboxd.workspaces import Workspaces
from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts import limits, run
from setpoint.contracts.grant import HostClaims, Proof, TokenRefused
from setpoint.identity import Identity
from setpoint.objects import open_store
from setpoint.web import Peer, add_health, problems, serve_app, serve_link

_PRUNE_S = 60.0
_LINK_HEARTBEAT_S = 30.0  # longer than a lease: a cell host that was frozen must still be told that its token is old


@dataclass(frozen=True, slots=True)
class Parts:
    """What ``__main__`` proved before the event loop: who this host is, how it isolates, what it remembers."""

    identity: Identity
    jail: Jail
    ledger: Ledger
    warden: Warden


async def serve(config: Config, parts: Parts, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; then interrupt what runs, write it down, and return."""
    adopt_orphans()
    identity, thread, store = parts.identity, LedgerThread(parts.ledger), open_store(config.objects)
    spool = Spool(config.directory / "spool", store)
    me = Self(runtime.boot_id(), parts.ledger.ledger_id, identity.incarnation)
    async with asyncio.TaskGroup() as tasks:
        runner = Runner(parts.jail, thread, spool, parts.warden, tasks)
        workspaces = Workspaces(config.directory / "ws", thread, store, config.uids)
        host = SandboxHost(
            me,
            Authority(identity.host),
            thread,
            runner,
            workspaces,
            spool,
            tasks,
            runs_max=config.runs_max,
            lease_ttl_s=config.lease_ttl_s,
        )

        def capacity() -> dict[str, Any]:
            return {"running": len(runner.runs), "slots": config.runs_max, "draining": host.draining}

        facts = {
            "host": identity.host,
            "incarnation": identity.incarnation,
            "ledger_id": me.ledger_id,
            "enforced": dict(parts.jail.enforced),
        }
        admitted, peers = asyncio.Event(), set[Peer]()
        app = _application(host, identity, facts, admitted, peers)
        web_runner, port = await serve_app(app, config.host, config.port)
        broker = BrokerLink(
            identity,
            config.brokers,
            join_token=config.join_token,
            address=config.advertise or f"{config.host}:{port}",
            ledger_id=me.ledger_id,
            capacity=capacity,
        )
        background = [
            tasks.create_task(broker.run()),
            tasks.create_task(runner.watch_orphans()),
            tasks.create_task(parts.warden.watch()),
            tasks.create_task(_prune(thread, spool)),
            tasks.create_task(_note(broker.admitted, admitted)),
        ]
        runtime.log().info("serving", host=identity.host, port=port, **parts.jail.enforced)
        runtime.notify_ready()
        await stop.wait()
        host.draining = True
        await runner.stop()
        for peer in peers:
            peer.close()
        for task in background:
            task.cancel()
        await web_runner.cleanup()
    thread.close()
    parts.warden.close()


def _application(
    host: SandboxHost,
    identity: Identity,
    facts: Mapping[str, object],
    admitted: asyncio.Event,
    peers: set[Peer],
) -> web.Application:
    app = web.Application(middlewares=[problems])

    def check(headers: Mapping[str, str]) -> tuple[HostClaims, Proof]:
        claims, proof = identity.check_peer(headers)
        if claims.role != "cell":
            raise TokenRefused("only cell hosts have business here")
        return claims, proof

    async def link(request: web.Request) -> web.StreamResponse:
        return await serve_link(
            request,
            frames=run.Request,
            on_frame=host.on_frame,
            check=check,
            on_open=peers.add,
            on_close=peers.discard,
            heartbeat_s=_LINK_HEARTBEAT_S,
        )

    async def missing() -> list[str]:
        return [] if admitted.is_set() else ["no broker has admitted this host yet"]

    app.router.add_get("/link", link)
    add_health(app, lambda: {**facts, "pid": os.getpid()}, missing)
    return app


async def _note(event: asyncio.Event, also: asyncio.Event) -> None:
    await event.wait()
    also.set()


async def _prune(thread: LedgerThread, spool: Spool) -> None:
    """Forget ended runs that nobody can ask for any more, once a minute."""
    while True:
        before_us = runtime.now_us() - int(limits.LEDGER_KEEP_S * 1_000_000)
        forgotten = await thread.call(thread.ledger.prune, before_us)
        if forgotten:
            await asyncio.to_thread(spool.forget, forgotten)
        await asyncio.sleep(_PRUNE_S)
