"""What an operator does straight in the database: tenants, keys, join tokens, and the step after a restore.

``setpoint-migrate`` and ``setpoint up`` call this with the DSN of setpoint_migrate. Secrets are returned once and kept
as hashes (``apikey.hash_secret``) only.
"""

from __future__ import annotations

import os
from typing import Final

from migrations import named
from migrations.door import connect
from setpoint.contracts import apikey

JOIN_TOKEN_S: Final = 365 * 24 * 3600.0
"""How long a join token admits hosts when nobody says otherwise."""

_SQL: Final = named.beside(__file__)


async def restored(dsn: str) -> tuple[int, int]:
    """Void every owner, lease and epoch; return the new cluster incarnation and how many sessions were made due."""
    async with connect(dsn) as connection:
        row = await connection.fetchrow(_SQL["restored"])
    assert row is not None, "restored() returns one row"
    return row["incarnation"], row["sessions"]


async def ensure_tenant(dsn: str, name: str) -> str:
    """Return the id of the tenant called ``name``, made now if there was none. Raises BadInput for an illegal name."""
    async with connect(dsn) as connection:
        tenant_id: str = await connection.fetchval(_SQL["tenant_create"], name)
    return tenant_id


async def find_tenant(dsn: str, name: str) -> str | None:
    """Return the id of the tenant called ``name``, or None."""
    async with connect(dsn) as connection:
        tenant_id: str | None = await connection.fetchval(_SQL["tenant_by_name"], name)
    return tenant_id


async def ensure_api_key(dsn: str, tenant_id: str, name: str = "default") -> str:
    """Make a new API key of a tenant and return its text, shown this once. Raises BadInput when there is no tenant."""
    key = apikey.new_api_key(os.urandom(apikey.RANDOM_BYTES))
    async with connect(dsn) as connection:
        await connection.execute(_SQL["key_create"], tenant_id, key.key_id, apikey.hash_secret(key.secret), name)
    return key.text


async def ensure_join_token(dsn: str, token: str, valid_s: float = JOIN_TOKEN_S) -> None:
    """Let ``token`` admit hosts for ``valid_s`` from now; a known one gets the new end."""
    async with connect(dsn) as connection:
        await connection.execute(_SQL["join_token_create"], apikey.hash_secret(token), valid_s)
