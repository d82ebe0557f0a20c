"""One broker put together: its parts, its routes, its start and its end. Called by ``__main__``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from broker.config import Config
from broker.janitor import Janitor
from broker.keys import KeyUnusable, SigningKey, jwks, open_key
from broker.links import HostLinks
from broker.operator import OperatorRoutes
from broker.reaper import Reaper
from broker.registry import Registry
from broker.store import Store, StoreFault
from setpoint import runtime
from setpoint import web as shared
from setpoint.contracts.limits import POLL_S, REQUEST_BYTES_MAX
from setpoint.contracts.problem import Problem

_STALE_S: Final = 5.0


@dataclass(slots=True)
class Broker:
    """The parts of one broker. ``polled_at_s`` is when the database was last read, on CLOCK_BOOTTIME; 0 is never."""

    store: Store
    registry: Registry
    key: SigningKey
    links: HostLinks
    reaper: Reaper
    janitor: Janitor
    polled_at_s: float = 0.0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve_database(self) -> None:
        """Publish the key, then keep the picture of the hosts fresh, until cancelled."""
        await self.store.keep_open()
        self.is_open.set()
        is_published = False
        is_lost = False
        while True:
            try:
                if not is_published:
                    await self._publish()
                    is_published = True
                await self._poll()
                is_lost = False
            except StoreFault as error:
                if not is_lost:
                    runtime.log().warning("database does not answer", why=error.detail[:200])
                is_lost = True
            await asyncio.sleep(POLL_S)

    async def keep_clean(self) -> None:
        """Sweep what nobody needs any more, from when the database is there, until cancelled."""
        await self.is_open.wait()
        await self.janitor.run()

    async def missing(self) -> list[str]:
        """Say what keeps this broker from doing its work, nothing when it can."""
        is_fresh = self.polled_at_s and runtime.boottime_s() - self.polled_at_s < _STALE_S
        return [] if is_fresh else ["the database does not answer"]

    async def _publish(self) -> None:
        if not await self.store.publish(self.key.kid, self.key.public_bytes):
            raise KeyUnusable(f"the database knows another key under the name of this one, {self.key.kid}")

    async def _poll(self) -> None:
        self.links.learn(await self.store.keys(), runtime.now_s())
        self.registry.see(await self.store.hosts())
        self.polled_at_s = runtime.boottime_s()
        await self.reaper.sweep()


def build(config: Config) -> Broker:
    """Build the parts of a broker; none of them runs yet. Raises KeyUnusable."""
    key = open_key(config.state_dir)
    store, registry = Store(config.database_url), Registry()
    reaper = Reaper(store, registry)
    links = HostLinks(store, registry, key, config.join_token, reaper.lost)
    return Broker(store, registry, key, links, reaper, Janitor(store))


def build_app(broker: Broker, operator_key: str) -> web.Application:
    """Build the HTTP application over the parts."""
    app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[shared.problems])

    async def public_keys(request: web.Request) -> web.Response:
        if not broker.links.keys:
            raise Problem("unavailable", "the keys were not read from the database yet", retry_after_s=1)
        return web.json_response(jwks(broker.links.keys), headers={"Cache-Control": "max-age=60"})

    app.router.add_get("/.well-known/jwks.json", public_keys)
    app.router.add_get("/ws", broker.links.serve)
    OperatorRoutes(broker.store, broker.registry, operator_key).add_to(app)
    shared.add_health(app, lambda: {"process": "broker", "kid": broker.key.kid}, broker.missing)
    return app


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[int]:
    """Run a broker for the length of the block; gives the port it listens on.

    It listens at once and refuses hosts until the database can be reached. Raises KeyUnusable, and door.Refused when
    the database is not one that this program may work on.
    """
    broker = build(config)
    try:
        async with asyncio.TaskGroup() as tasks:
            duties = (broker.serve_database(), broker.keep_clean(), broker.reaper.run())
            background = [tasks.create_task(duty) for duty in duties]
            runner, port = await shared.serve_app(build_app(broker, config.operator_key), config.host, config.port)
            runtime.log().info("broker listens", host=config.host, port=port, kid=broker.key.kid)
            try:
                yield port
            finally:
                broker.links.close()
                await runner.cleanup()
                for task in background:
                    task.cancel()
    finally:
        await broker.store.close()
