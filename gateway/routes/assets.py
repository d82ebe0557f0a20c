"""``/v1/sessions/{session}/assets``: the projection of the session's assets. Reading it wakes nobody."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import cursor
from gateway.edge import Edge, answer, page_answer, principal
from gateway.route import PageOf, Route
from gateway.store import assets, sessions


async def list_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List the assets by name."""
    limit, after = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> list[assets.Asset]:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await assets.page(connection, tenant_id, session.id, after, limit)

    found = await edge.database.read(tenant_id, query)
    following = cursor.encode_cursor(found[-1].name) if len(found) == limit else None
    return page_answer([asset.as_json() for asset in found], following)


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read one asset."""
    tenant_id, name = principal(request).tenant_id, request.match_info["asset"]

    async def query(connection: Any) -> assets.Asset:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await assets.one(connection, tenant_id, session.id, name)

    found = await edge.database.read(tenant_id, query)
    return answer(found.as_json(), ETag=f'"{found.seq}"')


_PATH: Final = "/v1/sessions/{session}/assets"

ROUTES: Final = (
    Route(
        "GET", _PATH, list_, "List assets", ((200, "A page, by name.", PageOf()),), ("not-found",), ("limit", "after")
    ),
    Route("GET", _PATH + "/{asset}", get, "Read an asset", ((200, "The asset.", dict),), ("not-found",)),
)
