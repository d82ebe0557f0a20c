"""The group commit on a real database: each item's own fate, and a bad one that does not harm its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from celld.plane.commit import Committer
from celld.plane.item import Item, build
from celld.plane.key import Held, SessionKey
from celld.plane.ownership import Due, Ownership
from setpoint.contracts.cell import Decision, LockChange
from setpoint.contracts.event import NewEvent
from tests.integration.celld.harness import World

AT = 1_795_256_754_123_457


@pytest.fixture
async def ownership(w: World) -> Ownership:
    return await registered(w, "cell-a")


@pytest.fixture
async def committer(w: World) -> AsyncIterator[Committer]:
    committer = Committer(w.celld_pool)
    task = asyncio.create_task(committer.run())
    yield committer
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def registered(w: World, host: str) -> Ownership:
    incarnation = str(uuid.uuid4())
    await w.celld_pool.fetchrow(
        "SELECT * FROM setpoint.host_register($1, $2, $3, $4, $5, $6)",
        *(host, incarnation, "127.0.0.1:1", b"k" * 32, "{}", timedelta(seconds=60)),
    )
    return Ownership(w.celld_pool, host, incarnation)


async def acquired(w: World, ownership: Ownership, count: int, tenant: str | None = None) -> list[Held]:
    """Create sessions and acquire each."""
    made = [await w.create(tenant) for _ in range(count)]
    held = [await ownership.acquire(Due(SessionKey(one.tenant, one.id), (1, 0))) for one in made]
    return [one for one in held if one is not None]


def item(held: Held, *events: NewEvent, head_seq: int | None = None, batch: str = "", **more: object) -> Item:
    decision = Decision(events=events or (NewEvent("halt.started", {"reason": ""}),), **more)  # type: ignore[arg-type]  # keywords of a test
    seq = held.head_seq if head_seq is None else head_seq
    return build(held.key, held.epoch, seq, batch or str(uuid.uuid4()), AT, decision)


async def test_two_tenants_in_one_batch_each_with_its_own_fate(
    w: World, ownership: Ownership, committer: Committer
) -> None:
    held = await acquired(w, ownership, 6)
    good, stale, ahead, behind, bad, other = held
    results = await asyncio.gather(
        committer.commit(item(good)),
        committer.commit(item(Held(stale.key, (1, 0), stale.head_seq, 0.0))),
        committer.commit(item(ahead, head_seq=ahead.head_seq + 5)),
        committer.commit(item(behind, head_seq=behind.head_seq - 1)),
        committer.commit(item(bad, NewEvent("command.accepted", {"lane": 1, "inbox_seq": 99, "type": "tool"}))),
        committer.commit(item(other)),
        committer.commit(item(Held(SessionKey(good.key.tenant, str(uuid.uuid4())), (1, 1), 2, 0.0))),
    )
    fates = [result.status for result in results]
    assert fates == ["committed", "fenced", "truncated", "moved_head", "rejected", "committed", "gone"]
    assert results[0].seq == good.head_seq + 1


async def test_one_bad_item_of_sixty_four_harms_no_other(w: World, ownership: Ownership, committer: Committer) -> None:
    held = await acquired(w, ownership, 64)
    bad = NewEvent("command.accepted", {"lane": 1, "inbox_seq": 99, "type": "tool"})
    results = await asyncio.gather(
        *(committer.commit(item(one, bad) if n == 40 else item(one)) for n, one in enumerate(held))
    )
    assert [n for n, result in enumerate(results) if result.status != "committed"] == [40]
    assert results[40].status == "rejected"


async def test_the_same_item_again_is_committed_once(w: World, ownership: Ownership, committer: Committer) -> None:
    (held,) = await acquired(w, ownership, 1)
    batch = str(uuid.uuid4())
    for _ in range(3):
        assert (await committer.commit(item(held, batch=batch))).status == "committed"
    count = await w.all_seeing.fetchval(
        "SELECT count(*) FROM setpoint.events WHERE session_id = $1 AND type = 'halt.started'", held.key.session
    )
    assert count == 1


async def test_a_lock_held_by_another_session_keeps_the_item_out(
    w: World, ownership: Ownership, committer: Committer
) -> None:
    tenant = str(uuid.uuid4())
    first, second = await acquired(w, ownership, 2, tenant)
    mine, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    assert (await committer.commit(item(first, takes=(LockChange("table", mine),)))).status == "committed"
    busy = await committer.commit(item(second, takes=(LockChange("table", theirs),)))
    assert (busy.status, busy.detail) == ("lock_busy", f"table {first.key.session}/{mine}")


async def test_a_connection_cut_in_mid_call_is_no_loss_and_no_doubling(
    w: World, ownership: Ownership, committer: Committer
) -> None:
    held = await acquired(w, ownership, 8)
    heads = {one.key: one.head_seq for one in held}

    async def write(one: Held, times: int) -> None:
        for _ in range(times):
            became = await committer.commit(item(one, head_seq=heads[one.key]))
            assert became.status == "committed"
            heads[one.key] += 1

    async def cut() -> None:
        for _ in range(20):
            await w.all_seeing.fetch(
                "SELECT 1 FROM (SELECT pg_sleep(0.01)) q"  # let a few batches through between two cuts
            )
            await _cut_celld(w)

    async with asyncio.TaskGroup() as tasks:
        for one in held:
            tasks.create_task(write(one, 40))
        tasks.create_task(cut())
    for one in held:
        count = await w.all_seeing.fetchval(
            "SELECT count(*) FROM setpoint.events WHERE session_id = $1 AND type = 'halt.started'", one.key.session
        )
        assert count == 40


async def test_a_waiter_that_goes_away_takes_nothing_back(w: World, ownership: Ownership, committer: Committer) -> None:
    (held,) = await acquired(w, ownership, 1)
    waiting = asyncio.create_task(committer.commit(item(held)))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    (other,) = await acquired(w, ownership, 1)
    assert (await committer.commit(item(other))).status == "committed", "the committer goes on"


async def test_release_twice_is_success_and_close_waits_for_commands(w: World, ownership: Ownership) -> None:
    (held,) = await acquired(w, ownership, 1)
    assert (await ownership.release(held.key, held.epoch, held.head_seq + 1, "drain"))[0] == "moved_head"
    assert (await ownership.release(held.key, held.epoch, held.head_seq, "drain"))[0] == "ok"
    assert (await ownership.release(held.key, held.epoch, held.head_seq, "drain"))[0] == "fenced"


async def test_acquire_twice_is_mine_and_others_get_nothing(w: World, ownership: Ownership) -> None:
    session = await w.create()
    due = Due(SessionKey(session.tenant, session.id), (1, 0))
    other = await registered(w, "cell-b")
    first, again = await ownership.acquire(due), await ownership.acquire(due)
    assert first is not None and again is not None and first.epoch == again.epoch
    assert await other.acquire(due) is None
    assert [one.held.epoch for one in await ownership.owned()] == [first.epoch]


async def _cut_celld(w: World) -> None:
    """Cut every connection of the cell host's role, in whatever it is doing."""
    server = w.database.server  # type: ignore[attr-defined]  # the fixture has it, the protocol of this folder need not
    await server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = 'setpoint_celld' AND datname = '{w.database.name}'"
    )
