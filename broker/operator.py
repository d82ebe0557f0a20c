"""What an operator may see and order: ``/v1/hosts`` with the operator's key, and nothing without it.

``app`` adds these routes. An order is noted in the database and nowhere else: brokers, cell hosts and the next broker
read it there. No route here waits for what comes of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any, Final

import msgspec
from aiohttp import web

from broker import drain
from broker.registry import Linked, Registry
from broker.store import HostRow, Store, StoreFault
from setpoint import runtime
from setpoint.contracts import codec
from setpoint.contracts.limits import LEASE_TTL_S, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from setpoint.contracts.problem import Problem

_BEARER_CHARS_MAX: Final = 512
_REASON_CHARS_MAX: Final = 500
_BODY_S_MAX: Final = 10.0
_ORDERS: Final = {"cordon": "cordon", "uncordon": "serve", "drain": "drain"}


class _Ordered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an order. ``force``: also where the host seems to live."""

    reason: str = ""
    force: bool = False


class OperatorRoutes:
    """The routes under ``/v1/hosts`` of one broker."""

    def __init__(self, store: Store, registry: Registry, operator_key: str) -> None:
        self._store, self._registry = store, registry
        self._key_hash = hashlib.sha256(operator_key.encode()).digest()

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_get("/v1/hosts", self._list)
        app.router.add_get("/v1/hosts/{id}", self._one)
        app.router.add_get("/v1/hosts/{id}/drain", self._progress)
        for word in _ORDERS:
            app.router.add_post(f"/v1/hosts/{{id}}/{word}", self._order)
        app.router.add_post("/v1/hosts/{id}/declare-dead", self._declare_dead)

    async def _list(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        limit, after = _limit(request.query.get("limit", "")), request.query.get("after", "")
        rows = sorted((row for row in await self._rows() if row.host > after), key=lambda row: row.host)
        following = rows[limit - 1].host if len(rows) > limit else None
        return web.json_response({"items": [self._document(row) for row in rows[:limit]], "next": following})

    async def _one(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        row, _ = await self._found(request)
        return web.json_response(self._document(row))

    async def _progress(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        row, rows = await self._found(request)
        try:
            total, left = await self._store.left(row.host, drain.LEFT_MAX)
        except StoreFault as error:
            raise _unavailable() from error
        return web.json_response(drain.progress(row, rows, total, left))

    async def _order(self, request: web.Request) -> web.Response:
        """Note an order, and answer with the host as it is now; the same order again changes nothing."""
        self._authenticate(request)
        given = await _body(request)
        row, _ = await self._found(request)
        word = request.path.rpartition("/")[2]
        try:
            await self._store.order(row.host, _ORDERS[word], given.reason)
        except StoreFault as error:
            raise _unavailable() from error
        runtime.log().info("host ordered", host=row.host, role=row.role, order=word)
        row, rows = await self._found(request)
        self._registry.see(rows)  # what is cordoned is given nothing from now on, not from the next poll
        return web.json_response(self._document(row) | {"others": drain.others(row, rows)})

    async def _declare_dead(self, request: web.Request) -> web.Response:
        """Declare a sandbox host dead. Raises Problem conflict while it gives signs of life, unless forced."""
        self._authenticate(request)
        given = await _body(request)
        if not given.reason:
            raise Problem("invalid-request", 'say why: {"reason": "..."}')
        row, _ = await self._found(request)
        if row.role != "sandbox":
            raise Problem("invalid-transition", f"{row.host} is a cell host: the end of its lease says that it is dead")
        if not given.force and row.state == "ready" and row.seen_age_s < LEASE_TTL_S:
            heard = f"{row.host} was heard of {row.seen_age_s:.1f} s ago"
            raise Problem("conflict", f"{heard}: stop it first; its runs might go on beside new ones")
        try:
            did = await self._store.declare_dead(row.host, row.incarnation, given.reason)
        except StoreFault as error:
            raise _unavailable() from error
        if did:
            runtime.log().warning("sandbox host declared dead", host=row.host, incarnation=row.incarnation)
        row, _ = await self._found(request)
        if row.state != "dead":
            raise Problem("conflict", f"{row.host} has just come back as another incarnation: look at it again")
        return web.json_response(self._document(row))

    async def _found(self, request: web.Request) -> tuple[HostRow, list[HostRow]]:
        """Return the host that the path names, and all hosts."""
        wanted, rows = request.match_info["id"], await self._rows()
        for row in rows:
            if row.host == wanted:
                return row, rows
        raise Problem("not-found", f"there is no host {wanted[:128]!r}")

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = hashlib.sha256(key[:_BEARER_CHARS_MAX].encode("utf-8", "surrogateescape")).digest()
        if scheme != "Bearer" or not hmac.compare_digest(given, self._key_hash):
            raise Problem("unauthenticated", "this needs the operator's key as a bearer token")

    async def _rows(self) -> list[HostRow]:
        try:
            return await self._store.hosts()
        except StoreFault as error:
            raise _unavailable() from error

    def _document(self, row: HostRow) -> dict[str, Any]:
        return host_document(row, self._registry.linked(row.host))


def host_document(row: HostRow, linked: Linked | None) -> dict[str, Any]:
    """Return a host as the operator sees it. Ages and remaining times are seconds by the database's clock.

    ``state`` is the recorded one, or ``expired`` for a cell host whose lease is over, or ``unseen`` for a sandbox host
    that no broker heard of for a lease's time, or ``cordoned`` or ``draining`` for one that is well and was ordered so.
    ``ordered`` is the order alone. ``linked`` says whether this broker has a link to it now.
    """
    is_cell = row.expires_in_s is not None
    is_linked = linked is not None and linked.incarnation == row.incarnation
    return {
        "host": row.host,
        "role": row.role,
        "incarnation": row.incarnation,
        "state": _state(row),
        "ordered": row.ordered,
        "address": row.address,
        "sessions": row.sessions,
        "capacity": linked.capacity if linked is not None and is_linked else row.capacity,
        "seen_age_s": round(row.seen_age_s, 3),
        "lease_age_s": round(row.seen_age_s, 3) if is_cell else None,
        "lease_expires_in_s": round(row.expires_in_s, 3) if row.expires_in_s is not None else None,
        "linked": is_linked,
    }


def _state(row: HostRow) -> str:
    if row.state != "ready":
        return row.state
    if row.expires_in_s is not None and row.expires_in_s <= 0:
        return "expired"
    if row.expires_in_s is None and row.seen_age_s > LEASE_TTL_S:
        return "unseen"
    return _SHOWN[row.ordered]


_SHOWN: Final = {"serve": "ready", "cordon": "cordoned", "drain": "draining"}


def _unavailable() -> Problem:
    return Problem("unavailable", "the database does not answer", retry_after_s=1)


async def _body(request: web.Request) -> _Ordered:
    """Read the body of an order; none is an order without a reason. Raises Problem invalid-request."""
    try:
        async with asyncio.timeout(_BODY_S_MAX):
            content = await request.read()
    except TimeoutError:
        raise Problem("invalid-request", f"the body did not arrive within {_BODY_S_MAX:g} s") from None
    try:
        given = msgspec.json.decode(content, type=_Ordered) if content.strip() else _Ordered()
    except msgspec.MsgspecError as error:
        raise Problem("invalid-request", f"the body is not an order: {error}") from error
    if len(given.reason) > _REASON_CHARS_MAX or codec.unstorable(given.reason):
        raise Problem("invalid-request", f"reason is text of at most {_REASON_CHARS_MAX} characters, without NUL")
    return given


def _limit(text: str) -> int:
    if not text:
        return PAGE_ITEMS_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= PAGE_ITEMS_MAX):
        raise Problem("invalid-request", f"limit is a number from 1 to {PAGE_ITEMS_MAX}")
    return int(text)
