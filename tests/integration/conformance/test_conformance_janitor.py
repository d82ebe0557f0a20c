"""What is refused to ended epochs, and what the janitor takes away: in the model as in the real database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conformance.bench import TTL_US, Bench, Owned, statuses

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY_S = 24 * 3600
MONTH_US = 30 * DAY_S * 1_000_000


async def taken_over(b: Bench) -> tuple[Owned, Owned]:
    """Return an owner that lost its session, and the one that has it."""
    stale = await b.owned()
    await b.pass_s(11)
    return stale, await b.own(stale.key, await b.host())


async def fenced(b: Bench) -> list[tuple[Any, ...]]:
    return (await b.db.dump())["fenced_writes"]


async def test_each_refused_append_is_counted_for_its_epoch(b: Bench) -> None:
    stale, fresh = await taken_over(b)
    at = b.db.now
    assert statuses(await b.append(b.item(stale))) == ["fenced"]
    await b.pass_s(1)
    assert statuses(await b.append(b.item(stale), b.item(await b.owned()))) == ["fenced", "ok"]
    last = at + 1_000_000
    assert await fenced(b) == [(*stale.key, 1, 1, "append", 1, fresh.epoch, 2, at, last)]


async def test_a_refused_batch_leaves_no_count(b: Bench) -> None:
    stale, fresh = await taken_over(b)
    await b.append(b.item(stale), b.item(fresh, events=[{"type": "x"}]))
    assert await fenced(b) == []


async def test_a_stale_release_is_counted_and_a_repeated_one_is_not(b: Bench) -> None:
    stale, fresh = await taken_over(b)
    assert (await b.release(stale, "drain"))[0] == "fenced"
    assert (await b.release(fresh, "drain"))[0] == "ok"
    assert (await b.release(fresh, "drain"))[0] == "fenced"
    assert [row[4] for row in await fenced(b)] == ["release"]
    assert statuses(await b.append(b.item(fresh))) == ["fenced"], "but a write after it is one too many"
    assert [(row[3], row[4], row[6]) for row in await fenced(b)] == [(1, "release", 2), (2, "append", 2)]


async def test_a_stale_snapshot_is_counted(b: Bench) -> None:
    stale, _ = await taken_over(b)
    assert await b.call("snapshot_write", *stale.key, 1, 1, 2, "1", b"state") == "fenced"
    assert [row[4] for row in await fenced(b)] == ["snapshot"]


async def test_what_was_refused_is_kept_for_a_while(b: Bench) -> None:
    stale, _ = await taken_over(b)
    await b.append(b.item(stale))
    await b.pass_s(30 * DAY_S)
    assert await b.call("sweep_fenced", 10, MONTH_US) == 0
    await b.pass_s(1)
    assert await b.call("sweep_fenced", 10, MONTH_US) == 1
    assert await fenced(b) == []


async def test_a_key_goes_when_it_has_ended_and_not_before(b: Bench) -> None:
    owned = await b.owned()
    for n in range(3):
        await b.enqueue(owned.key, idem=f"k{n}")
    await b.pass_s(DAY_S)
    assert await b.call("sweep_keys", 2) == 0
    await b.pass_s(0.000_001)
    assert [await b.call("sweep_keys", 2) for _ in range(3)] == [2, 1, 0]
    assert (await b.enqueue(owned.key, idem="k0"))[0] == "ok", "it is a new request now"


async def test_a_wake_that_an_overtaken_mark_left_behind_goes(b: Bench) -> None:
    """Somebody who saw the dead owner makes a session due that has a new one meanwhile."""
    first = await b.owned()
    sessions = [first, *[await b.own(await b.create(), first.host) for _ in range(2)]]
    await b.pass_s(11)
    fresh = await b.host()
    await b.own(sessions[2].key, fresh)  # marks the old owner, and makes nothing due

    async def overtake() -> None:
        await b.own(sessions[1].key, fresh)

    await b.while_running(first.key, "host_dead", first.host.name, first.host.incarnation, False, during=overtake)
    wakes = (await b.db.dump())["session_wakes"]
    assert {row[1] for row in wakes} == {sessions[0].key[1], sessions[1].key[1]}
    assert [await b.call("sweep_wakes", 10) for _ in range(2)] == [1, 0]
    assert [row[1] for row in (await b.db.dump())["session_wakes"]] == [first.key[1]], "its owner is dead"


async def test_a_wake_is_kept_when_the_owner_is_dead(b: Bench) -> None:
    owned = await b.owned()
    await b.dead(owned.host, refused=True)
    assert await b.call("sweep_wakes", 10) == 0


async def test_a_sleeping_session_keeps_its_wake(b: Bench) -> None:
    owned = await b.owned()
    assert (await b.release(owned, "hibernate", b.db.now + TTL_US))[0] == "ok"
    assert await b.call("sweep_wakes", 10) == 0
    await b.pass_s(11)
    assert await b.call("sweep_wakes", 10) == 0
    assert len(await b.call("claim_wakes", "anybody", 10, TTL_US)) == 1


async def test_a_lock_that_nobody_holds_goes_and_may_be_taken_again(b: Bench) -> None:
    owned, one, two = await b.owned(), b.new_id(), b.new_id()
    await b.write(owned, take=[{"key": "held", "execution": one}])
    await b.write(owned, take=[{"key": "free", "execution": two}])
    await b.write(owned, give=[{"key": "free", "execution": two}])
    assert await b.call("sweep_locks", 10) == 1
    await b.write(owned, take=[{"key": "free", "execution": two}])
    other = await b.owned(owned.key[0])
    assert statuses(await b.append(b.item(other, take=[{"key": "held", "execution": two}]))) == ["lock_busy"]
