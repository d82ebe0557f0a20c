"""Who is asking: an API key into a principal. The tenant of a request comes from here and from nowhere else.

Called by the middleware for every route that is not public. A key travels in the Authorization header only; unknown,
revoked and malformed keys get the same answer in the same way.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.joined import Joined
from gateway.store.database import Database
from migrations import named
from setpoint.contracts.apikey import hash_secret, parse_api_key
from setpoint.contracts.problem import Problem

_SQL: Final = named.read(Path(__file__).with_name("store") / "keys.sql")
_KEEP_S: Final = 2.0
_KEEP_MAX: Final = 1024
_NO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Principal:
    """The tenant that a key belongs to, and the public half of the key, which says who it is."""

    tenant_id: str
    tenant_name: str
    key_id: str


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal | None
    hash: bytes = field(repr=False)
    until: float


class Authenticator:
    """Checks keys, asking the database at most every two seconds for each: so long may a revoked key still work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._reads: Joined[str, _Known] = Joined()

    async def check(self, headers: Mapping[str, str]) -> Principal:
        """Return the principal of a request. Raises Problem unauthenticated, or unavailable without a database."""
        scheme, _, text = headers.get("Authorization", "").partition(" ")
        key = parse_api_key(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise _refused()
        known = await self._look_up(key.key_id)
        is_right = hmac.compare_digest(hash_secret(key.secret), known.hash)
        if known.principal is None or not is_right:
            raise _refused()
        return known.principal

    async def _look_up(self, key_id: str) -> _Known:
        known = self._known.get(key_id)
        if known is not None and known.until > time.monotonic():
            return known
        # Five hundred streams of one key check it in the same moment.
        return await self._reads.read(key_id, lambda: self._read(key_id))

    async def _read(self, key_id: str) -> _Known:
        now = time.monotonic()
        row = await self._database.call(lambda pool: pool.fetchrow(_SQL["authenticate"], key_id))
        principal = None
        if row is not None and not row["revoked"]:
            principal = Principal(row["tenant_id"], row["tenant_name"], key_id)
        known = _Known(principal, _NO_HASH if row is None else row["hash"], now + _KEEP_S)
        self._known[key_id] = known
        self._known.move_to_end(key_id)
        while len(self._known) > _KEEP_MAX:
            self._known.popitem(last=False)
        return known


def _refused() -> Problem:
    return Problem("unauthenticated", "send a valid API key: Authorization: Bearer sp_...")
