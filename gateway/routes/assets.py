"""``/v1/sessions/{session}/assets``: the projection of the session's assets. Reading it wakes nobody."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import cursor, explain, history, shapes
from gateway.edge import Edge, answer, page_answer, principal
from gateway.route import PageOf, Route
from gateway.store import assets, events, sessions
from setpoint import runtime


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


async def explanation(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Say why an asset is as it is and what happens next, root cause first."""
    tenant_id, name = principal(request).tenant_id, request.match_info["asset"]

    async def query(connection: Any) -> tuple[shapes.Session, dict[str, assets.Asset]]:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return session, await assets.with_above(connection, tenant_id, session.id, name)

    session, rows = await edge.database.read(tenant_id, query)
    return answer(explain.explanation(session, rows[name], rows, runtime.now_us()))


async def past(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List what was done about an asset: syncs with what held before and after them, and evaluations."""
    limit, cursor_ = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    before = cursor.whole_number("after", cursor_) if cursor_ else None
    syncs_only = cursor.choice("kind", request.query.get("kind", "all"), ("all", "sync")) == "sync"
    tenant_id, name = principal(request).tenant_id, request.match_info["asset"]

    async def query(connection: Any) -> events.AssetPage:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await events.of_asset(
            connection, tenant_id, session.id, name, before=before, syncs_only=syncs_only, limit=limit
        )

    page = await edge.database.read(tenant_id, query)
    entries = history.fold(page.events, {} if page.earlier is None else history.results_of(page.earlier))
    shown = [entry for entry in entries if entry.kind == "sync" or not syncs_only]
    return page_answer(shown, None if page.next_before is None else cursor.encode_cursor(str(page.next_before)))


_PATH: Final = "/v1/sessions/{session}/assets"

ROUTES: Final = (
    Route(
        "GET", _PATH, list_, "List assets", ((200, "A page, by name.", PageOf()),), ("not-found",), ("limit", "after")
    ),
    Route("GET", _PATH + "/{asset}", get, "Read an asset", ((200, "The asset.", dict),), ("not-found",)),
    Route(
        "GET",
        _PATH + "/{asset}/explanation",
        explanation,
        "Explain an asset",
        ((200, "The reasons, root cause first.", shapes.Explanation),),
        ("not-found",),
    ),
    Route(
        "GET",
        _PATH + "/{asset}/history",
        past,
        "List what was done about an asset",
        ((200, "A page, newest first.", PageOf(shapes.HistoryEntry)),),
        ("not-found",),
        ("limit", "after", "kind"),
    ),
)
