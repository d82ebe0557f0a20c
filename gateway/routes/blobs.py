"""``/v1/blobs/{sha256}``: a tenant's immutable bytes, named by their content."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from gateway.edge import Edge, answer, principal
from gateway.route import Route
from setpoint.contracts.limits import BLOB_BYTES_MAX, MIB
from setpoint.contracts.problem import Fault, Problem
from setpoint.objects import ObjectMissing, blob_key

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BODY_S_MAX: Final = 60.0
_SMALL_BYTES: Final = 1 * MIB
_ROOM_S_MAX: Final = 10.0


async def put(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Store bytes under their sha256; 201 when they are new here, 200 when they were there. Any content type."""
    key, sha256 = _key(request)
    if (request.content_length or 0) > BLOB_BYTES_MAX:
        raise _too_large()
    # Small blobs, which are nearly all, never wait for the room that slow large ones may hold.
    is_small = request.content_length is not None and request.content_length <= _SMALL_BYTES
    async with contextlib.nullcontext() if is_small else _room(edge, request):
        content = await _read(request, sha256)
        is_new = await asyncio.to_thread(edge.objects.size, key) is None
        await asyncio.to_thread(edge.objects.put, key, content)
    return answer({"sha256": sha256, "bytes": len(content)}, 201 if is_new else 200)


async def head(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Tell whether a blob is stored, and its size."""
    key, sha256 = _key(request)
    size = await asyncio.to_thread(edge.objects.size, key)
    if size is None:
        raise _missing(sha256)
    headers = {"Content-Length": str(size), "ETag": f'"{sha256}"', "Content-Type": "application/octet-stream"}
    return web.Response(headers=headers)


async def get(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Return a blob's bytes."""
    key, sha256 = _key(request)
    async with _room(edge, request):
        try:
            content = await asyncio.to_thread(edge.objects.get, key)
        except ObjectMissing as error:
            raise _missing(sha256) from error
        headers = {"ETag": f'"{sha256}"', "Content-Disposition": "attachment"}
        return web.Response(body=content, content_type="application/octet-stream", headers=headers)


@contextlib.asynccontextmanager
async def _room(edge: Edge, request: web.Request) -> AsyncIterator[None]:
    """Hold room for one blob in memory, of which one tenant gets a part; who waits too long is told to come again."""
    async with edge.blob_shares.one(principal(request).tenant_id):
        try:
            async with asyncio.timeout(_ROOM_S_MAX):
                await edge.blob_room.acquire()
        except TimeoutError:
            raise Problem("unavailable", "too many blobs are on their way", retry_after_s=2) from None
        try:
            yield
        finally:
            edge.blob_room.release()


async def _read(request: web.Request, sha256: str) -> bytes:
    """Read and hash the body as it comes. Raises Problem when it is too large, too slow, or not what its name says."""
    digest, content = hashlib.sha256(), bytearray()
    try:
        async with asyncio.timeout(_BODY_S_MAX):
            async for chunk in request.content.iter_any():
                if len(content) + len(chunk) > BLOB_BYTES_MAX:
                    raise _too_large()
                digest.update(chunk)
                content += chunk
    except TimeoutError:
        raise Problem("invalid-request", f"the body did not arrive within {_BODY_S_MAX:g} s") from None
    found = digest.hexdigest()
    if found != sha256:
        detail = f"the body's sha256 is {found}, not the one in the path"
        raise Problem("validation-failed", detail, errors=[Fault("blob.sha256", detail)])
    return bytes(content)


def _key(request: web.Request) -> tuple[str, str]:
    sha256 = request.match_info["sha256"]
    if not _SHA256.fullmatch(sha256):
        raise Problem("invalid-request", "a blob is named by its sha256: 64 lower-case hexadecimal digits")
    return blob_key(principal(request).tenant_id, sha256), sha256


def _missing(sha256: str) -> Problem:
    return Problem("not-found", f"there is no blob {sha256}")


def _too_large() -> Problem:
    return Problem("payload-too-large", f"a blob has at most {BLOB_BYTES_MAX} bytes")


_PATH: Final = "/v1/blobs/{sha256}"
_BYTES: Final = "application/octet-stream"

ROUTES: Final = (
    Route(
        "PUT",
        _PATH,
        put,
        "Store a blob",
        ((201, "Stored now.", dict), (200, "It was stored before.", dict)),
        ("payload-too-large", "validation-failed", "quota-exceeded"),
        body=_BYTES,
    ),
    Route(
        "HEAD",
        _PATH,
        head,
        "Tell whether a blob is stored",
        ((200, "It is; Content-Length is its size.", None),),
        ("not-found",),
    ),
    Route("GET", _PATH, get, "Read a blob", ((200, "Its bytes.", _BYTES),), ("not-found", "quota-exceeded")),
)
