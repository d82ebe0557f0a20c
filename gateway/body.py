"""Reading a request's JSON body: its type, its size, its time, its syntax. Called by the routes that take one."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from gateway import strict_json
from setpoint.contracts.limits import KIB
from setpoint.contracts.problem import Problem

_BODY_S_MAX: Final = 30.0
_INLINE_BYTES_MAX: Final = 32 * KIB
"""A larger body is parsed beside the loop, which goes on meanwhile."""


async def read_json(request: web.Request, *, any_type: bool = False, required: bool = True) -> object:
    """Return the JSON value of the body, an empty object when there may be none and is none.

    ``any_type`` takes JSON under whatever content type (the unversioned routes, for plain ``curl -d``). Raises Problem
    unsupported-media-type, payload-too-large (from the application's bound) or invalid-request.
    """
    try:
        async with asyncio.timeout(_BODY_S_MAX):
            content = await request.read()
    except TimeoutError:
        raise Problem("invalid-request", f"the body did not arrive within {_BODY_S_MAX:g} s") from None
    if not content.strip() and not required:
        return {}
    if not any_type and request.content_type != "application/json":
        raise Problem("unsupported-media-type", f"send application/json here, not {request.content_type}")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Problem("unsupported-media-type", "JSON is UTF-8")
    if len(content) <= _INLINE_BYTES_MAX:
        return strict_json.parse(content)
    return await asyncio.to_thread(strict_json.parse, content)
