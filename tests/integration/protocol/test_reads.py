"""What the daemons read of a session, of hosts, keys and tokens."""

from __future__ import annotations

import hashlib
import json

from migrations import admin
from setpoint.contracts import apikey
from tests.integration.protocol.world import EXPIRED, World, new_id


async def test_log_pages_go_on_after_a_seq(w: World) -> None:
    owned = await w.owned()
    await w.write(owned, *(f"e{n}" for n in range(5)))
    sql = "SELECT seq FROM setpoint.log_page($1, $2, $3, 3)"
    assert [row["seq"] for row in await w.celld.fetch(sql, owned.session.tenant, owned.session.id, 2)] == [3, 4, 5]
    assert [row["seq"] for row in await w.celld.fetch(sql, owned.session.tenant, owned.session.id, 5)] == [6, 7]


async def test_snapshots_are_fenced_and_the_last_two_are_kept(w: World) -> None:
    owned = await w.owned()
    sql = "SELECT setpoint.snapshot_write($1, $2, $3, $4, $5, 'v1', $6)"
    who = (owned.session.tenant, owned.session.id, owned.inc)
    assert await w.celld.fetchval(sql, *who, owned.epoch + 1, 1, b"x") == "fenced"
    assert await w.celld.fetchval(sql, *who, owned.epoch, 99, b"x") == "ahead"
    await w.write(owned, "a", "b")
    for seq in (1, 2, 4):
        assert await w.celld.fetchval(sql, *who, owned.epoch, seq, b"state %d" % seq) == "ok"
    rows = await w.celld.fetch("SELECT * FROM setpoint.snapshot_read($1, $2)", owned.session.tenant, owned.session.id)
    assert [(row["seq"], row["code_version"], row["state"]) for row in rows] == [
        (4, "v1", b"state 4"),
        (2, "v1", b"state 2"),
    ]
    assert await w.count("session_snapshots", owned.session.tenant) == 2
    assert (await w.head(owned.session))["snapshot_seq"] == 4


async def test_heads_answers_pairs_and_leaves_out_strangers(w: World) -> None:
    one, two = await w.create(), await w.owned()
    sql = "SELECT * FROM setpoint.heads($1::uuid[], $2::uuid[])"
    tenants = [one.tenant, two.session.tenant, one.tenant]
    rows = await w.gateway.fetch(sql, tenants, [one.id, two.session.id, two.session.id])
    assert {(row["session_id"], row["head_seq"], row["state"]) for row in rows} == {
        (one.id, 1, "open"),
        (two.session.id, 2, "open"),
    }


async def test_authenticate_finds_a_key_by_its_id(w: World) -> None:
    dsn = w.database.dsn("setpoint_migrate")
    tenant = await admin.ensure_tenant(dsn, "acme")
    assert await admin.ensure_tenant(dsn, "acme") == tenant == await admin.find_tenant(dsn, "acme")
    assert await admin.find_tenant(dsn, "nobody") is None
    key = apikey.parse_api_key(await admin.ensure_api_key(dsn, tenant, "ci"))
    assert key is not None
    row = await w.gateway.fetchrow("SELECT * FROM setpoint.authenticate($1)", key.key_id)
    assert row is not None
    assert tuple(row) == (tenant, "acme", apikey.hash_secret(key.secret), None)
    assert await w.gateway.fetchrow("SELECT * FROM setpoint.authenticate('nope')") is None
    log = await w.all_seeing.fetch("SELECT actor, action FROM setpoint.audit_log ORDER BY audit_id")
    assert [tuple(row) for row in log] == [
        ("setpoint_migrate", "tenant.created"),
        ("setpoint_migrate", "api_key.created"),
    ]


async def test_a_join_token_admits_until_it_ends(w: World) -> None:
    dsn, check = w.database.dsn("setpoint_migrate"), "SELECT setpoint.join_token_check($1)"
    digest = hashlib.sha256(b"token").digest()
    assert await w.broker.fetchval(check, digest) is False
    await admin.ensure_join_token(dsn, "token")
    await admin.ensure_join_token(dsn, "token", 60)
    assert await w.broker.fetchval(check, digest) is True
    await admin.ensure_join_token(dsn, "token", -1)
    assert await w.broker.fetchval(check, digest) is False


async def test_public_keys_are_published_once_and_read_by_all(w: World) -> None:
    publish = "SELECT setpoint.key_publish($1, $2, 'broker')"
    assert await w.broker.fetchval(publish, "kid-1", b"pub") is True
    assert await w.broker.fetchval(publish, "kid-1", b"pub") is True
    assert await w.broker.fetchval(publish, "kid-1", b"other") is False
    for pool in (w.broker, w.celld, w.gateway):
        rows = await pool.fetch("SELECT * FROM setpoint.keys()")
        assert [(row["kid"], row["kind"], row["public_key"]) for row in rows] == [("kid-1", "broker", b"pub")]


async def test_the_registry_of_sandbox_hosts(w: World) -> None:
    register = "SELECT setpoint.sandbox_register('sb', $1, $2, 'addr', $3, '{\"runs\": 4}')"
    seen = "SELECT setpoint.sandbox_seen('sb', $1, '{\"runs\": 2}')"
    old, new, ledger = new_id(), new_id(), new_id()
    await w.broker.execute(register, old, ledger, b"pub")
    assert await w.broker.fetchval(seen, old) is True
    await w.broker.execute(register, new, ledger, b"pub")
    assert await w.broker.fetchval(seen, old) is False
    assert await w.broker.fetchval("SELECT setpoint.sandbox_gone('sb', $1)", old) is False
    owned = await w.owned()
    await w.write(owned, sandbox={"host": "sb", "ledger_id": ledger, "workspace_no": 1})
    (row,) = await w.celld.fetch("SELECT * FROM setpoint.sandboxes()")
    assert (row["incarnation"], row["ledger_id"], row["state"], row["sessions"]) == (new, ledger, "ready", 1)
    assert json.loads(row["capacity"]) == {"runs": 4} and 0 <= row["seen_age_s"] < 60
    assert await w.broker.fetchval("SELECT setpoint.sandbox_gone('sb', $1)", new) is True
    assert await w.broker.fetchval(seen, new) is False


async def test_hosts_of_both_kinds_and_candidates(w: World) -> None:
    live, late = await w.host("cell-1"), await w.host("cell-2", ttl=EXPIRED)
    await w.own(await w.create(), live)
    await w.broker.execute(
        "SELECT setpoint.sandbox_register('sb', $1, $2, 'addr', $3, '{}')", new_id(), new_id(), b"pub"
    )
    rows = await w.broker.fetch("SELECT * FROM setpoint.hosts()")
    assert [(row["kind"], row["host_id"], row["sessions"]) for row in rows] == [
        ("cell", "cell-1", 1),
        ("cell", "cell-2", 0),
        ("sandbox", "sb", 0),
    ]
    assert rows[0]["expires_in_s"] > 0 > rows[1]["expires_in_s"] and rows[2]["expires_in_s"] is None
    candidates = await w.broker.fetch("SELECT * FROM setpoint.cell_candidates()")
    assert [(row["host_id"], row["sessions"]) for row in candidates] == [("cell-1", 1)]
    await admin.restored(w.database.dsn("setpoint_migrate"))
    assert {row["state"] for row in await w.broker.fetch("SELECT * FROM setpoint.hosts()")} == {"fenced", "ready"}
    assert late.id == "cell-2"
