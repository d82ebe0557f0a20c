"""Who may do what: row-level security, and that no role can write but through the functions."""

from __future__ import annotations

import pytest

from migrations.door import Pool, connect, tenant_transaction
from migrations.outcome import BadInput, Forbidden, Unavailable
from tests.integration.protocol.world import World, new_id

READABLE = (
    *("sessions", "events", "generations", "session_assets", "asset_locks"),
    *("commands", "command_inbox", "command_results", "fenced_writes"),
)
GRANTS = {
    "setpoint_gateway": {
        "authenticate",
        "create_session",
        "enqueue",
        "session_owner",
        "heads",
        "keys",
        "cell_candidates",
        "break_lock",
        "recover_session",
        "tenant_log",
    },
    "setpoint_broker": {
        *("host_dead", "dead_hosts", "sandbox_register", "sandbox_seen", "sandbox_gone", "sandboxes", "hosts"),
        *("host_order", "host_left", "host_declare_dead"),
        *("cell_candidates", "key_publish", "keys", "join_token_check"),
        *("sweep_keys", "sweep_wakes", "sweep_locks", "sweep_fenced", "sweep_cells", "sweep_sandboxes", "sweep_tokens"),
    },
    "setpoint_celld": {
        *("host_register", "host_renew", "owned", "host_dead", "dead_hosts", "claim_wakes", "acquire", "release"),
        *("append_batch", "inbox", "log_page", "session_row", "snapshot_write", "snapshot_read", "sandboxes"),
        *("cell_candidates", "keys", "host_told", "delivery_note", "delivery_left"),
    },
}

AS_THE_CALLER = {"tenant_log"}
"""Functions that have no rights of their own: row-level security shows them what their caller may see."""


async def busy_session(w: World, tenant: str) -> None:
    owned = await w.owned(tenant)
    command = (await w.enqueue(owned.session))["command_id"]
    await w.enqueue(owned.session)
    result = {"command_id": command, "lane": 1, "status": "succeeded"}
    generation = {"n": 1, "resources": "r", "files": "f"}
    await w.write(owned, ack=[[1, 1]], results=[result], generation=generation, assets=[{"name": "a", "doc": {}}])
    await w.write(owned, take=[{"key": "k", "execution": new_id()}])
    await w.append({**owned.item(), "epoch": owned.epoch - 1})


async def test_a_tenant_sees_its_own_rows_and_no_others(w: World) -> None:
    mine, other = new_id(), new_id()
    await busy_session(w, mine)
    await busy_session(w, other)
    for table in READABLE:
        async with tenant_transaction(w.gateway, mine) as reader:
            rows = await reader.fetch(f"SELECT tenant_id FROM setpoint.{table}")
        assert {row["tenant_id"] for row in rows} == {mine}, table
    async with tenant_transaction(w.gateway, mine) as reader:
        rows = await reader.fetch("SELECT tenant_id, head_seq, state FROM setpoint.session_heads")
        assert {row["tenant_id"] for row in rows} == {mine}
        assert await reader.fetch("SELECT 1 FROM setpoint.events WHERE tenant_id = $1", other) == []


async def test_without_a_tenant_there_are_no_rows(w: World) -> None:
    """Also on a connection that had one: after the transaction the setting is empty, not absent."""
    await busy_session(w, new_id())
    async with w.gateway.connection() as connection:
        for _ in range(2):
            for table in READABLE:
                assert await connection.fetch(f"SELECT tenant_id FROM setpoint.{table}") == [], table
            async with connection.transaction(reading=True):
                await connection.execute("SELECT set_config('setpoint.tenant', $1, true)", new_id())


async def test_the_gateway_cannot_read_past_the_granted_columns(w: World) -> None:
    for sql in (
        "SELECT owner_incarnation FROM setpoint.session_heads",
        "SELECT * FROM setpoint.session_wakes",
        "SELECT * FROM setpoint.api_keys",
        "SELECT * FROM setpoint.events_h0",
        "SELECT * FROM setpoint.cell_hosts",
    ):
        with pytest.raises(Forbidden):
            await w.gateway.fetch(sql)


async def test_no_daemon_can_touch_a_table_directly(w: World) -> None:
    tables = await w.all_seeing.fetch(
        """SELECT relname::text AS name FROM pg_class
           WHERE relnamespace = 'setpoint'::regnamespace AND relkind IN ('r', 'p')"""
    )
    assert len(tables) > 25
    for pool in (w.gateway, w.celld, w.broker):
        for table in tables:
            for sql in (f"DELETE FROM setpoint.{table['name']}", f"TRUNCATE setpoint.{table['name']}"):
                with pytest.raises(Forbidden):
                    await pool.execute(sql)
    for sql in (
        "INSERT INTO setpoint.events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, data) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), 1, now(), 1, 1, 'x', '{}')",
        "UPDATE setpoint.session_heads SET epoch = epoch + 1",
        "SELECT * FROM setpoint.session_heads",
        "SELECT * FROM setpoint.events",
    ):
        with pytest.raises(Forbidden):
            await w.celld.execute(sql)


async def test_reading_as_a_tenant_cannot_write(w: World) -> None:
    session = await w.create()
    with pytest.raises(Unavailable) as caught:
        async with tenant_transaction(w.gateway, session.tenant) as reader:
            await reader.execute(
                "SELECT * FROM setpoint.create_session($1, $2, 'x', '{}', NULL, NULL, NULL)", session.tenant, new_id()
            )
    assert caught.value.sqlstate == "25006"


async def test_each_role_may_call_its_functions_and_no_others(w: World) -> None:
    sql = """SELECT p.proname::text AS name FROM pg_proc p WHERE p.pronamespace = 'setpoint'::regnamespace
             AND has_function_privilege($1, p.oid, 'EXECUTE')"""
    for role, functions in GRANTS.items():
        granted = {row["name"] for row in await w.all_seeing.fetch(sql, role)}
        assert granted == functions | {"schema_version"}, role


async def test_every_function_is_pinned_owned_by_the_functions_role_and_closed_to_the_public(w: World) -> None:
    rows = await w.all_seeing.fetch(
        """SELECT p.proname::text AS name, p.prosecdef AS definer, pg_get_userbyid(p.proowner)::text AS owner,
                  coalesce(array_to_string(p.proconfig, ' '), '') AS config,
                  EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                          WHERE a.grantee = 0) AS public
           FROM pg_proc p WHERE p.pronamespace = 'setpoint'::regnamespace"""
    )
    assert len(rows) > 30
    for row in rows:
        assert row["definer"] == (row["name"] not in AS_THE_CALLER) and row["owner"] == "setpoint_fn", row
        assert "search_path=setpoint, pg_temp" in row["config"], row
        assert not row["public"], row


async def test_every_table_of_a_tenant_has_forced_security_and_a_key_that_starts_with_it(w: World) -> None:
    rows = await w.all_seeing.fetch(
        """SELECT c.relname::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                  pg_get_userbyid(c.relowner)::text AS owner,
                  (SELECT a.attname::text FROM pg_index i
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                   WHERE i.indrelid = c.oid AND i.indisprimary) AS first
           FROM pg_class c WHERE c.relnamespace = 'setpoint'::regnamespace AND c.relkind IN ('r', 'p')
             AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')"""
    )
    assert len(rows) >= 15
    for row in rows:
        assert row["forced"] and row["first"] == "tenant_id" and row["owner"] == "setpoint_migrate", row


TENANT_LOG = "SELECT seq, head_seq FROM setpoint.tenant_log($1, $2, 0, 100, 100000)"


async def test_the_log_in_one_turn_is_of_that_tenant_alone_and_its_eyes_are_closed_again(w: World) -> None:
    mine, other = await w.owned(), await w.owned()
    await w.write(mine)
    await w.write(other)
    async with w.gateway.connection() as connection:
        for _ in range(2):
            rows = await connection.fetch(TENANT_LOG, mine.session.tenant, mine.session.id)
            assert [row["seq"] for row in rows] == list(range(1, mine.head + 1))
            assert await connection.fetch(TENANT_LOG, mine.session.tenant, other.session.id) == []
            assert await connection.fetch(TENANT_LOG, None, other.session.id) == []
            assert await connection.fetch("SELECT seq FROM setpoint.events") == [], "outlived its transaction"


async def test_the_log_in_one_turn_is_under_row_level_security(w: World) -> None:
    """Where the policy shows nothing, the function shows nothing: it has no eyes but its caller's."""
    mine = await w.owned()
    async with connect(w.database.admin_dsn) as admin:
        await admin.execute("BEGIN")
        await admin.execute("ALTER POLICY tenant ON setpoint.events USING (tenant_id IS NULL)")
        await admin.execute("SET LOCAL ROLE setpoint_gateway")
        (row,) = await admin.fetch(TENANT_LOG, mine.session.tenant, mine.session.id)
        assert (row["seq"], row["head_seq"]) == (None, mine.head)
        await admin.execute("ROLLBACK")
        await admin.execute("BEGIN")
        await admin.execute("ALTER POLICY tenant ON setpoint.session_heads USING (tenant_id IS NULL)")
        await admin.execute("SET LOCAL ROLE setpoint_gateway")
        assert await admin.fetch(TENANT_LOG, mine.session.tenant, mine.session.id) == []
        await admin.execute("ROLLBACK")
    for pool in (w.celld, w.broker):
        with pytest.raises(Forbidden):
            await pool.fetch(TENANT_LOG, mine.session.tenant, mine.session.id)


async def test_no_role_is_superuser_or_bypasses_security(w: World) -> None:
    rows = await w.all_seeing.fetch(
        "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'setpoint\\_%'"
    )
    for row in rows:
        assert row["rolname"] == "setpoint_admin" or not (row["rolsuper"] or row["rolbypassrls"]), row


async def test_the_owner_of_the_tables_can_change_rows_in_a_migration(w: World) -> None:
    session = await w.create()
    sql = "WITH u AS (UPDATE setpoint.sessions SET labels = '{}' RETURNING 1) SELECT count(*) FROM u"
    assert await w.all_seeing.fetchval(sql) == 1
    assert await w.count("sessions", session.tenant) == 1


@pytest.mark.parametrize("role", ["setpoint_gateway", "setpoint_broker", "setpoint_celld", "setpoint_migrate"])
async def test_every_role_has_its_bounds(w: World, role: str) -> None:
    pools: dict[str, Pool] = {
        "setpoint_gateway": w.gateway,
        "setpoint_broker": w.broker,
        "setpoint_celld": w.celld,
        "setpoint_migrate": w.all_seeing,
    }
    for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
        assert await pools[role].fetchval("SELECT current_setting($1)", setting) != "0"
    if role != "setpoint_migrate":
        assert await pools[role].fetchval("SELECT current_setting('statement_timeout')") != "0"


async def test_names_are_checked_by_the_database_too(w: World) -> None:
    create = "SELECT * FROM setpoint.create_session($1, $2, $3, '{}', NULL, NULL, NULL)"
    for name in ("", "Upper", "a b", "-a", "a" * 129):
        with pytest.raises(BadInput):
            await w.gateway.fetchrow(create, new_id(), new_id(), name)
