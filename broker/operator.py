"""What an operator may see: ``/v1/hosts`` with the operator's key, and nothing without it.

``app`` adds these routes. They read; draining and removing hosts is not supported yet.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

from aiohttp import web

from broker.registry import Linked, Registry
from broker.store import HostRow, Store, StoreFault
from setpoint.contracts.limits import LEASE_TTL_S, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from setpoint.contracts.problem import Problem

_BEARER_CHARS_MAX: Final = 512


class OperatorRoutes:
    """The routes under ``/v1/hosts`` of one broker."""

    def __init__(self, store: Store, registry: Registry, operator_key: str) -> None:
        self._store, self._registry = store, registry
        self._key_hash = hashlib.sha256(operator_key.encode()).digest()

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_get("/v1/hosts", self._list)
        app.router.add_get("/v1/hosts/{id}", self._one)

    async def _list(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        limit, after = _limit(request.query.get("limit", "")), request.query.get("after", "")
        rows = sorted((row for row in await self._rows() if row.host > after), key=lambda row: row.host)
        following = rows[limit - 1].host if len(rows) > limit else None
        return web.json_response({"items": [self._document(row) for row in rows[:limit]], "next": following})

    async def _one(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        wanted = request.match_info["id"]
        for row in await self._rows():
            if row.host == wanted:
                return web.json_response(self._document(row))
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
            raise Problem("unavailable", "the database does not answer", retry_after_s=1) from error

    def _document(self, row: HostRow) -> dict[str, Any]:
        return host_document(row, self._registry.linked(row.host))


def host_document(row: HostRow, linked: Linked | None) -> dict[str, Any]:
    """Return a host as the operator sees it. Ages and remaining times are seconds by the database's clock.

    ``state`` is the recorded one, or ``expired`` for a cell host whose lease is over, or ``unseen`` for a sandbox host
    that no broker heard of for a lease's time. ``linked`` says whether this broker has a link to it now.
    """
    is_cell = row.expires_in_s is not None
    is_linked = linked is not None and linked.incarnation == row.incarnation
    return {
        "host": row.host,
        "role": row.role,
        "incarnation": row.incarnation,
        "state": _state(row),
        "address": row.address,
        "sessions": row.sessions,
        "capacity": linked.capacity if linked is not None and is_linked else row.capacity,
        "seen_age_s": round(row.seen_age_s, 3),
        "lease_age_s": round(row.seen_age_s, 3) if is_cell else None,
        "lease_expires_in_s": round(row.expires_in_s, 3) if row.expires_in_s is not None else None,
        "linked": is_linked,
    }


def _state(row: HostRow) -> str:
    if row.state == "fenced":
        return row.state
    if row.expires_in_s is not None:
        return "expired" if row.expires_in_s <= 0 else row.state
    return "unseen" if row.seen_age_s > LEASE_TTL_S else row.state


def _limit(text: str) -> int:
    if not text:
        return PAGE_ITEMS_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= PAGE_ITEMS_MAX):
        raise Problem("invalid-request", f"limit is a number from 1 to {PAGE_ITEMS_MAX}")
    return int(text)
