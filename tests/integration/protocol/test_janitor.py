"""The janitor on a real database: what goes and what stays, in batches, past what others hold."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from migrations.door import connect
from tests.integration.protocol.world import Host, World, new_id, statuses

WEEK = timedelta(days=7)


async def sweep(w: World, name: str, limit: int = 500, *more: Any) -> int:
    places = ", ".join(f"${n + 1}" for n in range(1 + len(more)))
    count: int = await w.broker.fetchval(f"SELECT setpoint.{name}({places})", limit, *more)
    return count


async def age_keys(w: World) -> None:
    await w.all_seeing.execute("UPDATE setpoint.idempotency_keys SET expires_at = now() - interval '1 s'")


async def unseen(w: World, host: Host, kind: str = "cell", days: int = 8) -> None:
    since = f"now() - interval '{days} days'"
    lease = f", lease_expires_at = {since}" if kind == "cell" else ""
    await w.all_seeing.execute(f"UPDATE setpoint.{kind}_hosts SET seen_at = {since}{lease} WHERE host_id = $1", host.id)


async def names(w: World, table: str) -> set[str]:
    return {row["host_id"] for row in await w.all_seeing.fetch(f"SELECT host_id FROM setpoint.{table}")}


async def test_expired_keys_go_in_batches_and_living_ones_stay(w: World) -> None:
    session = await w.create()
    for n in range(7):
        await w.enqueue(session, key=f"old-{n}")
    await age_keys(w)
    await w.enqueue(session, key="young")
    assert [await sweep(w, "sweep_keys", 3) for _ in range(4)] == [3, 3, 1, 0]
    rows = await w.all_seeing.fetch("SELECT key FROM setpoint.idempotency_keys")
    assert [row["key"] for row in rows] == ["young"]
    assert (await w.enqueue(session, key="young"))["status"] == "replay"


async def test_a_key_that_somebody_holds_is_passed_over_without_waiting(w: World) -> None:
    session = await w.create()
    for n in range(2):
        await w.enqueue(session, key=f"k{n}")
    await age_keys(w)
    async with connect(w.database.dsn("setpoint_migrate")) as third, third.transaction():
        await third.execute("SELECT 1 FROM setpoint.idempotency_keys WHERE key = 'k0' FOR UPDATE")
        async with asyncio.timeout(5):
            assert await sweep(w, "sweep_keys") == 1
    assert await sweep(w, "sweep_keys") == 1


async def test_two_janitors_at_once_take_each_row_once(w: World) -> None:
    session = await w.create()
    for n in range(20):
        await w.enqueue(session, key=f"k{n}")
    await age_keys(w)
    counts = await asyncio.gather(*(sweep(w, "sweep_keys", 5) for _ in range(4)))
    while more := await sweep(w, "sweep_keys", 5):
        counts.append(more)
    assert sum(counts) == 20


async def test_a_claim_that_meets_the_janitor_is_a_new_request_and_makes_one_command(w: World) -> None:
    session = await w.create()
    for turn in range(10):
        first = await w.enqueue(session, key="k", quota=1000)
        await age_keys(w)
        again, _ = await asyncio.gather(w.enqueue(session, key="k", quota=1000), sweep(w, "sweep_keys"))
        assert (first["status"], again["status"], again["inbox_seq"]) == ("ok", "ok", 2 * turn + 2)
        await age_keys(w)
        await sweep(w, "sweep_keys")


async def test_the_expired_are_found_by_an_index(w: World) -> None:
    session = await w.create()
    await w.all_seeing.execute(
        """INSERT INTO setpoint.idempotency_keys (tenant_id, key, kind, fingerprint, subject_id, expires_at)
           SELECT $1, 'k' || n, 'command', 'x', $1, now() + interval '1 day' FROM generate_series(1, 20000) n""",
        session.tenant,
    )
    await w.all_seeing.execute("ANALYZE setpoint.idempotency_keys")
    plan = await w.all_seeing.fetch(
        """EXPLAIN SELECT x.key FROM setpoint.idempotency_keys x WHERE x.expires_at < now()
           ORDER BY x.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED"""
    )
    assert "idempotency_keys_expiry" in "\n".join(row[0] for row in plan)


async def test_a_free_lock_goes_and_a_take_that_meets_the_janitor_wins_it(w: World) -> None:
    owned = await w.owned()
    for _ in range(10):
        execution = new_id()
        await w.write(owned, take=[{"key": "k", "execution": execution}])
        assert await sweep(w, "sweep_locks") == 0, "it is held"
        await w.write(owned, give=[{"key": "k", "execution": execution}])
        taken = owned.item(take=[{"key": "k", "execution": execution}])
        rows, _ = await asyncio.gather(w.append(taken), sweep(w, "sweep_locks"))
        assert statuses(rows) == ["ok"]
        owned.head = rows[0]["seq"]
        holder = await w.all_seeing.fetchrow("SELECT session_id FROM setpoint.asset_locks WHERE lock_key = 'k'")
        assert holder is not None and holder["session_id"] == owned.session.id
        await w.write(owned, give=[{"key": "k", "execution": execution}])
    assert [await sweep(w, "sweep_locks") for _ in range(2)] == [1, 0]


async def test_a_cell_host_goes_when_it_is_marked_long_unseen_and_owns_nothing(w: World) -> None:
    kept = {name: await w.host(name) for name in ("living", "fresh-mark", "unmarked", "owner")}
    await w.own(await w.create(), kept["owner"])
    gone = await w.host("gone")
    for host in (kept["fresh-mark"], kept["owner"], gone):
        await w.broker.fetchval("SELECT setpoint.host_dead($1, $2, true)", host.id, host.incarnation)
    for host in (kept["unmarked"], kept["owner"], gone):
        await unseen(w, host)
    assert await sweep(w, "sweep_cells", 500, WEEK) == 1
    assert await names(w, "cell_hosts") == set(kept)
    audit = await w.all_seeing.fetchval("SELECT detail FROM setpoint.audit_log WHERE action = 'hosts.removed'")
    assert json.loads(audit) == {"role": "cell", "hosts": ["gone"]}


async def test_a_removed_host_is_fenced_until_it_comes_back_as_a_new_one(w: World) -> None:
    host = await w.host("h")
    await w.broker.fetchval("SELECT setpoint.host_dead($1, $2, true)", host.id, host.incarnation)
    await unseen(w, host)
    assert await sweep(w, "sweep_cells", 500, WEEK) == 1
    assert (await w.renew(host))["status"] == "fenced"
    session = await w.create()
    assert (await w.acquire(session, host))["status"] == "no_lease"
    again = await w.host("h")
    assert (await w.acquire(session, again))["status"] == "ok"


async def test_a_sandbox_host_goes_when_it_is_long_unseen_and_no_open_session_names_it(w: World) -> None:
    ledger = new_id()
    for name in ("seen", "named", "gone"):
        await w.broker.execute(
            "SELECT setpoint.sandbox_register($1, $2, $3, '127.0.0.1:1', 'k', '{}')", name, new_id(), ledger
        )
    owned = await w.owned()
    await w.write(owned, sandbox={"host": "named", "ledger_id": ledger, "workspace_no": 1})
    for name in ("named", "gone"):
        await unseen(w, Host(name), "sandbox")
    assert await sweep(w, "sweep_sandboxes", 500, WEEK) == 1
    assert await names(w, "sandbox_hosts") == {"seen", "named"}
    assert (await w.release(owned, "close"))["status"] == "ok"
    assert await sweep(w, "sweep_sandboxes", 500, WEEK) == 1


async def test_a_join_token_goes_when_it_admits_nobody(w: World) -> None:
    create = "SELECT setpoint.join_token_create($1, now() + $2)"
    for first, until in ((b"a", timedelta(seconds=-1)), (b"b", timedelta(hours=1))):
        await w.all_seeing.execute(create, first * 32, until)
    assert [await sweep(w, "sweep_tokens") for _ in range(2)] == [1, 0]
    assert await w.broker.fetchval("SELECT setpoint.join_token_check($1)", b"b" * 32)


@pytest.mark.parametrize("name", ["sweep_keys", "sweep_wakes", "sweep_locks", "sweep_tokens"])
async def test_with_nothing_to_do_nothing_is_done(w: World, name: str) -> None:
    owned = await w.owned()
    await w.enqueue(owned.session, key="k")
    assert await sweep(w, name) == 0
