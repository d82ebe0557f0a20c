"""Make the roles, and bring a database forward to the newest schema version.

``setpoint-migrate``, ``setpoint up`` and the tests call this. It only goes forward, one transaction per version, under
a lock that lets any number of callers race. It never edits what was applied, and it needs no superuser.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrations import catalogue, named, scram
from migrations.door import Connection, Refused, connect
from migrations.outcome import BadInput, Forbidden, Retry

ROLES: Final = ("setpoint_migrate", "setpoint_gateway", "setpoint_broker", "setpoint_celld")
"""The roles that log in. setpoint_fn owns the functions and never does."""

_VERSION_MIN: Final = 150000
_ATTEMPTS: Final = 20
_SQL: Final = named.beside(__file__)
_ROLES_SQL: Final = named.read(Path(__file__).with_name("bootstrap.sql"))


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says of one version. ``state`` is applied, pending, edited or unknown (a newer program's)."""

    version: int
    name: str
    state: str


async def bootstrap(admin_dsn: str, passwords: Mapping[str, str]) -> None:
    """Create the cluster's roles, their bounds and passwords, and let setpoint_migrate work in this database.

    ``admin_dsn`` is a superuser, or a role with CREATEROLE that owns the database. Idempotent, and safe when several
    processes do it at once. A password is set for each role named in ``passwords``. Raises Refused in one clear line.
    """
    strangers = sorted(set(passwords) - set(ROLES))
    if strangers:
        raise ValueError(f"no such role: {', '.join(strangers)}")
    try:
        verifiers = {role: scram.verifier(password, os.urandom(16)) for role, password in passwords.items()}
    except ValueError as error:
        raise Refused(str(error)) from error
    async with connect(admin_dsn) as connection:
        server = await connection.fetchrow(_ROLES_SQL["server"])
        assert server is not None, "a query without FROM has one row"
        if server["version"] < _VERSION_MIN:
            raise Refused(f"Postgres 15 or newer is needed, this is {server['version'] // 10000}")
        try:
            for block in ("roles", "settings", "database"):
                await _insist(connection, _ROLES_SQL[block])
            for role, verifier in verifiers.items():
                statement = await connection.fetchval(_ROLES_SQL["password"], role, verifier)
                await _insist(connection, statement)
        except Forbidden as error:
            raise Refused(f"{server['role']} may not set up the roles: {error.detail}") from error
        strong = await connection.fetchval(_ROLES_SQL["too_strong"], [*ROLES, "setpoint_fn"])
        if strong is not None:
            raise Refused(f"role {strong} is superuser or bypasses row-level security: take that away first")


async def migrate(dsn: str) -> list[int]:
    """Apply, as setpoint_migrate, every version that is missing, and return their numbers.

    Raises Refused when an applied version was edited since, when the database knows more than this program, or when
    the role is another; then nothing was applied.
    """
    steps = catalogue.known()
    done: list[int] = []
    async with connect(dsn) as connection:
        await _begin(connection)
        _agree(await _states(connection, steps))
        for step in steps:
            async with connection.transaction():
                await connection.execute(_SQL["lock"])
                present = {row["version"] for row in await connection.fetch(_SQL["applied"])}
                if step.version in present:
                    continue
                await connection.execute(_SQL["path"])
                await connection.execute(step.script)
                await connection.execute(_SQL["record"], step.version, step.name, step.checksum)
            done.append(step.version)
    return done


async def status(dsn: str) -> list[Applied]:
    """Return the state of every version known here or there, in order. Changes nothing."""
    async with connect(dsn) as connection:
        if not await connection.fetchval(_SQL["exists"]):
            return [Applied(step.version, step.name, "pending") for step in catalogue.known()]
        return await _states(connection, catalogue.known())


async def _begin(connection: Connection) -> None:
    role = await connection.fetchval(_SQL["role"])
    if role != "setpoint_migrate":
        raise Refused(f"connected as {role}: only setpoint_migrate may migrate, or it would not own what it makes")
    try:
        async with connection.transaction():
            await connection.execute(_SQL["lock"])
            if not await connection.fetchval(_SQL["exists"]):
                await connection.execute(_SQL["ground"])
    except Forbidden as error:
        raise Refused(f"setpoint_migrate may not create the schema: {error.detail} (was the bootstrap run?)") from error


async def _states(connection: Connection, steps: tuple[catalogue.Version, ...]) -> list[Applied]:
    there = {row["version"]: row for row in await connection.fetch(_SQL["applied"])}
    states = []
    for step in steps:
        row = there.pop(step.version, None)
        state = "pending" if row is None else "applied" if row["checksum"] == step.checksum else "edited"
        states.append(Applied(step.version, step.name, state))
    return states + [Applied(version, row["name"], "unknown") for version, row in sorted(there.items())]


def _agree(states: list[Applied]) -> None:
    for item in states:
        if item.state == "edited":
            raise Refused(f"version {item.version} ({item.name}) was edited after it was applied: add a new version")
        if item.state == "unknown":
            raise Refused(f"the database has version {item.version} ({item.name}), which this program does not know")


async def _insist(connection: Connection, statement: str) -> None:
    """Repeat what failed because another session altered the same catalogue row at the same moment."""
    for attempt in range(_ATTEMPTS):
        try:
            await connection.execute(statement)
            return
        except (Retry, BadInput) as error:
            raced = isinstance(error, Retry) or error.sqlstate == "23505"  # both inserted the same catalogue row
            if not raced or attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.02 * (attempt + 1))
