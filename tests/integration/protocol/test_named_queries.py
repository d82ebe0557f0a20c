"""Every named query of every room is prepared against the migrated schema, as the role that runs it."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from migrations import named
from migrations.door import connect
from migrations.outcome import Fault
from tests.integration.protocol.world import Database

ROOT = Path(__file__).resolve().parents[3]
ROLES = {
    "gateway": "setpoint_gateway",
    "broker": "setpoint_broker",
    "celld": "setpoint_celld",
    "migrations": "setpoint_migrate",
    "setpoint": "",  # the local stack speaks to its own server as the administrator
}
# A sandbox host has no Postgres; its ledger speaks SQLite.
FILES = sorted(
    path.relative_to(ROOT) for room in ROLES for path in (ROOT / room).rglob("*.sql") if path.parent.name != "versions"
)


def test_every_file_of_sql_belongs_to_a_room_with_a_role() -> None:
    assert FILES and {path.parts[0] for path in FILES} <= set(ROLES)


@pytest.mark.parametrize("path", FILES, ids=str)
async def test_every_named_query_prepares(database: Database, path: Path) -> None:
    faults: dict[str, str] = {}
    role = ROLES[path.parts[0]]
    async with connect(database.dsn(role) if role else database.admin_dsn) as connection:
        for name, sql in named.read(ROOT / path).items():
            for statement in [sql] if "$$" in sql else sql.split(";\n"):
                try:
                    await connection.prepare(statement)
                except (asyncpg.PostgresError, Fault) as error:
                    faults[name] = str(error)
    assert not faults
