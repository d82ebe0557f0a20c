"""``/v1/sessions/{session}/events``: the log as a JSON page, or as a stream that goes on."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway import cursor, shapes, stream
from gateway.edge import Edge, page_answer, principal
from gateway.route import PageOf, Route
from gateway.store import events, sessions
from setpoint.contracts.limits import REQUEST_BYTES_MAX

_PAGE_BYTES_MAX: Final = REQUEST_BYTES_MAX


async def read(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read the log after a seq: one page, or with ``Accept: text/event-stream`` everything as it comes."""
    after = cursor.after_seq(request.query, request.headers)
    limit = cursor.page_limit(request.query)
    tenant_id = principal(request).tenant_id
    session = await sessions.one(edge.database, tenant_id, request.match_info["session"])
    if "text/event-stream" in request.headers.get("Accept", ""):
        return await stream.follow(edge, request, session.id, after)
    page = await events.page(edge.database, tenant_id, session.id, after, limit, _PAGE_BYTES_MAX)
    last = page.events[-1].seq if page.events else after
    following = str(last) if last < page.head_seq else None
    return page_answer([event.as_json() for event in page.events], following, head_seq=page.head_seq)


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
)
