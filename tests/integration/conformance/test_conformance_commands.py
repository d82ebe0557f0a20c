"""Sessions, commands, the inbox, snapshots and reads, in the model as in the real database: one case a rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conformance.backend import Refusal
from tests.integration.conformance.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY_S = 24 * 3600


async def test_a_session_created_again_is_already_there(b: Bench) -> None:
    key = await b.create()
    assert await b.call("create_session", *key, f"s-{key[1]}", {}, None, None, None) == ("already", key[1])
    assert len(await b.log(key)) == 1


async def test_a_taken_name_is_a_conflict_that_names_who_has_it(b: Bench) -> None:
    key = await b.create()
    args: tuple[Any, ...] = (key[0], b.new_id(), f"s-{key[1]}", {}, None, "k", b"body")
    assert await b.call("create_session", *args) == ("conflict", key[1])
    assert (await b.db.dump())["idempotency_keys"] == [], "nothing is kept of a refused call"


async def test_a_taken_id_under_another_name_is_a_conflict(b: Bench) -> None:
    key = await b.create()
    assert await b.call("create_session", *key, "other", {}, None, None, None) == ("conflict", None)


async def test_names_are_a_tenants_own(b: Bench) -> None:
    for _ in range(2):
        args: tuple[Any, ...] = (b.new_id(), b.new_id(), "same", {}, None, None, None)
        assert await b.call("create_session", *args) == ("ok", args[1])


async def test_a_session_key_answers_with_the_first_session(b: Bench) -> None:
    tenant, first = b.new_id(), b.new_id()
    assert await b.call("create_session", tenant, first, "a", {}, None, "k", b"body") == ("ok", first)
    assert await b.call("create_session", tenant, b.new_id(), "b", {}, None, "k", b"body") == ("already", first)
    assert await b.call("create_session", tenant, b.new_id(), "b", {}, None, "k", b"other") == ("mismatch", None)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a b", "x" * 129])
async def test_a_name_that_is_none_is_refused_and_its_key_is_free(b: Bench, name: str) -> None:
    args: tuple[Any, ...] = (b.new_id(), b.new_id(), name, {}, None, "k", b"body")
    assert await b.call("create_session", *args) == Refusal("23514")
    assert (await b.db.dump())["idempotency_keys"] == []


async def test_a_key_without_a_fingerprint_is_refused(b: Bench) -> None:
    key = await b.create()
    args: tuple[Any, ...] = (key[0], b.new_id(), "a", {}, None, "k", None)
    assert await b.call("create_session", *args) == Refusal("23502")
    assert await b.call("enqueue", *key, b.new_id(), 1, "tool", {}, "k", None, 100) == Refusal("23502")


async def test_a_command_gets_the_next_place_of_its_sessions_inbox(b: Bench) -> None:
    key, ids = await b.create(), [b.new_id() for _ in range(3)]
    answers = [await b.enqueue(key, command, lane=lane) for command, lane in zip(ids, (1, 0, 1), strict=True)]
    assert answers == [("ok", command, n, None, None) for n, command in enumerate(ids, 1)]
    rows = await b.call("inbox", *key, 0, 0, 10)
    assert [row[:3] for row in rows] == [(0, 2, ids[1]), (1, 1, ids[0]), (1, 3, ids[2])]


async def test_the_inbox_is_read_after_a_mark_of_each_lane(b: Bench) -> None:
    key = await b.create()
    for lane in (0, 1, 0, 1):
        await b.enqueue(key, lane=lane)
    assert [row[:2] for row in await b.call("inbox", *key, 1, 2, 10)] == [(0, 3), (1, 4)]
    assert [row[:2] for row in await b.call("inbox", *key, 0, 0, 3)] == [(0, 1), (0, 3), (1, 2)]
    assert await b.call("inbox", key[0], b.new_id(), 0, 0, 3) == []


async def test_a_command_says_whom_to_poke(b: Bench) -> None:
    owned = await b.owned()
    assert (await b.enqueue(owned.key))[3:] == (owned.host.name, "127.0.0.1:1")
    assert await b.call("session_owner", *owned.key) == (owned.host.name, "127.0.0.1:1", owned.host.incarnation)
    await b.host(owned.host.name)
    assert (await b.enqueue(owned.key))[3:] == (None, None), "that incarnation has no address any more"


async def test_a_command_of_a_sleeping_session_wakes_it_at_once(b: Bench) -> None:
    owned = await b.owned()
    await b.release(owned, "hibernate", b.db.now + 60_000_000, "there", "here")
    await b.enqueue(owned.key)
    assert await b.wake(owned.key) == (0, "there", "here")
    await b.pass_s(1)
    await b.enqueue(owned.key)
    assert await b.wake(owned.key) == (-1_000_000, "there", "here"), "never later than it was"


async def test_a_command_of_an_owned_session_wakes_nobody(b: Bench) -> None:
    owned = await b.owned()
    await b.enqueue(owned.key)
    assert await b.wake(owned.key) is None
    assert await b.call("owned", owned.host.name, owned.host.incarnation) == [(*owned.key, 1, 1, 2, 1)]


async def test_a_claim_does_not_hide_a_new_command(b: Bench) -> None:
    key = await b.create()
    await b.claim("one")
    await b.enqueue(key)
    assert await b.claim("two") == [key[1]]


async def test_the_same_key_and_request_is_a_replay_even_after_its_end(b: Bench) -> None:
    owned, command = await b.owned(), b.new_id()
    await b.enqueue(owned.key, command, idem="k")
    result = {"command_id": command, "lane": 1, "status": "succeeded"}
    await b.write(owned, "command.accepted", "command.succeeded", ack=[[1, 1]], results=[result])
    assert (await b.enqueue(owned.key, idem="k"))[:3] == ("replay", command, None)
    assert await b.call("inbox", *owned.key, 0, 0, 10) == []


async def test_the_same_key_for_another_request_is_a_mismatch(b: Bench) -> None:
    key = await b.create()
    await b.enqueue(key, idem="k", fingerprint=b"one")
    assert await b.enqueue(key, idem="k", fingerprint=b"two") == ("mismatch", None, None, None, None)
    assert len(await b.call("inbox", *key, 0, 0, 10)) == 1


async def test_keys_of_commands_and_of_sessions_do_not_answer_for_each_other(b: Bench) -> None:
    key = await b.create()
    await b.enqueue(key, idem="c")
    assert await b.call("create_session", key[0], b.new_id(), "a", {}, None, "c", b"same") == ("mismatch", None)
    await b.call("create_session", key[0], b.new_id(), "a", {}, None, "s", b"same")
    assert (await b.enqueue(key, idem="s"))[0] == "mismatch"


async def test_a_key_is_kept_for_a_day(b: Bench) -> None:
    key = await b.create()
    await b.enqueue(key, idem="k", fingerprint=b"one")
    await b.pass_s(DAY_S)
    assert (await b.enqueue(key, idem="k", fingerprint=b"two"))[0] == "mismatch", "at its last instant it still holds"
    await b.pass_s(0.000_001)
    assert (await b.enqueue(key, idem="k", fingerprint=b"two"))[0] == "ok"


async def test_the_same_command_id_is_a_replay(b: Bench) -> None:
    key, command = await b.create(), b.new_id()
    await b.enqueue(key, command, quota=1)
    assert await b.enqueue(key, command, quota=1) == ("replay", command, None, None, None), "it filled the lane itself"
    assert (await b.enqueue(key, command, idem="k"))[0] == "replay"
    assert (await b.enqueue(key, idem="k"))[:2] == ("replay", command), "the key stands for it from now on"


async def test_a_command_id_of_another_session_is_a_mismatch_and_leaves_no_key(b: Bench) -> None:
    key, command = await b.create(), b.new_id()
    other = await b.create(key[0])
    await b.enqueue(key, command)
    assert (await b.enqueue(other, command, idem="k"))[0] == "mismatch"
    assert (await b.db.dump())["idempotency_keys"] == []


async def test_nothing_is_kept_of_a_refused_command(b: Bench) -> None:
    owned = await b.owned()
    assert (await b.enqueue((owned.key[0], b.new_id()), idem="a"))[0] == "not_found"
    assert (await b.enqueue(owned.key, idem="b", quota=0))[0] == "full"
    assert (await b.release(owned, "close"))[0] == "ok"
    assert (await b.enqueue(owned.key, idem="c"))[0] == "closed"
    dump = await b.db.dump()
    assert dump["idempotency_keys"] == dump["commands"] == dump["command_inbox"] == []


async def test_a_refused_command_takes_an_expired_key_with_it(b: Bench) -> None:
    key = await b.create()
    await b.enqueue(key, idem="k")
    await b.pass_s(DAY_S + 1)
    assert (await b.enqueue(key, idem="k", quota=0))[0] == "full"
    assert (await b.db.dump())["idempotency_keys"] == []


async def test_each_lane_has_its_quota_of_unended_commands(b: Bench) -> None:
    owned = await b.owned()
    for _ in range(2):
        assert (await b.enqueue(owned.key, lane=1, quota=2))[0] == "ok"
    await b.write(owned, ack=[[1, 1], [1, 2]])
    assert (await b.enqueue(owned.key, lane=1, quota=2))[0] == "full", "accepted is not ended"
    assert (await b.enqueue(owned.key, lane=0, quota=2))[0] == "ok"


async def test_there_are_two_lanes(b: Bench) -> None:
    key = await b.create()
    assert await b.enqueue(key, lane=2, idem="k") == Refusal("23514")
    assert (await b.db.dump())["idempotency_keys"] == []


async def test_the_log_is_read_by_pages(b: Bench) -> None:
    owned = await b.owned()
    await b.write(owned, "x", "y", "z")
    assert [row[0] for row in await b.call("log_page", *owned.key, 1, 3)] == [2, 3, 4]
    assert await b.call("log_page", *owned.key, 5, 3) == []
    assert await b.call("log_page", owned.key[0], b.new_id(), 0, 3) == []


async def test_the_session_row_says_what_the_head_says(b: Bench) -> None:
    owned = await b.owned()
    await b.enqueue(owned.key)
    row = await b.call("session_row", *owned.key)
    name, owner = f"s-{owned.key[1]}", (owned.host.name, owned.host.incarnation)
    assert row == (name, {"a": "b"}, None, "open", 1, 1, *owner, 2, 1, 1, None, None, 0, 0, None)
    assert await b.call("session_row", owned.key[0], b.new_id()) is None


async def test_a_closed_session_says_since_when(b: Bench) -> None:
    owned = await b.owned()
    await b.pass_s(3)
    await b.release(owned, "close")
    row = await b.call("session_row", *owned.key)
    assert row[2:4] == (b.db.now, "closed")


async def test_heads_of_pairs_that_exist(b: Bench) -> None:
    one, two = await b.create(), await b.create()
    answer = await b.call("heads", [one[0], two[0], one[0]], [one[1], one[1], two[1]])
    assert answer == [(*one, 1, "open")]


async def test_the_two_newest_snapshots_are_kept(b: Bench) -> None:
    owned = await b.owned()
    await b.write(owned, "x", "y", "z")
    for seq in (2, 4, 3, 4):
        args: tuple[Any, ...] = (*owned.key, owned.inc, owned.epoch, seq, f"v{seq}", b"state")
        assert await b.call("snapshot_write", *args) == "ok"
    assert await b.call("snapshot_read", *owned.key) == [(4, "v4", b"state"), (3, "v3", b"state")]
    assert (await b.head(owned.key))["snapshot_seq"] == 4


async def test_a_snapshot_is_fenced_and_never_ahead_of_the_log(b: Bench) -> None:
    owned = await b.owned()
    write = (*owned.key, owned.inc, owned.epoch)
    assert await b.call("snapshot_write", *write, 3, "v", b"") == "ahead"
    assert await b.call("snapshot_write", *owned.key, owned.inc, owned.epoch + 1, 2, "v", b"") == "fenced"
    await b.release(owned, "drain")
    assert await b.call("snapshot_write", *write, 2, "v", b"") == "fenced"
    assert await b.call("snapshot_write", owned.key[0], b.new_id(), 1, 1, 1, "v", b"") == "fenced"
