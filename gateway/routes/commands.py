"""``/v1/sessions/{session}/commands``: what a session is asked to do, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway import admit, cursor, shapes
from gateway.body import read_json
from gateway.edge import Edge, answer, page_answer, principal
from gateway.route import BODY, PageOf, Route
from gateway.routes.apply import admit_project
from gateway.store import inbox, sessions
from setpoint import failpoints, runtime
from setpoint.contracts import ids
from setpoint.contracts.problem import Fault, Problem

_ROUTE: Final = "/v1/sessions/{session}/commands"


async def post(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Queue a command; the answer comes before it has any effect. ``apply`` compiles the project first."""
    who, is_alias = principal(request), not request.path.startswith("/v1/")
    body = await read_json(request, any_type=is_alias)
    if is_alias:
        body = admit.tenant_of_alias(body, who.tenant_id, who.tenant_name)
    sent = admit.read_as(body, shapes.PostCommand)
    session_id = request.match_info["session"]
    if sent.type == "apply" or not ids.is_uuid(session_id):  # else enqueue looks at the session, under its lock
        session_id = (await sessions.one(edge.database, who.tenant_id, session_id)).id
    if sent.type == "apply":
        admitted, warnings = await admit_project(edge, who.tenant_id, sent.payload)
    else:
        admitted, warnings = admit.command(sent), ()
    return await enqueue(edge, request, session_id, admitted, body, warnings)


async def enqueue(
    edge: Edge,
    request: web.Request,
    session_id: str,
    admitted: admit.Request,
    body: object,
    warnings: Sequence[Fault] = (),
) -> web.StreamResponse:
    """Queue an admitted command under the request's Idempotency-Key and poke its owner; answer 202 with the warnings.

    ``body`` is what the client sent: the same key with another body is a mismatch. Raises Problem.
    """
    who = principal(request)
    tenant_id = who.tenant_id
    key = admit.idempotency_key(request.headers)
    failpoints.hit("gateway.enqueue.before")
    queued = await inbox.enqueue(
        edge.database,
        tenant_id,
        session_id,
        runtime.new_id(),
        admitted,
        key=key,
        fingerprint=admit.fingerprint(request.method, _ROUTE, session_id, body),
        by=f"key {who.key_id}",
    )
    failpoints.hit("gateway.enqueue.after")
    edge.links.poke(tenant_id, session_id, queued.owner_host)
    await asyncio.sleep(0)  # the poke leaves before the answer is made: the owner works meanwhile
    headers = {"Location": f"/v1/sessions/{session_id}/commands/{queued.accepted.command_id}"}
    if queued.replayed:
        headers["Idempotency_Replayed"] = "true"
    accepted = queued.accepted
    if warnings:
        accepted = msgspec.structs.replace(accepted, warnings=[warning.as_json() for warning in warnings])
    return answer(accepted, 202, **headers)


async def list_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List the session's commands, newest first."""
    limit, before = cursor.page_limit(request.query), cursor.decode_cursor(request.query)
    if before and not ids.is_uuid(before):
        raise Problem("invalid-request", "after is no cursor that a page of this list has given")
    tenant_id = principal(request).tenant_id

    async def query(connection: Any) -> list[shapes.Command]:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        return await inbox.page(connection, tenant_id, session.id, before, limit)

    found = await edge.database.read(tenant_id, query)
    return page_answer(found, cursor.encode_cursor(found[-1].command_id) if len(found) == limit else None)


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read a command: its status, and its result once it has ended."""
    tenant_id, command_id = principal(request).tenant_id, request.match_info["command"]

    async def query(connection: Any) -> shapes.Command:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        if not ids.is_uuid(command_id):
            raise Problem("not-found", f"there is no command {command_id[:64]!r}")
        return await inbox.one(connection, tenant_id, session.id, command_id)

    return answer(await edge.database.read(tenant_id, query))


_QUEUED: Final = ((202, "Queued; Location names the command.", shapes.Accepted),)
_POST_PROBLEMS: Final = (
    *BODY,
    "not-found",
    "invalid-transition",
    "idempotency-mismatch",
    "inbox-full",
    "quota-exceeded",
    "dependency-cycle",
    "unknown-reference",
)
_PAGE: Final = (200, "A page, newest first.", PageOf(shapes.Command))
_LIMITS: Final = ("limit", "after")

ROUTES: Final = (
    Route(
        "POST", _ROUTE, post, "Queue a command", _QUEUED, _POST_PROBLEMS, (), ("Idempotency-Key",), shapes.PostCommand
    ),
    Route("GET", _ROUTE, list_, "List commands", (_PAGE,), ("not-found",), _LIMITS),
    Route(
        "GET", _ROUTE + "/{command}", get, "Read a command", ((200, "The command.", shapes.Command),), ("not-found",)
    ),
    Route(
        "POST",
        "/sessions/{session}/commands",
        post,
        "Queue a command (unversioned)",
        _QUEUED,
        (*_POST_PROBLEMS, "forbidden"),
        (),
        ("Idempotency-Key",),
        shapes.PostCommand,
        alias=True,
    ),
    Route(
        "GET",
        "/sessions/{session}/commands",
        list_,
        "List commands (unversioned)",
        (_PAGE,),
        ("not-found",),
        _LIMITS,
        alias=True,
    ),
)
