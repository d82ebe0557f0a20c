"""Breaking a lock, in the model as in the real database: one case a rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conformance.bench import Bench, Owned

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def holder(b: Bench, ttl_s: float | None = 60, session: Owned | None = None) -> tuple[Owned, str]:
    """Return an owner that holds ``k``, and the execution."""
    owned, execution = session or await b.owned(), b.new_id()
    await b.write(owned, take=[{"key": "k", "execution": execution, "ttl_s": ttl_s}])
    return owned, execution


async def break_it(b: Bench, owned: Owned, command: str = "", **more: Any) -> Any:
    idem = more.get("idem")
    fixed = (owned.key[0], "k", command or b.new_id(), "me", more.get("why"), more.get("forced", False))
    return await b.call("break_lock", *fixed, idem, more.get("fingerprint", b"x") if idem else None)


async def test_a_lock_is_young_for_its_time_to_live(b: Bench) -> None:
    owned, execution = await holder(b)
    since = b.db.now
    await b.pass_s(59.999_999)
    assert await break_it(b, owned) == ("young", owned.key[1], execution, since, 60, None, None)
    await b.pass_s(0.000_001)
    assert (await break_it(b, owned))[0] == "ok"


async def test_a_lock_without_a_time_to_live_is_young_for_an_hour(b: Bench) -> None:
    owned, _ = await holder(b, None)
    await b.pass_s(3599)
    assert (await break_it(b, owned))[4] == 3600
    await b.pass_s(1)
    assert (await break_it(b, owned))[0] == "ok"


async def test_a_repeated_take_does_not_make_a_lock_younger(b: Bench) -> None:
    owned, execution = await holder(b)
    await b.pass_s(60)
    await b.write(owned, take=[{"key": "k", "execution": execution, "ttl_s": 600}])
    assert (await break_it(b, owned))[0] == "ok"


async def test_broken_by_force_it_is_free_at_once_and_its_session_is_told(b: Bench) -> None:
    owned, execution = await holder(b)
    command = b.new_id()
    assert await break_it(b, owned, command, forced=True, why="stuck") == (
        *("ok", owned.key[1], execution, b.db.now, 60, command, owned.host.name),
    )
    about = {"key": "k", "execution_id": execution, "by": "me", "reason": "stuck"}
    assert await b.call("inbox", *owned.key, 0, 0, 10) == [(0, 1, command, "lock_broken", about)]
    assert (await b.db.dump())["asset_locks"] == [(owned.key[0], "k", None, None, None, None)]
    await holder(b, session=owned)


async def test_its_notice_is_beyond_any_quota_and_wakes_a_session_nobody_owns(b: Bench) -> None:
    owned, _ = await holder(b)
    await b.enqueue(owned.key, lane=0, quota=1)
    await b.release(owned, "drain")
    await b.call("claim_wakes", "h", 10, 5_000_000)
    assert (await break_it(b, owned, forced=True))[5] is not None
    assert await b.wake(owned.key) == (0, None, None)


async def test_a_lock_that_nobody_holds_is_free_and_no_key_is_kept(b: Bench) -> None:
    owned = await b.owned()
    assert await break_it(b, owned, idem="i") == ("free", None, None, None, 3600, None, None)
    assert (await b.db.dump())["idempotency_keys"] == []


async def test_a_young_lock_leaves_no_key(b: Bench) -> None:
    owned, _ = await holder(b)
    assert (await break_it(b, owned, idem="i"))[0] == "young"
    assert (await b.db.dump())["idempotency_keys"] == []


@pytest.mark.parametrize("how", ["command", "key"])
async def test_breaking_again_answers_what_was_broken_first(b: Bench, how: str) -> None:
    owned, execution = await holder(b)
    command = b.new_id()
    await break_it(b, owned, command, forced=True, idem="i")
    await holder(b, session=owned)
    again = await break_it(b, owned, command if how == "command" else "", forced=True, idem="i")
    assert again == ("already", owned.key[1], execution, None, None, command, None)


async def test_a_key_of_another_request_is_a_mismatch(b: Bench) -> None:
    owned, _ = await holder(b)
    await break_it(b, owned, forced=True, idem="i")
    assert (await break_it(b, owned, forced=True, idem="i", fingerprint=b"y"))[0] == "mismatch"


async def test_the_broken_holder_gives_what_is_no_longer_its_own(b: Bench) -> None:
    owned, execution = await holder(b)
    await break_it(b, owned, forced=True)
    other, _ = await holder(b, session=await b.owned(owned.key[0]))
    await b.write(owned, give=[{"key": "k", "execution": execution}])
    assert (await b.db.dump())["asset_locks"][0][2] == other.key[1]
