"""``/v1/sessions/{session}/fencing``: what former owners of a session tried to write after they had lost it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import shapes
from gateway.edge import Edge, answer, principal
from gateway.route import Route
from gateway.store import fencing, sessions

_WRITES_MAX: Final = 100


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read which writes were refused because their epoch had ended: whose, when, against which epoch, how often.

    None of them took effect. The newest 100 are listed; ``refused`` counts those of the last 30 days.
    """
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> shapes.Fencing:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        count, writes = await fencing.refused(connection, tenant_id, session.id, _WRITES_MAX)
        return shapes.Fencing(session.id, session.epoch, session.owner_host, count, writes)

    return answer(await edge.database.read(tenant_id, query))


ROUTES: Final = (
    Route(
        "GET",
        "/v1/sessions/{session}/fencing",
        get,
        "Read refused stale writes",
        ((200, "What was refused.", shapes.Fencing),),
        ("not-found",),
    ),
)
