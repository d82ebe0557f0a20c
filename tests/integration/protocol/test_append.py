"""append_batch: what each status means, that a batch is one transaction, and that a repeated call is one batch."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from migrations.outcome import BadInput
from tests.integration.protocol.world import AT, World, new_id, statuses


async def test_a_first_commit_arriving_late_after_a_retry_is_one_batch(w: World) -> None:
    """The first backend waits for the head, its client is gone; the retry comes on another connection."""
    owned = await w.owned()
    sql, items = "SELECT * FROM setpoint.append_batch($1)", json.dumps([owned.item("a", "b")])
    first = await asyncpg.connect(w.database.dsn("setpoint_celld"))
    pid = await first.fetchval("SELECT pg_backend_pid()")
    async with w.holding_head(owned.session):
        held = asyncio.create_task(first.fetch(sql, items))
        await w.until_waiting(1)
        first.terminate()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await held
        retry = asyncio.create_task(w.celld.fetch(sql, items))
        await w.until_waiting(2)
    (row,) = await retry
    async with asyncio.timeout(10):  # the first backend ends by itself once it has answered nobody
        while await w.all_seeing.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            pass

    assert row["status"] in ("ok", "already") and row["seq"] == owned.head + 2
    assert [event["type"] for event in await w.log(owned.session)][owned.head :] == ["a", "b"]
    assert (await w.head(owned.session))["head_seq"] == owned.head + 2


async def test_a_batch_of_two_tenants_with_a_fenced_and_a_bad_item(w: World) -> None:
    """The bad item undoes the call; the halves without it commit what is good and say what is fenced."""
    one, two, stale = await w.owned(), await w.owned(), await w.owned()
    bad = await w.owned(one.session.tenant)
    sandwich = [one.item(), stale.item() | {"epoch": stale.epoch - 1}, bad.item(), two.item()]
    sandwich[2]["events"] = [{"type": "x", "at": AT, "data": {"big": "x" * 70_000}}]

    with pytest.raises(BadInput) as caught:
        await w.append(*sandwich)
    assert caught.value.sqlstate == "23514"
    for owned in (one, two, stale, bad):
        assert (await w.head(owned.session))["head_seq"] == owned.head, "nothing of the call is left"

    assert statuses(await w.append(*sandwich[:2])) == ["ok", "fenced"]
    with pytest.raises(BadInput):
        await w.append(*sandwich[2:])
    with pytest.raises(BadInput):
        await w.append(sandwich[2])
    assert statuses(await w.append(sandwich[3])) == ["ok"]
    assert (await w.head(bad.session))["head_seq"] == bad.head


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"events": []}, "22023"),
        ({"events": None}, "22023"),
        ({"batch": None}, "22023"),
        ({"events": [{"type": "x"}]}, "23502"),
        ({"events": [{"at": AT}]}, "23502"),
        ({"events": [{"type": "x", "at": AT, "command_id": "no"}]}, "22P02"),
        ({"events": [{"type": "x", "at": AT, "data": {"t": "\0"}}]}, "22P05"),
        ({"ack": [[1, 7]]}, "23503"),
        ({"ack": [[1, 1], [1, 2]]}, "23514"),
        ({"results": [{"command_id": "00000000-0000-0000-0000-000000000001", "lane": 1, "status": "fine"}]}, "23514"),
        ({"assets": [{"name": "a", "doc": 1}, {"name": "a", "doc": 2}]}, "21000"),
    ],
)
async def test_a_bad_item_is_bad_input_and_writes_nothing(w: World, change: dict[str, object], state: str) -> None:
    owned = await w.owned()
    await w.enqueue(owned.session)
    with pytest.raises(BadInput) as caught:
        await w.append(owned.item() | change)
    assert caught.value.sqlstate == state
    assert (await w.head(owned.session))["head_seq"] == owned.head


async def test_a_session_twice_in_one_batch_is_bad_input(w: World) -> None:
    owned = await w.owned()
    with pytest.raises(BadInput):
        await w.append(owned.item(), owned.item())
    assert await w.append() == []


async def test_already_moved_head_truncated_gone(w: World) -> None:
    owned, batch = await w.owned(), new_id()
    item = owned.item(batch=batch)
    assert statuses(await w.append(item)) == ["ok"]
    (again,) = await w.append(item)
    assert (again["status"], again["seq"]) == ("already", owned.head + 1)
    assert statuses(await w.append(owned.item())) == ["moved_head"]
    assert statuses(await w.append(owned.item() | {"head_seq": owned.head + 9})) == ["truncated"]
    assert statuses(await w.append(owned.item() | {"session": new_id()})) == ["gone"]
    assert statuses(await w.append(owned.item() | {"tenant": new_id()})) == ["gone"]
    assert len(await w.log(owned.session)) == owned.head + 1


async def test_fenced_by_a_newer_owner_names_its_epoch(w: World) -> None:
    session, old = await w.create(), await w.host()
    stale = await w.own(session, old)
    await w.expire(old)
    fresh = await w.own(session, await w.host())
    (row,) = await w.append(stale.item() | {"head_seq": fresh.head})
    assert (row["status"], row["epoch_inc"], row["epoch"]) == ("fenced", fresh.inc, fresh.epoch)


async def test_fenced_after_release_even_with_the_right_head(w: World) -> None:
    owned = await w.owned()
    released = await w.release(owned, "hibernate")
    owned.head = released["seq"]
    assert statuses(await w.append(owned.item())) == ["fenced"]


async def test_each_item_gets_its_own_answer_in_the_order_given(w: World) -> None:
    owners = [await w.owned() for _ in range(5)]
    items = [owned.item("x", "y") for owned in owners]
    items[1]["epoch"] += 1
    items[3]["head_seq"] += 1
    rows = await w.append(*items)
    assert [row["ord"] for row in rows] == [1, 2, 3, 4, 5]
    assert statuses(rows) == ["ok", "fenced", "ok", "truncated", "ok"]
    assert [row["seq"] for row in rows if row["status"] == "ok"] == [owners[n].head + 2 for n in (0, 2, 4)]


async def test_an_event_keeps_every_column_and_the_writers_time(w: World) -> None:
    owned, command, execution = await w.owned(), new_id(), new_id()
    event = {"type": "sync.started", "v": 3, "at": AT, "command_id": command, "asset": "a", "execution_id": execution}
    await w.write(owned, events=[event | {"data": {"k": [1]}}, {"type": "x", "at": "2026-11-21T10:00:00.000001Z"}])
    one, two = (await w.log(owned.session))[-2:]
    assert (one["v"], one["command_id"], one["asset"], one["execution_id"]) == (3, command, "a", execution)
    assert json.loads(one["data"]) == {"k": [1]} and json.loads(two["data"]) == {}
    assert one["at"].isoformat() == "2026-11-21T10:25:54.123457+00:00"
    assert two["at"].isoformat() == "2026-11-21T10:00:00.000001+00:00"
    assert (one["epoch_inc"], one["epoch"], two["seq"]) == (owned.inc, owned.epoch, one["seq"] + 1)


async def test_the_projection_and_the_generation_follow_the_log(w: World) -> None:
    owned = await w.owned()
    generation = {"n": 1, "resources": "aa", "files": "bb"}
    await w.write(owned, assets=[{"name": "a", "doc": {"v": 1}}, {"name": "b", "doc": {}}], generation=generation)
    await w.write(owned, assets=[{"name": "a", "doc": {"v": 2}}, {"name": "b", "doc": None}])
    rows = await w.all_seeing.fetch("SELECT name, seq, doc FROM setpoint.session_assets")
    assert [(row["name"], row["seq"], json.loads(row["doc"])) for row in rows] == [("a", owned.head, {"v": 2})]
    row = await w.all_seeing.fetchrow("SELECT generation_no, resources, files, seq FROM setpoint.generations")
    assert row is not None and tuple(row) == (1, "aa", "bb", owned.head - 1)


async def test_the_sandbox_and_the_delivery_mark_change_only_when_named(w: World) -> None:
    owned, ledger = await w.owned(), new_id()
    await w.write(owned, sandbox={"host": "sb", "ledger_id": ledger, "workspace_no": 2}, delivering=7)
    await w.write(owned)
    head = await w.head(owned.session)
    assert (head["sandbox_host"], head["ledger_id"], head["workspace_no"], head["delivering"]) == ("sb", ledger, 2, 7)
    await w.write(owned, delivering=None)
    head = await w.head(owned.session)
    assert (head["sandbox_host"], head["delivering"]) == ("sb", None)


async def test_two_owners_of_many_sessions_in_opposite_order_do_not_deadlock(w: World) -> None:
    owners = [await w.owned() for _ in range(12)]

    async def writer(order: int) -> None:
        for _ in range(15):
            await w.append(*(owned.item() for owned in owners[::order]))

    await asyncio.gather(writer(1), writer(-1))
    for owned in owners:
        assert [event["seq"] for event in await w.log(owned.session)] == list(range(1, owned.head + 2))
