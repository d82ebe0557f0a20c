"""Leases, wakes, acquire and release, in the model as in the real database: one case a rule."""

from __future__ import annotations

import pytest

from tests.integration.conformance.backend import Refusal
from tests.integration.conformance.bench import HOLD_US, SECOND, TTL_US, Bench, Host

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_new_session_is_due_and_has_its_first_event(b: Bench) -> None:
    key = await b.create(prefer="there")
    assert await b.wake(key) == (0, "there", None)
    rows = await b.call("log_page", *key, 0, 10)
    assert rows == [(1, b.db.now, 1, 0, "session.created", 1, None, None, None, rows[0][9])]
    assert rows[0][9] == {"name": f"s-{key[1]}", "labels": {"a": "b"}}


async def test_acquire_writes_its_event_and_takes_the_wake(b: Bench) -> None:
    key, host = await b.create(), await b.host()
    assert await b.acquire(key, host, (1, 0)) == ("ok", 1, 1, 2)
    assert await b.wake(key) is None
    rows = await b.call("log_page", *key, 1, 10)
    assert rows[0][4] == "lease.acquired" and rows[0][9] == {"host": host.name, "incarnation": host.incarnation}
    assert await b.call("owned", host.name, host.incarnation) == [(*key, 1, 1, 2, 0)]


async def test_acquire_repeated_is_mine_even_without_a_lease(b: Bench) -> None:
    owned = await b.owned()
    assert await b.acquire(owned.key, owned.host, (1, 0)) == ("mine", 1, 1, 2)
    await b.pass_s(60)
    assert (await b.acquire(owned.key, owned.host, (9, 9)))[0] == "mine"


async def test_acquire_wants_the_epoch_it_was_claimed_at(b: Bench) -> None:
    key, host = await b.create(), await b.host()
    assert await b.acquire(key, host, (1, 1)) == ("moved", 1, 0, 1)
    assert await b.acquire(key, host, (2, 0)) == ("moved", 1, 0, 1)


async def test_acquire_wants_a_live_lease_of_this_incarnation(b: Bench) -> None:
    key, host = await b.create(), await b.host("h")
    assert (await b.acquire(key, Host("h", b.new_id()), (1, 0)))[0] == "no_lease"
    assert (await b.acquire(key, Host("nobody", b.new_id()), (1, 0)))[0] == "no_lease"
    await b.pass_s(10)
    assert (await b.acquire(key, host, (1, 0)))[0] == "no_lease", "it ends at the instant, not after it"
    await b.renew(host)
    assert (await b.acquire(key, host, (1, 0)))[0] == "ok"


async def test_a_marked_host_acquires_nothing(b: Bench) -> None:
    key, host = await b.create(), await b.host()
    await b.dead(host, refused=True)
    assert (await b.acquire(key, host, (1, 0)))[0] == "no_lease"


async def test_an_owner_with_a_lease_is_not_robbed(b: Bench) -> None:
    owned, other = await b.owned(), await b.host()
    assert await b.acquire(owned.key, other, (1, 1)) == ("held", 1, 1, 2)
    await b.pass_s(10)
    await b.renew(other)
    assert (await b.acquire(owned.key, other, (1, 1)))[0] == "held", "at its last instant a lease still holds"


async def test_taking_over_fences_the_expired_incarnation_for_good(b: Bench) -> None:
    owned, other = await b.owned(), await b.host(ttl_us=2 * TTL_US)
    await b.pass_s(11)
    assert await b.acquire(owned.key, other, (1, 1)) == ("ok", 1, 2, 3)
    assert (await b.renew(owned.host))[0] == "fenced"
    assert (await b.register(owned.host))[0] == "fenced", "nothing undoes a mark"
    assert (await b.register(Host(owned.host.name, b.new_id())))[0] == "ok"


async def test_a_replaced_incarnation_is_robbed_at_once(b: Bench) -> None:
    owned = await b.owned()
    await b.host(owned.host.name)
    assert (await b.acquire(owned.key, await b.host(), (1, 1)))[0] == "ok"


async def test_an_unknown_session_is_gone(b: Bench) -> None:
    host = await b.host()
    assert await b.acquire((b.new_id(), b.new_id()), host, (1, 0)) == ("gone", None, None, None)


async def test_a_closed_session_is_not_acquired_and_loses_a_late_wake(b: Bench) -> None:
    owned = await b.owned()
    await b.dead(owned.host, refused=True)
    assert await b.wake(owned.key) is not None
    assert (await b.release(owned, "close"))[0] == "ok"
    assert await b.wake(owned.key) is not None
    assert await b.acquire(owned.key, await b.host(), (1, 1)) == ("closed", 1, 1, 3)
    assert await b.wake(owned.key) is None


async def test_register_repeated_renews_and_keeps_its_counter(b: Bench) -> None:
    host = await b.host()
    assert await b.renew(host) == ("ok", 1, 1)
    await b.pass_s(60)
    assert await b.register(host, ttl_us=SECOND) == ("ok", 1, 1)
    assert (await b.dead(host)) == -1


async def test_another_key_cannot_take_a_living_hosts_name(b: Bench) -> None:
    host = await b.host("h")
    assert await b.register(Host("h", b.new_id()), key=b"other") == ("key_mismatch", 0, 1)
    assert (await b.renew(host))[0] == "ok"
    await b.pass_s(10)
    assert (await b.register(Host("h", b.new_id()), key=b"other"))[0] == "ok"


async def test_another_key_may_take_a_marked_hosts_name(b: Bench) -> None:
    host = await b.host("h")
    await b.dead(host, refused=True)
    assert (await b.register(Host("h", b.new_id()), key=b"other"))[0] == "ok"


async def test_a_new_incarnation_makes_its_predecessors_sessions_due_for_itself(b: Bench) -> None:
    old, other = await b.host("h"), await b.owned()
    owned = await b.own(await b.create(), old)
    await b.host("h")
    assert (await b.renew(old))[0] == "fenced"
    assert await b.wake(owned.key) == (0, "h", None)
    assert await b.wake(other.key) is None


async def test_a_new_incarnation_moves_an_earlier_wake_to_itself_but_not_later(b: Bench) -> None:
    owned = await b.owned()
    await b.dead(owned.host, refused=True)
    await b.pass_s(3)
    await b.host(owned.host.name)
    assert await b.wake(owned.key) == (-3 * SECOND, owned.host.name, None)


async def test_renew_counts_and_says_when_the_database_went_back(b: Bench) -> None:
    host = await b.host()
    assert [await b.renew(host, n) for n in range(2)] == [("ok", 1, 1), ("ok", 2, 1)]
    assert await b.renew(host, 3) == ("went_back", 2, 1)
    assert await b.renew(host, 2) == ("ok", 3, 1)


async def test_renew_of_an_unknown_host_or_incarnation_is_fenced(b: Bench) -> None:
    assert await b.renew(Host("nobody", b.new_id())) == ("fenced", None, 1)
    await b.host("h")
    assert await b.renew(Host("h", b.new_id()), 5) == ("fenced", 0, 1)


async def test_an_expired_lease_that_nobody_marked_is_renewed(b: Bench) -> None:
    owned = await b.owned()
    await b.pass_s(60)
    assert (await b.renew(owned.host))[0] == "ok"
    assert await b.call("dead_hosts") == []


async def test_host_dead_waits_for_the_lease_unless_refused(b: Bench) -> None:
    owned = await b.owned()
    await b.pass_s(10)
    assert await b.dead(owned.host) == -1
    assert await b.call("dead_hosts") == []
    assert await b.dead(owned.host, refused=True) == 1
    assert await b.wake(owned.key) == (0, None, None)


async def test_marking_twice_is_harmless_and_finds_late_sessions(b: Bench) -> None:
    host = await b.host()
    one, two = await b.own(await b.create(), host), await b.own(await b.create(), host)
    await b.pass_s(11)
    assert await b.call("dead_hosts") == [(host.name, host.incarnation)]
    assert await b.dead(host) == 2
    assert await b.call("dead_hosts") == []
    assert await b.dead(host) == 0
    await b.release(one, "hibernate")
    assert await b.dead(host) == 0
    assert await b.wake(two.key) == (0, None, None)
    assert await b.dead(Host("nobody", b.new_id())) == 0


async def test_dead_hosts_finds_owners_without_a_row_of_their_incarnation(b: Bench) -> None:
    owned = await b.owned()
    await b.host(owned.host.name)
    assert await b.claim(owned.host.name) == [owned.key[1]]
    assert await b.call("dead_hosts") == [], "its session is due"


async def test_an_acquire_that_a_registration_does_not_see_is_found_later(b: Bench) -> None:
    """The registration has read the heads; the old incarnation acquires; both commit. Nothing is due, nobody alive."""
    old = await b.host("h")
    pause, late = await b.own(await b.create(), old), await b.create()
    new = Host("h", b.new_id())

    async def acquire() -> None:
        assert (await b.acquire(late, old, (1, 0)))[0] == "ok"

    args = (new.name, new.incarnation, "127.0.0.1:1", b"key", TTL_US)
    await b.while_running(pause.key, "host_register", *args, during=acquire)
    assert await b.wake(pause.key) == (0, "h", None)
    assert await b.wake(late) is None
    assert await b.call("dead_hosts") == [("h", old.incarnation)]
    assert await b.dead(old) == 1
    assert await b.wake(late) == (0, None, None)


async def test_a_session_that_moves_while_its_old_host_is_marked_is_due_though_it_has_an_owner(b: Bench) -> None:
    """A wake of an owned session is a false one: who claims it hears that it is held."""
    old, fresh = await b.host(), await b.host()
    pause, moving = await b.own(await b.create(), old), await b.own(await b.create(), old)

    async def move() -> None:
        assert (await b.release(moving, "hibernate"))[0] == "ok"
        await b.own(moving.key, fresh)

    await b.while_running(pause.key, "host_dead", old.name, old.incarnation, True, during=move)
    assert await b.wake(moving.key) == (0, None, None)
    other = await b.host()
    assert sorted(await b.claim(other.name)) == sorted([pause.key[1], moving.key[1]])
    assert (await b.acquire(moving.key, other, (1, 2)))[0] == "held"


async def test_a_claim_postpones_for_everybody(b: Bench) -> None:
    key = await b.create()
    assert await b.call("claim_wakes", "one", 10, HOLD_US) == [(*key, 1, 0, 1)]
    assert await b.wake(key) == (HOLD_US, None, None)
    await b.pass_s(4.999_999)
    assert await b.claim("two") == []
    await b.pass_s(0.000_001)
    assert await b.claim("two") == [key[1]]


async def test_the_longest_due_come_first_within_the_limit(b: Bench) -> None:
    keys = []
    for _ in range(4):
        keys.append(await b.create())
        await b.pass_s(1)
    assert sorted(await b.claim("h", 2)) == sorted(key[1] for key in keys[:2])
    assert sorted(await b.claim("h", 2)) == sorted(key[1] for key in keys[2:])


async def test_a_preferred_host_has_its_rows_alone_for_two_seconds(b: Bench) -> None:
    key = await b.create(prefer="mine")
    await b.pass_s(1.999_999)
    assert await b.claim("other") == []
    await b.pass_s(0.000_001)
    assert await b.claim("other") == [key[1]]
    other = await b.create(prefer="mine")
    assert await b.claim("mine") == [other[1]]


async def test_a_host_to_avoid_does_not_see_the_row_for_five_seconds(b: Bench) -> None:
    owned = await b.owned()
    assert (await b.release(owned, "move", None, None, "broken"))[0] == "ok"
    await b.pass_s(4.999_999)
    assert await b.claim("broken") == []
    await b.pass_s(0.000_001)
    assert await b.claim("broken") == [owned.key[1]]


@pytest.mark.parametrize(
    ("mode", "event", "wake"),
    [
        ("drain", "lease.released", (0, "there", "here")),
        ("move", "lease.released", (0, "there", "here")),
        ("hibernate", "session.hibernated", (7 * SECOND, "there", "here")),
        ("close", "session.closed", None),
    ],
)
async def test_release_says_what_happened_and_when_to_wake(
    b: Bench, mode: str, event: str, wake: tuple[int, str, str] | None
) -> None:
    owned = await b.owned()
    assert await b.release(owned, mode, b.db.now + 7 * SECOND, "there", "here") == ("ok", 3)
    assert (await b.log(owned.key))[-1] == event
    assert await b.wake(owned.key) == wake
    assert await b.release(owned, mode) == ("fenced", 3), "a repeated release was a success"
    assert await b.call("owned", owned.host.name, owned.host.incarnation) == []


async def test_hibernating_without_a_timer_leaves_no_wake(b: Bench) -> None:
    owned = await b.owned()
    assert (await b.release(owned, "hibernate"))[0] == "ok"
    assert await b.wake(owned.key) is None


async def test_release_by_another_epoch_or_of_nothing_is_fenced(b: Bench) -> None:
    owned = await b.owned()
    owned.epoch += 1
    assert await b.release(owned, "drain") == ("fenced", 2)
    owned.key = (owned.key[0], b.new_id())
    assert await b.release(owned, "drain") == ("fenced", None)


async def test_release_at_another_head_is_a_moved_head(b: Bench) -> None:
    owned = await b.owned()
    owned.head -= 1
    assert await b.release(owned, "drain") == ("moved_head", 2)


@pytest.mark.parametrize("lane", [0, 1])
async def test_hibernate_and_close_refuse_while_commands_wait(b: Bench, lane: int) -> None:
    owned = await b.owned()
    await b.enqueue(owned.key, lane=lane)
    assert await b.release(owned, "hibernate") == ("busy", 2)
    assert await b.release(owned, "close") == ("busy", 2)
    assert await b.release(owned, "move") == ("ok", 3)


async def test_unended_commands_do_not_keep_a_session_awake(b: Bench) -> None:
    owned = await b.owned()
    await b.enqueue(owned.key)
    await b.write(owned, "command.accepted", ack=[[1, 1]])
    assert (await b.release(owned, "hibernate"))[0] == "ok"


async def test_an_unknown_mode_is_refused(b: Bench) -> None:
    owned = await b.owned()
    assert await b.release(owned, "vanish") == Refusal("22023")


async def test_restored_voids_every_epoch_and_wakes_what_had_an_owner_or_work(b: Bench) -> None:
    running, queued, accepted = await b.owned(), await b.owned(), await b.owned()
    idle, closed = await b.owned(), await b.owned()
    for owned in (queued, accepted):
        await b.enqueue(owned.key)
    await b.write(accepted, "command.accepted", ack=[[1, 1]])
    await b.release(queued, "drain", None, "there", "here")
    await b.release(accepted, "hibernate")
    await b.release(idle, "hibernate")
    await b.release(closed, "close")
    assert await b.call("restored") == (2, 3)
    assert [await b.wake(owned.key) for owned in (running, queued, accepted)] == [(0, None, None)] * 3
    assert await b.wake(idle.key) is None and await b.wake(closed.key) is None
    assert (await b.renew(running.host))[0] == "fenced"
    assert await b.acquire(running.key, await b.host(), (2, 1)) == ("ok", 2, 2, 3)


async def test_candidates_are_ready_hosts_with_a_live_lease(b: Bench) -> None:
    await b.host("a", ttl_us=SECOND)
    ready, marked = await b.host("b"), await b.host("c")
    await b.dead(marked, refused=True)
    await b.own(await b.create(), ready)
    await b.pass_s(1)
    assert await b.call("cell_candidates") == [("b", ready.incarnation, "127.0.0.1:1", 1)]


async def test_a_sandbox_host_is_one_incarnation_at_a_time(b: Bench) -> None:
    one, two, ledger = b.new_id(), b.new_id(), b.new_id()
    assert await b.call("sandbox_register", "sb", one, ledger, "addr", {"slots": 2}) is True
    assert await b.call("sandbox_seen", "sb", one, {"slots": 3}) is True
    assert await b.call("sandbox_seen", "sb", two, {"slots": 4}) is False
    assert await b.call("sandbox_gone", "sb", one) is True
    assert await b.call("sandbox_gone", "sb", one) is False
    assert await b.call("sandbox_seen", "sb", one, {}) is False
    await b.call("sandbox_register", "sb", two, ledger, "addr", {})
    assert await b.call("sandboxes") == [("sb", two, ledger, "addr", "ready", {}, 0, "serve")]


async def test_sandboxes_count_the_open_sessions_on_them(b: Bench) -> None:
    await b.call("sandbox_register", "sb", b.new_id(), b.new_id(), "addr", {})
    for mode in ("hibernate", "close"):
        owned = await b.owned()
        await b.write(owned, sandbox={"host": "sb", "ledger_id": None, "workspace_no": 1})
        assert (await b.release(owned, mode))[0] == "ok"
    assert [row[-2] for row in await b.call("sandboxes")] == [1]
