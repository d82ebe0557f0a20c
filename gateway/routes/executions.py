"""``/v1/sessions/{session}/executions``: what ran, step by step, and what it printed.

Output of an ended step comes from the object store; output of a running one is relayed by the owner of the session.
Either way a byte has the same offset, so a reader goes on where it was.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from aiohttp import web

from gateway import cursor, execution, shapes
from gateway.edge import Edge, answer, is_gone, page_answer, principal
from gateway.output import Chunk, read_output
from gateway.route import PageOf, Route
from gateway.store import events, sessions
from setpoint.contracts import ids, limits
from setpoint.contracts.problem import Problem

_PAGE_MAX: Final = 100
_FOLLOW_POLL_S: Final = 0.25
_FOLLOW_S_MAX: Final = 3600.0


async def list_(edge: Edge, request: web.Request) -> web.StreamResponse:
    """List executions, newest first; ``?asset=`` those of one asset."""
    limit = min(cursor.page_limit(request.query), _PAGE_MAX)
    after = cursor.decode_cursor(request.query)
    before = cursor.whole_number("after", after) if after else None
    tenant_id, asset = principal(request).tenant_id, request.query.get("asset")
    if asset is not None and not ids.is_name(asset):
        raise Problem("invalid-request", f"{asset[:64]!r} is no asset's name")

    async def query(connection: Any) -> tuple[list[shapes.Execution], int | None]:
        session = await sessions.find(connection, tenant_id, request.match_info["session"])
        page = await events.executions(connection, tenant_id, session.id, before=before, asset=asset, limit=limit)
        folded = [found for mine in page.executions if (found := execution.fold(mine)) is not None]
        return folded, page.next_before

    found, next_before = await edge.database.read(tenant_id, query)
    return page_answer(found, None if next_before is None else cursor.encode_cursor(str(next_before)))


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read one execution with its steps."""
    _, found = await _find(edge, request)
    return answer(found)


async def output(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Read what a step printed, from a byte offset; ``follow=true`` goes on until the step has ended.

    ``Setpoint-Next-Offset`` says where to read on, ``Setpoint-Eof`` whether that was all.
    """
    query = request.query
    step = cursor.whole_number("step", query.get("step", "0"))
    name = cursor.choice("stream", query.get("stream", "stdout"), ("stdout", "stderr"))
    stream: Literal["stdout", "stderr"] = "stderr" if name == "stderr" else "stdout"
    offset = cursor.whole_number("offset", query.get("offset", "0"))
    follows = cursor.choice("follow", query.get("follow", "false"), ("true", "false")) == "true"
    session_id, found = await _find(edge, request)
    chunk = await read_output(edge, principal(request).tenant_id, session_id, found, step, stream, offset)
    if follows:
        with edge.streams.one(principal(request).tenant_id):
            return await _follow(edge, request, session_id, found, step, stream, chunk)
    headers = {"Setpoint-Next-Offset": str(chunk.next_offset), "Setpoint-Eof": "true" if chunk.eof else "false"}
    if chunk.truncated:
        headers["Setpoint-Truncated"] = "true"
    return web.Response(body=chunk.content, content_type="application/octet-stream", headers=headers)


async def _follow(
    edge: Edge,
    request: web.Request,
    session_id: str,
    found: shapes.Execution,
    step: int,
    stream: Literal["stdout", "stderr"],
    chunk: Chunk,
) -> web.StreamResponse:
    """Send output in chunks as it comes, until the step has ended; a broken-off answer is read on by offset."""
    tenant_id = principal(request).tenant_id
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream", "X-Accel-Buffering": "no"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    deadline = asyncio.get_running_loop().time() + _FOLLOW_S_MAX
    while True:
        if chunk.content:
            async with asyncio.timeout(limits.SSE_WRITE_S_MAX):
                await response.write(chunk.content)
        is_over = edge.watcher.closed or asyncio.get_running_loop().time() > deadline
        if chunk.eof or is_over or is_gone(request):
            return response
        if not chunk.content:
            await asyncio.sleep(_FOLLOW_POLL_S)
        try:
            found = await _read(edge, tenant_id, session_id, found.id, found.started_seq)
            chunk = await read_output(edge, tenant_id, session_id, found, step, stream, chunk.next_offset)
        except Problem as problem:
            if not problem.kind.retry:
                return response
            chunk = Chunk(b"", chunk.next_offset, eof=False)


async def _find(edge: Edge, request: web.Request) -> tuple[str, shapes.Execution]:
    tenant_id = principal(request).tenant_id
    session = await sessions.one(edge.database, tenant_id, request.match_info["session"])
    return session.id, await _read(edge, tenant_id, session.id, request.match_info["execution"])


async def _read(edge: Edge, tenant_id: str, session_id: str, execution_id: str, first: int = 0) -> shapes.Execution:
    found = None
    if ids.is_uuid(execution_id):
        mine = await edge.database.read(
            tenant_id, lambda connection: events.execution(connection, tenant_id, session_id, execution_id, first)
        )
        found = execution.fold(mine)
    if found is None:
        raise Problem("not-found", f"there is no execution {execution_id[:64]!r}")
    return found


_PATH: Final = "/v1/sessions/{session}/executions"
_BYTES: Final = "application/octet-stream"

ROUTES: Final = (
    Route(
        "GET",
        _PATH,
        list_,
        "List executions",
        ((200, "A page, newest first.", PageOf(shapes.Execution)),),
        ("not-found",),
        ("limit", "after", "asset"),
    ),
    Route(
        "GET",
        _PATH + "/{execution}",
        get,
        "Read an execution",
        ((200, "The execution.", shapes.Execution),),
        ("not-found",),
    ),
    Route(
        "GET",
        _PATH + "/{execution}/output",
        output,
        "Read what a step printed",
        ((200, "Bytes.", _BYTES),),
        ("not-found", "quota-exceeded"),
        ("step", "stream", "offset", "follow"),
    ),
)
