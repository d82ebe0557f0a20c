"""``/v1/sessions``: create, list, read and close sessions, and their generations."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from gateway import admit, cursor, shapes
from gateway.body import read_json
from gateway.edge import Edge, answer, page_answer, principal
from gateway.route import BODY, PageOf, Route
from gateway.routes.commands import enqueue
from gateway.store import sessions
from setpoint import runtime
from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.problem import Problem

_PLACE_S: Final = 0.3


async def create(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Create a session. The same Idempotency-Key and body give the same session again."""
    who, is_alias = principal(request), not request.path.startswith("/v1/")
    body = await read_json(request, any_type=is_alias, required=False)
    if is_alias:
        body = admit.tenant_of_alias(body, who.tenant_id, who.tenant_name)
    sent = admit.new_session(admit.read_as(body, shapes.CreateSession))
    key = admit.idempotency_key(request.headers)
    session_id = runtime.new_id()
    host = await _preferred_host(edge, session_id)
    created = await sessions.create(
        edge.database,
        who.tenant_id,
        session_id,
        name=sent.name or session_id,
        labels=sent.labels,
        prefer_host=host,
        key=key,
        fingerprint=admit.fingerprint("POST", "/v1/sessions", "", body),
    )
    edge.links.poke(who.tenant_id, created.session_id, host)
    session = await sessions.one(edge.database, who.tenant_id, created.session_id)
    replayed = {"Idempotency_Replayed": "true"} if created.session_id != session_id else {}
    return answer(session, 201, Location=f"/v1/sessions/{session.id}", ETag=_etag(session), **replayed)


async def list_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List the tenant's sessions, oldest first."""
    limit, after = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    found = await sessions.page(edge.database, principal(request).tenant_id, after, limit)
    return page_answer(found, cursor.encode_cursor(found[-1].id) if len(found) == limit else None)


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read a session. Answers 304 when ``If-None-Match`` names what it would answer."""
    session = await sessions.one(edge.database, principal(request).tenant_id, request.match_info["session"])
    etag = _etag(session)
    if etag in [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]:
        return web.Response(status=304, headers={"ETag": etag})
    return answer(session, ETag=etag)


async def close(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Close a session: a ``close`` command is queued; what runs is cancelled, then it takes no more commands."""
    session = await sessions.one(edge.database, principal(request).tenant_id, request.match_info["session"])
    etag = request.headers.get("If-Match", "*")
    if etag not in ("*", _etag(session)):
        raise Problem("precondition-failed", "the session has changed since it was read")
    return await enqueue(edge, request, session.id, admit.request("close", {}), {"type": "close"})


async def generations(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List the versions of the applied project, newest first."""
    limit, after = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    before = cursor.whole_number("after", after) if after else None
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> list[shapes.Generation]:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await sessions.generations(connection, tenant_id, session.id, before, limit)

    found = await edge.database.read(tenant_id, query)
    return page_answer(found, cursor.encode_cursor(str(found[-1].generation)) if len(found) == limit else None)


async def generation(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read one version of the applied project."""
    number = cursor.whole_number("generation", request.match_info["generation"])
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> shapes.Generation:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await sessions.generation(connection, tenant_id, session.id, number)

    return answer(await edge.database.read(tenant_id, query))


async def _preferred_host(edge: Edge, session_id: str) -> str | None:
    """Ask a broker where the session should start; without one any host takes it."""
    if not edge.broker.connected:
        return None
    try:
        async with asyncio.timeout(_PLACE_S):
            placed = await edge.broker.place("cell", session_id, timeout_s=_PLACE_S)
    except TimeoutError:
        return None
    return None if placed is None else placed.host


def _etag(session: shapes.Session) -> str:
    return f'"{sha256_hex(canonical_json(session))[:20]}"'


_SESSION: Final = (200, "The session.", shapes.Session)
_CREATED: Final = ((201, "The session, new or from the first request with this key.", shapes.Session),)
_CREATE_PROBLEMS: Final = (*BODY, "conflict", "idempotency-mismatch")
_PAGE: Final = ("limit", "after")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/sessions",
        create,
        "Create a session",
        _CREATED,
        _CREATE_PROBLEMS,
        (),
        ("Idempotency-Key",),
        shapes.CreateSession,
    ),
    Route("GET", "/v1/sessions", list_, "List sessions", ((200, "A page.", PageOf(shapes.Session)),), (), _PAGE),
    Route(
        "GET",
        "/v1/sessions/{session}",
        get,
        "Read a session",
        (_SESSION, (304, "It is as the client knows it.", None)),
        ("not-found",),
        (),
        ("If-None-Match",),
    ),
    Route(
        "DELETE",
        "/v1/sessions/{session}",
        close,
        "Close a session",
        ((202, "The close command is queued.", shapes.Accepted),),
        ("not-found", "invalid-transition", "inbox-full", "idempotency-mismatch", "precondition-failed"),
        (),
        ("Idempotency-Key", "If-Match"),
    ),
    Route(
        "GET",
        "/v1/sessions/{session}/generations",
        generations,
        "List generations",
        ((200, "A page, newest first.", PageOf(shapes.Generation)),),
        ("not-found",),
        _PAGE,
    ),
    Route(
        "GET",
        "/v1/sessions/{session}/generations/{generation}",
        generation,
        "Read a generation",
        ((200, "The generation.", shapes.Generation),),
        ("not-found",),
    ),
    Route(
        "POST",
        "/sessions",
        create,
        "Create a session (unversioned)",
        _CREATED,
        (*_CREATE_PROBLEMS, "forbidden"),
        (),
        ("Idempotency-Key",),
        shapes.CreateSession,
        alias=True,
    ),
    Route(
        "GET",
        "/sessions",
        list_,
        "List sessions (unversioned)",
        ((200, "A page.", PageOf(shapes.Session)),),
        (),
        _PAGE,
        alias=True,
    ),
)
