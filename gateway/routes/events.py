"""The log of a session as a JSON page or as a stream, and several logs on one stream: ``/v1/events``."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import cursor, shapes, stream
from gateway.edge import Edge, page_answer, principal
from gateway.route import PageOf, Route
from gateway.store import events, sessions
from setpoint.contracts.limits import REQUEST_BYTES_MAX, SSE_SESSIONS_MAX
from setpoint.contracts.problem import Problem

_PAGE_BYTES_MAX: Final = REQUEST_BYTES_MAX


async def read(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read the log after a seq: one page, or with ``Accept: text/event-stream`` everything as it comes."""
    after = cursor.after_seq(request.query, request.headers)
    limit = cursor.page_limit(request.query)
    tenant_id = principal(request).tenant_id
    session = await sessions.one(edge.database, tenant_id, request.match_info["session"])
    if "text/event-stream" in request.headers.get("Accept", ""):
        return await stream.follow(edge, request, {session.id: after})
    page = await events.page(edge.database, tenant_id, session.id, after, limit, _PAGE_BYTES_MAX)
    last = page.events[-1].seq if page.events else after
    following = str(last) if last < page.head_seq else None
    return page_answer([event.as_json() for event in page.events], following, head_seq=page.head_seq)


async def read_several(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Follow the logs of several sessions on one connection, each in its order.

    The id of an event is ``session:seq``; that of ``resume`` says where every session is. Either is a Last-Event-ID;
    sessions that it does not name start after ``?after=``, which has the same form.
    """
    named = list(dict.fromkeys(request.query.getall("session", [])))
    if not 1 <= len(named) <= SSE_SESSIONS_MAX:
        raise Problem("invalid-request", f"name 1 to {SSE_SESSIONS_MAX} sessions: ?session=A&session=B")
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> dict[str, str]:
        return {each: (await sessions.find(connection, tenant_id, each)).id for each in named}

    found = await edge.database.read(tenant_id, query)
    known = found | {session_id: session_id for session_id in found.values()}
    after = cursor.after_seqs(request.query, request.headers, known)
    return await stream.follow(edge, request, after, is_one_of_several=True)


_ANSWERS: Final = (
    (200, "A page, oldest first, or the stream.", PageOf(shapes.EventView)),
    (200, "The stream.", "text/event-stream"),
)
_QUERY: Final = ("limit", "after_seq")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/sessions/{session}/events",
        read,
        "Read or follow the log",
        _ANSWERS,
        ("not-found", "quota-exceeded"),
        _QUERY,
        ("Last-Event-ID", "Accept"),
    ),
    Route(
        "GET",
        "/sessions/{session}/events",
        read,
        "Read or follow the log (unversioned)",
        _ANSWERS,
        ("not-found", "quota-exceeded"),
        _QUERY,
        ("Last-Event-ID", "Accept"),
        alias=True,
    ),
    Route(
        "GET",
        "/v1/events",
        read_several,
        "Follow the logs of several sessions",
        ((200, "The stream.", "text/event-stream"),),
        ("not-found", "quota-exceeded"),
        ("sessions", "after_seqs"),
        ("Last-Event-IDs",),
    ),
)
