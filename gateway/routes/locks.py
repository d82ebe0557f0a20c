"""``/v1/locks``: the tenant-wide locks that syncs hold, and taking one away from a sync that keeps it too long."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import admit, cursor, shapes
from gateway.body import read_json
from gateway.edge import Edge, answer, page_answer, principal
from gateway.route import BODY, PageOf, Route
from gateway.store import locks
from setpoint import runtime

_PATH: Final = "/v1/locks"
_BREAK: Final = _PATH + "/{key}/break"


async def list_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List the locks that are held, by key; ``expired`` ones may be broken without force."""
    limit, after = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> list[shapes.Lock]:
        return await locks.page(connection, tenant_id, after, limit)

    found = await edge.database.read(tenant_id, query)
    return page_answer(found, cursor.encode_cursor(found[-1].key) if len(found) == limit else None)


async def break_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Take a lock from the execution that holds it, which goes on without it; who, when and why is recorded.

    Only once its time to live (``lockTtlSeconds``) has passed, or with ``force``. The lock is free when this answers;
    ``command_id`` is the notice in the holder's session, whose log then says ``lock.broken``.
    """
    who, key, body = principal(request), request.match_info["key"], await read_json(request)
    wish = locks.Breaking(
        key,
        admit.break_lock(admit.read_as(body, shapes.BreakLock)),
        runtime.new_id(),
        f"key {who.key_id}",
        admit.idempotency_key(request.headers),
        admit.fingerprint(request.method, _BREAK, key, body),
    )
    broken = await locks.take_away(edge.database, who.tenant_id, wish)
    edge.links.poke(who.tenant_id, broken.answer.session_id, broken.owner_host)
    headers = {"Idempotency_Replayed": "true"} if broken.replayed else {}
    return answer(broken.answer, 200, **headers)


ROUTES: Final = (
    Route("GET", _PATH, list_, "List locks", ((200, "A page, by key.", PageOf(shapes.Lock)),), (), ("limit", "after")),
    Route(
        "POST",
        _BREAK,
        break_,
        "Break a lock",
        ((200, "The lock is free.", shapes.BrokenLock),),
        (*BODY, "not-found", "locked", "conflict", "idempotency-mismatch"),
        (),
        ("Idempotency-Key",),
        shapes.BreakLock,
    ),
)
