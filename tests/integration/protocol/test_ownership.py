"""Leases, take-over, release, sweeps and the step after a restore: who may write, and that no session is forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from migrations.admin import restored
from migrations.outcome import BadInput
from tests.integration.protocol.world import EXPIRED, TTL, Host, Owned, Session, World, statuses


async def dead(w: World) -> set[tuple[str, str]]:
    rows = await w.celld.fetch("SELECT * FROM setpoint.dead_hosts()")
    return {(row["host_id"], row["incarnation"]) for row in rows}


async def host_dead(w: World, host: Host, *, refused: bool = False) -> int:
    sql = "SELECT setpoint.host_dead($1, $2, $3)"
    woken: int = await w.broker.fetchval(sql, host.id, host.incarnation, refused)
    return woken


async def test_acquire_writes_its_event_and_takes_the_wake_row(w: World) -> None:
    session, host = await w.create(), await w.host()
    owned = await w.own(session, host)
    assert [event["type"] for event in await w.log(session)] == ["session.created", "lease.acquired"]
    assert await w.wake(session) is None
    rows = await w.celld.fetch("SELECT * FROM setpoint.owned($1, $2)", host.id, host.incarnation)
    assert [(row["session_id"], row["epoch"], row["head_seq"], row["open"]) for row in rows] == [(session.id, 1, 2, 0)]
    again = await w.acquire(session, host)
    assert (again["status"], again["epoch"], again["head_seq"]) == ("mine", owned.epoch, owned.head)


async def test_take_over_is_refused_while_the_owners_lease_lives(w: World) -> None:
    """Eight at once, with the owner's renewals racing."""
    session, owner = await w.create(), await w.host()
    owned = await w.own(session, owner)
    rivals = [await w.host() for _ in range(8)]
    renewals = [w.renew(owner) for _ in range(8)]
    rows = await asyncio.gather(*(w.acquire(session, rival) for rival in rivals), *renewals)
    assert statuses(rows) == ["held"] * 8 + ["ok"] * 8
    assert (await w.head(session))["epoch"] == owned.epoch
    await w.write(owned)


async def test_of_eight_take_overs_after_the_lease_one_wins_and_the_old_owner_never_renews(w: World) -> None:
    session, owner = await w.create(), await w.host()
    await w.own(session, owner)
    rivals = [await w.host() for _ in range(8)]
    await w.expire(owner)
    rows = await asyncio.gather(*(w.acquire(session, rival, (1, 1)) for rival in rivals))
    assert sorted(statuses(rows)) == ["moved"] * 7 + ["ok"]
    assert (await w.renew(owner))["status"] == "fenced"
    assert (await w.register(owner))["status"] == "fenced", "a retry of its registration cannot undo the mark"


async def test_a_renewal_racing_a_take_over_never_lets_both_win(w: World) -> None:
    for _ in range(25):
        session, owner, rival = await w.create(), await w.host(), await w.host()
        await w.own(session, owner)
        await w.expire(owner)
        renewed, taken = await asyncio.gather(w.renew(owner), w.acquire(session, rival, (1, 1)))
        assert (renewed["status"], taken["status"]) in (("ok", "held"), ("fenced", "ok"))


async def test_acquire_needs_a_live_lease_of_its_own(w: World) -> None:
    session = await w.create()
    assert (await w.acquire(session, Host("nobody")))["status"] == "no_lease"
    assert (await w.acquire(session, await w.host(ttl=EXPIRED)))["status"] == "no_lease"
    host = await w.host()
    assert (await w.acquire(session, host, (1, 5)))["status"] == "moved"
    assert (await w.acquire(Session(session.tenant, session.tenant, "none"), host, (1, 0)))["status"] == "gone"


async def test_hibernation_is_refused_when_a_command_raced_in(w: World) -> None:
    owned = await w.owned()
    async with w.holding_head(owned.session):
        command = asyncio.create_task(w.enqueue(owned.session))
        await w.until_waiting(1)
        release = asyncio.create_task(w.release(owned, "hibernate"))
        await w.until_waiting(2)
    assert [(await command)["status"], (await release)["status"]] == ["ok", "busy"]
    assert (await w.head(owned.session))["owner_host"] is not None


async def test_a_command_that_comes_after_hibernation_wakes_the_session(w: World) -> None:
    owned = await w.owned()
    async with w.holding_head(owned.session):
        release = asyncio.create_task(w.release(owned, "hibernate"))
        await w.until_waiting(1)
        command = asyncio.create_task(w.enqueue(owned.session))
        await w.until_waiting(2)
    assert [(await release)["status"], (await command)["status"]] == ["ok", "ok"]
    wake = await w.wake(owned.session)
    assert wake is not None and wake["due"]


async def test_no_interleaving_of_hibernation_and_command_loses_it(w: World) -> None:
    async def once() -> None:
        owned = await w.owned()
        release, command = await asyncio.gather(w.release(owned, "hibernate"), w.enqueue(owned.session))
        assert command["status"] == "ok"
        waits = await w.wake(owned.session)
        assert release["status"] == "busy" if waits is None else release["status"] == "ok" and waits["due"]

    for _ in range(5):
        await asyncio.gather(*(once() for _ in range(5)))


@pytest.mark.parametrize(
    ("mode", "event", "due"),
    [("drain", "lease.released", True), ("move", "lease.released", True), ("hibernate", "session.hibernated", False)],
)
async def test_release_says_what_happened_and_when_to_wake(w: World, mode: str, event: str, due: bool) -> None:
    owned = await w.owned()
    later = datetime.now(UTC) + timedelta(hours=1)
    row = await w.release(owned, mode, next_wake=later, target="there", avoid="here")
    assert (row["status"], row["seq"]) == ("ok", owned.head + 1)
    assert (await w.log(owned.session))[-1]["type"] == event
    wake = await w.wake(owned.session)
    assert wake is not None and (wake["due"], wake["prefer_host"], wake["avoid_host"]) == (due, "there", "here")
    assert due or wake["wake_at"] == later
    assert (await w.release(owned, mode))["status"] == "fenced", "a repeated release was a success"


async def test_drain_and_move_go_even_when_commands_wait(w: World) -> None:
    for mode in ("drain", "move"):
        owned = await w.owned()
        await w.enqueue(owned.session)
        assert (await w.release(owned, mode))["status"] == "ok"
    owned = await w.owned()
    await w.enqueue(owned.session)
    assert (await w.release(owned, "close"))["status"] == "busy"
    with pytest.raises(BadInput):
        await w.release(owned, "vanish")


async def test_a_closed_session_is_never_acquired_or_woken(w: World) -> None:
    owned = await w.owned()
    assert (await w.release(owned, "hibernate", next_wake=datetime.now(UTC)))["status"] == "ok"
    owned = await w.own(owned.session, await w.host())
    assert (await w.release(owned, "close"))["status"] == "ok"
    assert await w.wake(owned.session) is None
    assert (await w.acquire(owned.session, await w.host()))["status"] == "closed"
    row = await w.celld.fetchrow("SELECT * FROM setpoint.session_row($1, $2)", owned.session.tenant, owned.session.id)
    assert row is not None and row["closed_at"] is not None and row["state"] == "closed"


async def test_three_sweepers_over_two_hundred_due_rows_lose_no_acquire(w: World) -> None:
    tenant = (await w.create()).tenant
    await asyncio.gather(*(w.create(tenant) for _ in range(199)))
    hosts = [await w.host() for _ in range(3)]

    async def sweep(host: Host) -> list[str]:
        answers = []
        while rows := await w.claim(host.id, 25):
            for row in rows:
                session = Session(row["tenant_id"], row["session_id"], "")
                answers.append((await w.acquire(session, host, (row["epoch_inc"], row["epoch"])))["status"])
        return answers

    answers = await asyncio.gather(*(sweep(host) for host in hosts))
    assert sorted(answer for each in answers for answer in each) == ["ok"] * 200
    assert await w.count("session_wakes", tenant) == 0
    owned = "SELECT count(*) FROM setpoint.session_heads WHERE owner_host IS NOT NULL AND epoch = 1"
    assert await w.all_seeing.fetchval(owned) == 200


async def test_sweeps_and_enqueues_do_not_deadlock(w: World) -> None:
    sessions = [await w.create() for _ in range(20)]

    async def sweep(host: Host) -> None:
        for _ in range(10):
            for row in await w.claim(host.id, 5):
                session = Session(row["tenant_id"], row["session_id"], "")
                taken = await w.acquire(session, host, (row["epoch_inc"], row["epoch"]))
                if taken["status"] == "ok":
                    await w.release(Owned(session, taken["epoch_inc"], taken["epoch"], taken["head_seq"]), "drain")

    async def feed() -> None:
        for session in sessions * 5:
            assert (await w.enqueue(session))["status"] == "ok"

    await asyncio.gather(sweep(await w.host()), sweep(await w.host()), feed(), feed())


async def test_a_claim_postpones_and_a_lost_claimer_costs_only_that(w: World) -> None:
    session = await w.create()
    assert len(await w.claim("one")) == 1
    assert await w.claim("two") == []
    await w.all_seeing.execute("UPDATE setpoint.session_wakes SET wake_at = wake_at - interval '5 s'")
    assert [row["session_id"] for row in await w.claim("two")] == [session.id]


async def test_a_preferred_host_has_its_rows_alone_for_two_seconds(w: World) -> None:
    session = await w.create(prefer="mine")
    assert await w.claim("other") == []
    await w.all_seeing.execute("UPDATE setpoint.session_wakes SET wake_at = wake_at - interval '2 s'")
    assert [row["session_id"] for row in await w.claim("other")] == [session.id]
    await w.create(prefer="mine")
    assert len(await w.claim("mine")) == 1


async def test_a_host_to_avoid_does_not_see_the_row_for_five_seconds(w: World) -> None:
    owned = await w.owned()
    await w.release(owned, "move", avoid="broken")
    assert await w.claim("broken") == []
    await w.all_seeing.execute("UPDATE setpoint.session_wakes SET wake_at = wake_at - interval '5 s'")
    assert len(await w.claim("broken")) == 1
    owned = await w.owned()
    await w.release(owned, "move", avoid="broken")
    assert len(await w.claim("whole")) == 1


async def test_re_registration_fences_the_predecessor_and_wakes_its_sessions(w: World) -> None:
    old = await w.host("cell-1")
    owned = await w.own(await w.create(), old)
    new = Host("cell-1")
    assert (await w.register(new))["status"] == "ok"
    assert (await w.renew(old))["status"] == "fenced"
    wake = await w.wake(owned.session)
    assert wake is not None and wake["due"] and wake["prefer_host"] == "cell-1"
    assert (await w.acquire(owned.session, new))["status"] == "ok"
    assert statuses(await w.append(owned.item())) == ["fenced"]


async def test_another_key_cannot_take_a_living_hosts_name(w: World) -> None:
    host = await w.host("cell-1")
    assert (await w.register(Host("cell-1"), key=b"other"))["status"] == "key_mismatch"
    assert (await w.renew(host))["status"] == "ok"
    await w.expire(host)
    assert (await w.register(Host("cell-1"), key=b"other"))["status"] == "ok"


async def test_a_counter_below_the_hosts_own_means_the_database_went_back(w: World) -> None:
    host = await w.host()
    assert [(await w.renew(host, n))["renewal_no"] for n in range(3)] == [1, 2, 3]
    assert (await w.renew(host, 4))["status"] == "went_back"
    assert (await w.renew(host, 3))["status"] == "ok"


async def test_host_dead_is_refused_while_the_lease_lives(w: World) -> None:
    host = await w.host()
    owned = await w.own(await w.create(), host)
    assert await host_dead(w, host) == -1
    assert await dead(w) == set()
    assert (await w.renew(host))["status"] == "ok"
    await w.write(owned)


async def test_a_refused_address_marks_a_host_whose_lease_lives(w: World) -> None:
    host = await w.host()
    owned = await w.own(await w.create(), host)
    assert await host_dead(w, host, refused=True) == 1
    assert (await w.renew(host))["status"] == "fenced"
    assert (await w.acquire(owned.session, await w.host()))["status"] == "ok"


async def test_any_cell_host_finds_an_expired_one_and_wakes_its_sessions(w: World) -> None:
    host, alive = await w.host(), await w.host()
    sessions = [(await w.own(await w.create(), host)).session for _ in range(3)]
    await w.own(await w.create(), alive)
    await w.expire(host)
    assert await dead(w) == {(host.id, host.incarnation)}
    assert await host_dead(w, host) == 3
    assert await dead(w) == set(), "nothing is left to do"
    for session in sessions:
        wake = await w.wake(session)
        assert wake is not None and wake["due"]
    assert await host_dead(w, host) == 0, "marking twice is harmless"


async def test_a_session_acquired_by_a_replaced_incarnation_is_found(w: World) -> None:
    """Its acquire committed while the host registered anew, so the registration did not see it."""
    old = await w.host("cell-1")
    owned = await w.own(await w.create(), old)
    await w.register(Host("cell-1"))
    await w.all_seeing.execute("DELETE FROM setpoint.session_wakes")
    assert await dead(w) == {(old.id, old.incarnation)}
    assert await host_dead(w, old) == 1
    assert await w.wake(owned.session) is not None


async def test_restored_voids_every_epoch_and_wakes_what_had_an_owner_or_work(w: World) -> None:
    host = await w.host()
    running = await w.own(await w.create(), host)
    queued, idle, closed = await w.owned(), await w.owned(), await w.owned()
    await w.enqueue(queued.session)
    await w.release(queued, "drain")
    await w.release(idle, "hibernate")
    await w.release(closed, "close")

    assert await restored(w.database.dsn("setpoint_migrate")) == (2, 2)

    assert (await w.renew(host))["status"] == "fenced"
    assert statuses(await w.append(running.item())) == ["fenced"], "before anybody acquires"
    for owned, due in ((running, True), (queued, True), (idle, False), (closed, False)):
        assert (await w.wake(owned.session) is not None) == due
        assert (await w.head(owned.session))["owner_host"] is None
    fresh = await w.own(running.session, await w.host())
    assert (fresh.inc, fresh.epoch) == (2, running.epoch + 1)
    assert (await w.register(Host(host.id), ttl=TTL))["cluster_incarnation"] == 2
