"""Asset locks inside append_batch: who holds a key, and that swapping them neither deadlocks nor starves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.integration.protocol.world import Owned, World, new_id, statuses


def lock(key: str, execution: str) -> list[dict[str, Any]]:
    return [{"key": key, "execution": execution}]


async def test_a_busy_lock_names_its_holder_and_nothing_of_the_item_is_written(w: World) -> None:
    one = await w.owned()
    two, held = await w.owned(one.session.tenant), new_id()
    await w.write(one, take=lock("orders", held))
    item = two.item(take=lock("orders", new_id()), assets=[{"name": "a", "doc": {}}])
    (row,) = await w.append(item)
    assert (row["status"], row["detail"]) == ("lock_busy", f"orders {one.session.id}/{held}")
    assert (await w.head(two.session))["head_seq"] == two.head
    assert await w.count("session_assets", two.session.tenant) == 0

    await w.write(one, give=lock("orders", held))
    await w.write(two, take=lock("orders", new_id()))


async def test_an_attempt_that_comes_after_its_repetition_was_refused_is_written_once_the_lock_is_free(
    w: World,
) -> None:
    one = await w.owned()
    two, held = await w.owned(one.session.tenant), new_id()
    await w.write(one, take=lock("k", held))
    attempt = two.item("sync.started", take=lock("k", new_id()))
    assert statuses(await w.append(attempt)) == ["lock_busy"]
    await w.write(one, give=lock("k", held))
    assert statuses(await w.append(attempt)) == ["ok"], "the first one, from a connection that was long given up"
    assert statuses(await w.append(two.item("sync.waiting"))) == ["moved_head"], "its owner learns of it by this"


async def test_keys_are_a_tenants_own(w: World) -> None:
    one, two = await w.owned(), await w.owned()
    await w.write(one, take=lock("k", new_id()))
    await w.write(two, take=lock("k", new_id()))


async def test_only_the_holder_can_give(w: World) -> None:
    one = await w.owned()
    two, held = await w.owned(one.session.tenant), new_id()
    await w.write(one, take=lock("k", held))
    await w.write(two, give=lock("k", held))
    await w.write(one, give=lock("k", new_id()))
    assert statuses(await w.append(two.item(take=lock("k", new_id())))) == ["lock_busy"]


async def test_a_batch_mate_that_gives_first_makes_room(w: World) -> None:
    one = await w.owned()
    two, held, wanted = await w.owned(one.session.tenant), new_id(), new_id()
    await w.write(one, take=lock("k", held))
    rows = await w.append(one.item(give=lock("k", held)), two.item(take=lock("k", wanted)))
    assert statuses(rows) == ["ok", "ok"]
    holder = await w.all_seeing.fetchrow("SELECT session_id, execution_id FROM setpoint.asset_locks")
    assert holder is not None and tuple(holder) == (two.session.id, wanted)


async def test_of_two_batch_mates_the_first_takes(w: World) -> None:
    one = await w.owned()
    two = await w.owned(one.session.tenant)
    rows = await w.append(one.item(take=lock("k", new_id())), two.item(take=lock("k", new_id())))
    assert statuses(rows) == ["ok", "lock_busy"]


async def test_a_repeated_take_by_the_same_execution_is_ok(w: World) -> None:
    one, held = await w.owned(), new_id()
    await w.write(one, take=lock("k", held))
    await w.write(one, take=lock("k", held))


async def test_two_sessions_swapping_lock_keys_do_not_livelock(w: World) -> None:
    """A take travels alone, so what a session holds is always given, whatever it is refused."""
    one = await w.owned()
    two = await w.owned(one.session.tenant)
    refused = 0

    async def swap(owned: Owned, keys: tuple[str, str]) -> None:
        nonlocal refused
        for turn in range(20):
            key, execution = keys[turn % 2], new_id()
            while True:
                (row,) = await w.append(owned.item("sync.started", take=lock(key, execution)))
                if row["status"] == "ok":
                    break
                assert row["status"] == "lock_busy", row
                refused += 1
            owned.head = row["seq"]
            await w.write(owned, "sync.succeeded", give=lock(key, execution))

    async with asyncio.timeout(30):
        await asyncio.gather(swap(one, ("a", "b")), swap(two, ("b", "a")))
    assert await w.all_seeing.fetchval("SELECT count(*) FROM setpoint.asset_locks WHERE session_id IS NOT NULL") == 0


async def test_holding_both_and_wanting_the_other_ends_when_each_gives(w: World) -> None:
    """The state that starved: each holds what the other wants. Both are refused, both give, both go on."""
    one = await w.owned()
    two, a, b = await w.owned(one.session.tenant), new_id(), new_id()
    await w.write(one, take=lock("a", a))
    await w.write(two, take=lock("b", b))
    crossed = (one.item(take=lock("b", new_id())), two.item(take=lock("a", new_id())))
    assert statuses(await w.append(*crossed)) == ["lock_busy", "lock_busy"]
    await w.write(one, give=lock("a", a))
    await w.write(two, give=lock("b", b))
    assert statuses(await w.append(one.item(take=lock("b", new_id())), two.item(take=lock("a", new_id())))) == [
        "ok",
        "ok",
    ]


async def test_batches_that_touch_keys_in_opposite_order_do_not_deadlock(w: World) -> None:
    tenant = new_id()
    pairs = [[await w.owned(tenant), await w.owned(tenant)] for _ in range(2)]

    async def writer(pair: list[Owned], keys: list[str]) -> None:
        for _ in range(25):
            items = [owned.item(take=lock(key, new_id())) for owned, key in zip(pair, keys, strict=True)]
            for owned, item, row in zip(pair, items, await w.append(*items), strict=True):
                if row["status"] == "ok":
                    owned.head = row["seq"]
                    await w.write(owned, give=item["take"])

    await asyncio.gather(writer(pairs[0], ["a", "b"]), writer(pairs[1], ["b", "a"]))


BREAK = "SELECT * FROM setpoint.break_lock($1, $2, $3, $4, $5, $6, $7, $8)"


async def held(w: World, ttl_s: float | None = None) -> tuple[Owned, str]:
    """Return a session that holds the lock k, and the execution that does."""
    owned, execution = await w.owned(), new_id()
    await w.write(owned, take=[{"key": "k", "execution": execution} | ({"ttl_s": ttl_s} if ttl_s is not None else {})])
    return owned, execution


async def break_lock(
    w: World, owned: Owned, *, forced: bool = False, command: str | None = None, key: tuple[str, bytes] | None = None
) -> Any:
    who = (owned.session.tenant, "k", command or new_id(), "key abc", "stuck", forced)
    row = await w.gateway.fetchrow(BREAK, *who, *(key or (None, b"")))
    assert row is not None
    return row


async def test_a_lock_is_broken_only_after_its_time_to_live_or_with_force(w: World) -> None:
    for ttl_s, forced, status in ((None, False, "young"), (60, False, "young"), (0, False, "ok"), (60, True, "ok")):
        owned, execution = await held(w, ttl_s)
        row = await break_lock(w, owned, forced=forced)
        assert (row["status"], row["execution_id"], row["ttl_s"]) == (
            status,
            execution,
            3600 if ttl_s is None else ttl_s,
        )
        other = await w.owned(owned.session.tenant)
        expected = "lock_busy" if status == "young" else "ok"
        assert statuses(await w.append(other.item(take=lock("k", new_id())))) == [expected]


async def test_breaking_a_lock_is_audited_and_told_to_its_holder(w: World) -> None:
    owned, execution = await held(w, 60)
    command = new_id()
    await break_lock(w, owned, forced=True, command=command)
    audit = await w.all_seeing.fetchrow(
        "SELECT actor, detail FROM setpoint.audit_log WHERE tenant_id = $1 AND action = 'lock.broken'",
        owned.session.tenant,
    )
    assert audit is not None
    detail = json.loads(audit["detail"])
    told = {"key": "k", "execution_id": execution, "by": "key abc", "reason": "stuck"}
    assert detail.items() >= {**told, "session_id": owned.session.id, "forced": True, "ttl_s": 60}.items()
    (row,) = await w.inbox(owned.session)
    assert (row["command_id"], row["lane"], row["type"], json.loads(row["payload"])) == (
        command,
        0,
        "lock_broken",
        told,
    )


async def test_breaking_a_lock_again_with_the_same_command_is_no_second_time(w: World) -> None:
    owned, execution = await held(w, 0)
    command = new_id()
    assert [(await break_lock(w, owned, command=command))["status"] for _ in range(2)] == ["ok", "already"]
    assert (await break_lock(w, owned, command=command))["execution_id"] == execution
    assert (await break_lock(w, owned))["status"] == "free"


async def test_breaking_a_lock_again_under_an_idempotency_key_gets_the_first_answer(w: World) -> None:
    owned, execution = await held(w, 60)
    assert (await break_lock(w, owned, key=("i", b"1")))["status"] == "young"
    first = await break_lock(w, owned, key=("i", b"1"), forced=True)
    again = await break_lock(w, owned, key=("i", b"1"), forced=True)
    assert (first["status"], again["status"], again["execution_id"]) == ("ok", "already", execution)
    assert again["command_id"] == first["command_id"]
    assert (await break_lock(w, owned, key=("i", b"2")))["status"] == "mismatch"


async def test_what_was_broken_is_not_given_by_its_former_holder(w: World) -> None:
    owned, execution = await held(w, 0)
    await break_lock(w, owned)
    other = await w.owned(owned.session.tenant)
    await w.write(other, take=lock("k", new_id()))
    await w.write(owned, give=lock("k", execution))
    assert await w.all_seeing.fetchval("SELECT session_id FROM setpoint.asset_locks") == other.session.id


async def test_another_tenants_lock_cannot_be_broken(w: World) -> None:
    await held(w, 0)
    assert (await break_lock(w, await w.owned()))["status"] == "free"
