"""One gateway put together: its parts, its routes, its start and its end. Called by ``__main__`` and by tests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway import middleware, openapi
from gateway.auth import Authenticator
from gateway.compile_worker import CompilePool
from gateway.config import Config
from gateway.edge import Edge, Shares, Streams, blob_room
from gateway.links import CellLinks
from gateway.pages import SharedPages
from gateway.route import Route
from gateway.routes.table import ROUTES
from gateway.store import events, hosts
from gateway.store.database import Database
from gateway.watcher import Watcher
from setpoint import objects, runtime
from setpoint import web as shared
from setpoint.brokerlink import BrokerLink
from setpoint.contracts.limits import (
    COSTLY_PER_TENANT_MAX,
    REQUEST_BYTES_MAX,
    SSE_CLIENTS_MAX,
    SSE_CLIENTS_PER_TENANT_MAX,
)
from setpoint.identity import Identity

_READY_S: Final = 2.0
_COMPILERS: Final = 1


def build_edge(config: Config) -> tuple[Edge, Identity]:
    """Build the parts of a gateway; none of them runs yet."""
    database = Database(config.database_url)
    identity = Identity(config.state_dir, config.host_id, "gateway")
    watcher = Watcher(functools.partial(events.heads, database))
    edge = Edge(
        database=database,
        authenticator=Authenticator(database),
        objects=objects.open_store(config.objects),
        compiler=CompilePool(size=_COMPILERS),
        watcher=watcher,
        pages=SharedPages(functools.partial(events.page, database)),
        links=CellLinks(identity, functools.partial(hosts.ready, database), watcher.note),
        broker=BrokerLink(identity, config.brokers, join_token=config.join_token),
        streams=Streams(SSE_CLIENTS_MAX, SSE_CLIENTS_PER_TENANT_MAX),
        blob_room=blob_room(),
        blob_shares=Shares(COSTLY_PER_TENANT_MAX),
        compile_shares=Shares(COSTLY_PER_TENANT_MAX),
    )
    return edge, identity


def build_app(edge: Edge, identity: Identity, routes: Sequence[Route] = ROUTES) -> web.Application:
    """Build the HTTP application over the parts."""
    gates: list[Middleware] = [middleware.count, shared.problems, middleware.gate(edge.authenticator)]
    app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=gates)
    app.on_response_prepare.append(middleware.finish_headers)

    async def ready() -> list[str]:
        # The compile workers are no part of it: one that a project has killed is replaced when it is needed again.
        return [] if await edge.database.is_reachable(_READY_S) else ["the database does not answer"]

    shared.add_health(app, lambda: {"host": identity.host, "incarnation": identity.incarnation}, ready)
    document = openapi.render(routes)

    async def openapi_json(request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    app.router.add_get("/openapi.json", openapi_json)
    for route in routes:
        if route.handler is not None:
            app.router.add_route(route.method, route.path, functools.partial(route.handler, edge))
    return app


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[int]:
    """Run a gateway for the length of the block; gives the port it listens on.

    It listens at once and answers ``unavailable`` until the database can be reached. Raises door.Refused when the
    database is not one that this program may work on, Problem when no compile worker starts.
    """
    edge, identity = build_edge(config)
    try:
        await edge.compiler.start()
        is_open = await edge.database.open()
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(edge.watcher.run()),
                tasks.create_task(edge.links.run()),
                tasks.create_task(edge.broker.run()),
            ]
            if not is_open:
                background.append(tasks.create_task(edge.database.keep_open()))
            runner, port = await shared.serve_app(build_app(edge, identity), config.host, config.port)
            runtime.log().info("gateway listens", host=config.host, port=port)
            try:
                yield port
            finally:
                edge.watcher.close()
                await runner.cleanup()
                for task in background:
                    task.cancel()
    finally:
        await edge.compiler.stop()
        await edge.database.close()
