"""Asset locks inside append_batch: who holds a key, and that swapping them neither deadlocks nor starves."""

from __future__ import annotations

import asyncio
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
