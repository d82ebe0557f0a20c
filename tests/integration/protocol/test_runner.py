"""Roles and migrations on an empty database, and what the door refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import pytest

from migrations import catalogue, runner
from migrations.door import Refused, connect, open_pool
from migrations.outcome import Unavailable, Unknown
from tests.integration.protocol.world import Database, World

NEWEST = catalogue.newest()


def renamed(dsn: str, database: str, user: str | None = None, password: str | None = None) -> str:
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    login = parts.netloc.rpartition("@")[0] if user is None else f"{user}:{password}"
    return urlunsplit(parts._replace(netloc=f"{login}@{place}" if login else place, path="/" + database))


@contextlib.asynccontextmanager
async def empty(database: Database, owner: str | None = None) -> AsyncIterator[str]:
    name = "empty_" + uuid.uuid4().hex
    async with connect(database.admin_dsn) as connection:
        await connection.execute(f"CREATE DATABASE {name}" + (f" OWNER {owner}" if owner else ""))
        try:
            yield name
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_many_migrate_at_once_and_each_version_is_applied_once(database: Database) -> None:
    async with empty(database) as name:
        admin, dsn = renamed(database.admin_dsn, name), renamed(database.dsn("setpoint_migrate"), name)
        with pytest.raises(Refused, match="may not create the schema"):
            await runner.migrate(dsn)
        assert {item.state for item in await runner.status(dsn)} == {"pending"}
        await asyncio.gather(*(runner.bootstrap(admin, {}) for _ in range(5)))
        done = await asyncio.gather(*(runner.migrate(dsn) for _ in range(5)))
        assert sorted(version for each in done for version in each) == list(range(1, NEWEST + 1))
        assert {item.state for item in await runner.status(dsn)} == {"applied"}
        assert await runner.migrate(dsn) == []


async def test_an_edited_or_unknown_version_is_refused(database: Database) -> None:
    dsn = database.dsn("setpoint_migrate")
    async with connect(dsn) as connection:
        await connection.execute("UPDATE setpoint.schema_versions SET checksum = 'x' WHERE version = 2")
        with pytest.raises(Refused, match=r"version 2 \(tenants\) was edited"):
            await runner.migrate(dsn)
        assert [item.version for item in await runner.status(dsn) if item.state == "edited"] == [2]
        await connection.execute("DELETE FROM setpoint.schema_versions WHERE version = 2")
        await connection.execute("INSERT INTO setpoint.schema_versions VALUES (9999, 'future', 'y')")
    with pytest.raises(Refused, match=r"version 9999 \(future\)"):
        await runner.migrate(dsn)
    with pytest.raises(Refused, match="this program is older than the database"):
        await open_pool(database.dsn("setpoint_celld"))


async def test_only_the_migrating_role_may_migrate(database: Database) -> None:
    for dsn in (database.admin_dsn, database.dsn("setpoint_gateway")):
        with pytest.raises(Refused, match="only setpoint_migrate may migrate"):
            await runner.migrate(dsn)


async def test_a_role_that_may_create_roles_is_enough(database: Database) -> None:
    """No superuser: CREATEROLE and its own database. The roles are there already, so it is given their keeping."""
    role = "keeper_" + uuid.uuid4().hex
    async with connect(database.admin_dsn) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN CREATEROLE PASSWORD 'pw'")
        version = await connection.fetchval("SELECT current_setting('server_version_num')::int")
        if version >= 160000:
            for name in (*runner.ROLES, "setpoint_fn"):
                await connection.execute(f"GRANT {name} TO {role} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE")
        try:
            async with empty(database, role) as name:
                admin = renamed(database.admin_dsn, name, role, "pw")
                await runner.bootstrap(admin, {})
                dsn = renamed(database.dsn("setpoint_migrate"), name)
                assert len(await runner.migrate(dsn)) == NEWEST
        finally:
            await connection.execute(f"DROP ROLE {role}")


async def test_bootstrap_says_who_may_not(database: Database) -> None:
    async with empty(database) as name:
        with pytest.raises(Refused, match="setpoint_gateway may not set up the roles"):
            await runner.bootstrap(renamed(database.dsn("setpoint_gateway"), name), {"setpoint_celld": "x"})
    with pytest.raises(ValueError, match="no such role"):
        await runner.bootstrap(database.admin_dsn, {"postgres": "x"})


async def test_the_door_says_what_it_will_not_work_on(database: Database) -> None:
    with pytest.raises(Refused, match="connected as setpoint_gateway"):
        await open_pool(database.dsn("setpoint_gateway"), role_check="setpoint_celld")
    async with empty(database) as name:
        with pytest.raises(Refused, match="setpoint-migrate up"):
            await open_pool(renamed(database.dsn("setpoint_celld"), name))
    with pytest.raises(Refused):
        await open_pool(renamed(database.dsn("setpoint_celld"), "no_such_database"))
    with pytest.raises(Unavailable):
        await open_pool("postgresql://setpoint_celld:x@127.0.0.1:1/setpoint")


@pytest.mark.parametrize("cached", [False, True])
async def test_a_lost_backend_is_unknown_and_the_pool_goes_on(w: World, cached: bool) -> None:
    pool = await open_pool(w.database.dsn("setpoint_celld"), size=1, cached=cached)
    try:
        async with pool.connection() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            waiting = asyncio.create_task(connection.fetchval("SELECT pg_sleep(30)"))
            async with connect(w.database.admin_dsn) as admin, asyncio.timeout(10):
                while not await admin.fetchval("SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", pid):
                    pass
                await admin.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(Unknown):
                await waiting
        assert await pool.fetchval("SELECT 1") == 1
    finally:
        await pool.close()
        await pool.close()


async def test_what_a_transactions_body_raises_comes_out_as_it_is_and_undoes_it(w: World) -> None:
    await w.create()

    async def body() -> None:
        async with w.all_seeing.connection() as connection, connection.transaction():
            await connection.execute("UPDATE setpoint.sessions SET labels = $1", '{"a": 1}')
            raise FileNotFoundError("nothing to do with the database")

    with pytest.raises(FileNotFoundError):
        await body()
    assert await w.all_seeing.fetchval("SELECT labels FROM setpoint.sessions") == "{}"


async def test_a_transaction_whose_server_goes_away_is_unknown_at_its_commit(w: World) -> None:
    await w.create()

    async def body() -> None:
        async with w.all_seeing.connection() as connection, connection.transaction():
            await connection.execute("UPDATE setpoint.sessions SET labels = $1", '{"a": 1}')
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            async with connect(w.database.admin_dsn) as admin, asyncio.timeout(10):
                await admin.execute("SELECT pg_terminate_backend($1)", pid)
                while await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
                    pass

    with pytest.raises(Unknown):
        await body()
    assert await w.all_seeing.fetchval("SELECT labels FROM setpoint.sessions") == "{}"


def command(dsn: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment: Mapping[str, str] = kept | {"SETPOINT_DATABASE_URL": dsn} | environ
    return subprocess.run(
        [sys.executable, "-P", "-m", "migrations", *arguments],
        env=environment,
        text=True,
        capture_output=True,
        timeout=30,
    )


async def test_the_command_line(database: Database) -> None:
    dsn = database.dsn("setpoint_migrate")

    async def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(command, dsn, *arguments, **environ)

    assert (await run("up")).stderr == "nothing to apply\n"
    status = await run("status")
    assert status.returncode == 0 and len(status.stdout.splitlines()) == NEWEST
    tenant = (await run("tenant", "acme")).stdout.strip()
    assert str(uuid.UUID(tenant)) == tenant == (await run("tenant", "acme")).stdout.strip()
    assert (await run("key", "acme")).stdout.startswith("sp_")
    missing = await run("key", "nobody")
    assert (missing.returncode, missing.stdout) == (1, "") and "no tenant 'nobody'" in missing.stderr
    assert len((await run("join-token")).stdout.strip()) == 32
    assert "cluster incarnation 2" in (await run("restored")).stderr
    bad = await run("tenant", "No Name")
    assert bad.returncode == 1 and "Traceback" not in bad.stderr
    unset = await run("up", SETPOINT_DATABASE_URL="")
    assert unset.returncode == 2 and "SETPOINT_DATABASE_URL" in unset.stderr


async def test_a_connection_that_ends_while_it_is_given_back_takes_nothing_back(database: Database) -> None:
    pool = await open_pool(database.dsn("setpoint_celld"), size=1)
    borrowed = pool.connection()
    connection = await borrowed.__aenter__()
    assert await connection.fetchval("SELECT 1") == 1
    asyncio.get_running_loop().call_soon(pool.cut)  # comes between the giving back and its being carried out
    await borrowed.__aexit__(None, None, None)
