"""What an operator does straight in the database: tenants, keys, join tokens, and the step after a restore.

``setpoint-migrate`` and ``setpoint up`` call this as setpoint_migrate. Secrets are returned once and kept as hashes only.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from migrations import named
from migrations.door import Connection
from setpoint.contracts import apikey
from setpoint.contracts.problem import Problem
from setpoint.runtime import new_secret

JOIN_TOKEN_S: Final = 10 * 365 * 24 * 3600.0
"""How long a join token admits hosts when nobody says otherwise: it is withdrawn by ending it, not by waiting."""

_SQL: Final = named.beside(__file__)


async def restored(connection: Connection) -> tuple[int, int]:
    """Void every owner, lease and epoch; return the new cluster incarnation and how many sessions were made due."""
    row = await connection.fetchrow(_SQL["restored"])
    assert row is not None, "restored() returns one row"
    return row["incarnation"], row["sessions"]


async def create_tenant(connection: Connection, name: str) -> str:
    """Return the id of the tenant called ``name``, made now if there was none. Raises BadInput for an illegal name."""
    tenant_id: str = await connection.fetchval(_SQL["tenant_create"], name)
    return tenant_id


async def create_api_key(connection: Connection, tenant: str, name: str = "default") -> str:
    """Make an API key for the tenant called ``tenant`` and return its text. Raises Problem not-found."""
    tenant_id = await connection.fetchval(_SQL["tenant_by_name"], tenant)
    if tenant_id is None:
        raise Problem("not-found", f"there is no tenant {tenant!r}")
    key = apikey.new_api_key(os.urandom(apikey.RANDOM_BYTES))
    await connection.execute(_SQL["key_create"], tenant_id, key.key_id, apikey.hash_secret(key.secret), name)
    return key.text


async def create_join_token(connection: Connection, *, token: str | None = None, valid_s: float = JOIN_TOKEN_S) -> str:
    """Make (or admit the given) join token for hosts, valid from now for ``valid_s``, and return it."""
    text = token or new_secret()
    await connection.execute(_SQL["join_token_create"], join_token_hash(text), valid_s)
    return text


def join_token_hash(token: str) -> bytes:
    """Return what is kept of a join token, and what ``join_token_check`` is asked with."""
    return hashlib.sha256(token.encode()).digest()
