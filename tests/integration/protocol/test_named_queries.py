"""Every named query of every room is prepared against the migrated schema, as the role that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations import named
from migrations.door import connect
from tests.integration.protocol.world import Database

ROOT = Path(__file__).resolve().parents[3]
ROLES = {
    "gateway": "setpoint_gateway",
    "broker": "setpoint_broker",
    "celld": "setpoint_celld",
    "migrations": "setpoint_migrate",
}
FILES = sorted(
    path.relative_to(ROOT)
    for room in (*ROLES, "sandboxd", "setpoint")
    for path in (ROOT / room).rglob("*.sql")
    if path.parent.name != "versions"
)


def test_every_file_of_sql_belongs_to_a_room_with_a_role() -> None:
    assert FILES and {path.parts[0] for path in FILES} <= set(ROLES)


@pytest.mark.parametrize("path", FILES, ids=str)
async def test_every_named_query_prepares(database: Database, path: Path) -> None:
    blocks = named.read(ROOT / path)
    assert blocks
    async with connect(database.dsn(ROLES[path.parts[0]])) as connection:
        for name, sql in blocks.items():
            for statement in filter(str.strip, sql.split(";\n") if "$$" not in sql else [sql]):
                try:
                    await connection.prepare(statement)
                except Exception as error:
                    raise AssertionError(f"{path}: block {name!r} does not prepare") from error
