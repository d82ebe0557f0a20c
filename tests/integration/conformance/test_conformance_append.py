"""append_batch, in the model as in the real database: one case a rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conformance.backend import Refusal
from tests.integration.conformance.bench import AT, Bench, statuses

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_ID = "00000000-0000-0000-0000-000000000001"


def lock(key: str, execution: str) -> list[dict[str, Any]]:
    return [{"key": key, "execution": execution}]


async def test_events_follow_the_head_one_by_one(b: Bench) -> None:
    owned = await b.owned()
    assert await b.append(b.item(owned, "x", "y")) == [(1, "ok", 4, 1, 1, None)]
    rows = await b.call("log_page", *owned.key, 2, 10)
    assert [row[:6] for row in rows] == [(3, AT, 1, 1, "x", 1), (4, AT + 1, 1, 1, "y", 1)]


async def test_an_event_keeps_every_column(b: Bench) -> None:
    owned, command, execution = await b.owned(), b.new_id(), b.new_id()
    event = {"type": "x", "v": 3, "at": AT, "command_id": command, "asset": "a", "execution_id": execution}
    await b.write(owned, events=[event | {"data": {"k": [1, None, "é"]}}, {"type": "y", "at": AT}])
    rows = await b.call("log_page", *owned.key, 2, 10)
    assert rows[0][5:] == (3, command, "a", execution, {"k": [1, None, "é"]})
    assert rows[1][5:] == (1, None, None, None, {})


async def test_a_time_may_be_a_text(b: Bench) -> None:
    owned = await b.owned()
    made = {"n": 1, "resources": "aa", "files": "bb"}
    await b.write(owned, events=[{"type": "x", "at": "2026-11-21T11:00:00.000001+01:00"}], generation=made)
    rows = await b.call("log_page", *owned.key, 2, 10)
    assert rows[0][1] == 1_795_255_200_000_001


async def test_a_repeated_batch_is_already_there(b: Bench) -> None:
    owned = await b.owned()
    item = b.item(owned, "x", "y")
    assert statuses(await b.append(item)) == ["ok"]
    assert await b.append(item) == [(1, "already", 4, 1, 1, None)]
    assert await b.log(owned.key) == ["session.created", "lease.acquired", "x", "y"]


async def test_a_batch_before_the_last_one_is_a_moved_head(b: Bench) -> None:
    owned = await b.owned()
    first = b.item(owned)
    assert statuses(await b.append(first)) == ["ok"]
    owned.head += 1
    await b.write(owned)
    assert statuses(await b.append(first)) == ["moved_head"]


async def test_an_older_epoch_is_fenced_and_hears_the_newer_one(b: Bench) -> None:
    stale = await b.owned()
    await b.pass_s(11)
    fresh = await b.own(stale.key, await b.host())
    stale.head = fresh.head
    assert await b.append(b.item(stale)) == [(1, "fenced", 3, 1, 2, None)]


async def test_an_epoch_of_another_cluster_incarnation_is_fenced(b: Bench) -> None:
    owned = await b.owned()
    await b.call("restored")
    assert statuses(await b.append(b.item(owned))) == ["fenced"]
    owned.inc = 2
    assert statuses(await b.append(b.item(owned))) == ["fenced"], "nobody owns it"


async def test_a_released_session_is_fenced_at_the_right_head(b: Bench) -> None:
    owned = await b.owned()
    owned.head = (await b.release(owned, "hibernate"))[1]
    assert statuses(await b.append(b.item(owned))) == ["fenced"]


async def test_a_marked_owner_appends_until_somebody_takes_over(b: Bench) -> None:
    """The epoch decides, not the lease."""
    owned = await b.owned()
    await b.pass_s(60)
    assert await b.dead(owned.host) == 1
    await b.write(owned)
    await b.own(owned.key, await b.host())
    assert statuses(await b.append(b.item(owned))) == ["fenced"]


async def test_a_head_below_the_items_is_truncated(b: Bench) -> None:
    owned = await b.owned()
    owned.head += 1
    assert await b.append(b.item(owned)) == [(1, "truncated", 2, 1, 1, None)]


async def test_an_unknown_session_or_tenant_is_gone(b: Bench) -> None:
    owned = await b.owned()
    item = b.item(owned)
    rows = await b.append(item | {"session": b.new_id()}, item | {"tenant": b.new_id()})
    assert rows == [(1, "gone", None, None, None, None), (2, "gone", None, None, None, None)]


async def test_each_item_gets_its_own_answer(b: Bench) -> None:
    one, two, three = await b.owned(), await b.owned(), await b.owned()
    two.epoch -= 1
    rows = await b.append(b.item(one), b.item(two), b.item(three, "x", "y"))
    assert statuses(rows) == ["ok", "fenced", "ok"]
    assert [row[2] for row in rows] == [3, 2, 4]


async def test_an_empty_batch_has_no_rows(b: Bench) -> None:
    assert await b.append() == []


async def test_a_session_twice_in_one_batch_is_refused(b: Bench) -> None:
    owned = await b.owned()
    assert await b.append(b.item(owned), b.item(owned)) == Refusal("22023")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no events": ({"events": []}, "22023"),
    "null events": ({"events": None}, "22023"),
    "no batch": ({"batch": None}, "22023"),
    "a batch that is no id": ({"batch": "seven"}, "22P02"),
    "an event without a time": ({"events": [{"type": "x"}]}, "23502"),
    "an event without a type": ({"events": [{"at": AT}]}, "23502"),
    "a command that is no id": ({"events": [{"type": "x", "at": AT, "command_id": "no"}]}, "22P02"),
    "an execution that is no id": ({"events": [{"type": "x", "at": AT, "execution_id": "no"}]}, "22P02"),
    "a time that is none": ({"events": [{"type": "x", "at": "soon"}]}, "22007"),
    "a NUL in a text": ({"events": [{"type": "x", "at": AT, "data": {"t": "\0"}}]}, "22P05"),
    "a payload beyond the bound": ({"events": [{"type": "x", "at": AT, "data": {"t": "x" * 65_536}}]}, "23514"),
    "acknowledged what nobody sent": ({"ack": [[1, 7]]}, "23503"),
    "acknowledged in another lane": ({"ack": [[0, 1]]}, "23514"),
    "acknowledged twice": ({"ack": [[1, 1], [1, 1]]}, "23514"),
    "more acknowledged than open": ({"ack": [[1, 1], [1, 2]]}, "23514"),
    "more ended than unended": ({"results": [{"command_id": NO_ID, "lane": 0, "status": "failed"}]}, "23514"),
    "an end of no such kind": ({"results": [{"command_id": NO_ID, "lane": 1, "status": "fine"}]}, "23514"),
    "an end without a status": ({"results": [{"command_id": NO_ID, "lane": 1}]}, "23502"),
    "an end of nothing": ({"results": [{"lane": 1, "status": "failed"}]}, "23502"),
    "an asset twice": ({"assets": [{"name": "a", "doc": 1}, {"name": "a", "doc": 2}]}, "21000"),
    "an asset without a name": ({"assets": [{"doc": 1}]}, "23502"),
    "a lock without a key": ({"take": [{"execution": NO_ID}]}, "23502"),
    "a ledger that is no id": ({"sandbox": {"host": "h", "ledger_id": "no", "workspace_no": 1}}, "22P02"),
    "a sandbox without a number": ({"sandbox": {"host": "h", "ledger_id": NO_ID}}, "23502"),
    "a generation without a number": ({"generation": {"resources": "a", "files": "b"}}, "23502"),
    "a generation without its files": ({"generation": {"n": 1, "resources": "a"}}, "23502"),
}


@pytest.mark.parametrize("why", BAD)
async def test_a_bad_item_is_refused_and_nothing_of_its_call_is_written(b: Bench, why: str) -> None:
    change, sqlstate = BAD[why]
    owned, mate = await b.owned(), await b.owned()
    await b.enqueue(owned.key)
    before = await b.db.dump()
    assert await b.append(b.item(mate), b.item(owned) | change) == Refusal(sqlstate)
    assert await b.db.dump() == before


async def test_a_bad_item_that_is_fenced_harms_nobody(b: Bench) -> None:
    owned, mate = await b.owned(), await b.owned()
    owned.epoch += 1
    assert statuses(await b.append(b.item(mate), b.item(owned) | {"events": []})) == ["ok", "fenced"]


async def test_a_value_of_a_wrong_type_is_refused_before_the_session_is_looked_for(b: Bench) -> None:
    owned = await b.owned()
    assert await b.append(b.item(owned) | {"session": b.new_id(), "batch": "seven"}) == Refusal("22P02")


async def test_an_acceptance_takes_its_row_out_of_the_inbox(b: Bench) -> None:
    owned = await b.owned()
    for lane in (1, 0, 1):
        await b.enqueue(owned.key, lane=lane)
    await b.write(owned, "command.accepted", ack=[[1, 1]])
    assert [row[:2] for row in await b.call("inbox", *owned.key, 0, 0, 10)] == [(0, 2), (1, 3)]
    head = await b.head(owned.key)
    assert (head["open0"], head["open1"], head["unended0"], head["unended1"]) == (1, 1, 1, 2)


async def test_an_end_is_a_result_and_frees_the_quota(b: Bench) -> None:
    owned, command = await b.owned(), b.new_id()
    await b.enqueue(owned.key, command, quota=1)
    result = {"command_id": command, "lane": 1, "status": "succeeded", "result": {"n": 1}}
    await b.write(owned, "command.accepted", "command.succeeded", ack=[[1, 1]], results=[result])
    assert (await b.db.dump())["command_results"] == [
        (owned.key[0], command, owned.key[1], "succeeded", {"n": 1}, owned.head)
    ]
    assert (await b.enqueue(owned.key, quota=1))[0] == "ok"


async def test_a_command_ends_once(b: Bench) -> None:
    owned, command = await b.owned(), b.new_id()
    await b.enqueue(owned.key, command)
    await b.enqueue(owned.key)
    result = {"command_id": command, "lane": 1, "status": "failed"}
    await b.write(owned, ack=[[1, 1]], results=[result])
    assert await b.append(b.item(owned, results=[result])) == Refusal("23505")
    assert await b.append(b.item(owned, results=[result | {"command_id": NO_ID}] * 2)) == Refusal("23514")


async def test_the_projection_follows_the_newest_document(b: Bench) -> None:
    owned = await b.owned()
    await b.write(owned, assets=[{"name": "a", "doc": {"v": 1}}, {"name": "b", "doc": {}}, {"name": "c", "doc": None}])
    await b.write(owned, assets=[{"name": "a", "doc": {"v": 2}}, {"name": "b", "doc": None}])
    assert (await b.db.dump())["session_assets"] == [(*owned.key, "a", owned.head, {"v": 2})]


async def test_a_document_set_and_removed_in_one_item_is_removed(b: Bench) -> None:
    owned = await b.owned()
    await b.write(owned, assets=[{"name": "a"}, {"name": "a", "doc": 1}])
    assert (await b.db.dump())["session_assets"] == []


async def test_a_generation_is_kept_with_its_last_event(b: Bench) -> None:
    owned = await b.owned()
    made = {"n": 1, "resources": "aa", "files": "bb"}
    await b.write(owned, "x", "y", generation=made)
    assert (await b.db.dump())["generations"] == [(*owned.key, 1, "aa", "bb", owned.head, AT + 1)]
    assert await b.append(b.item(owned, generation=made)) == Refusal("23505")


async def test_the_sandbox_and_the_delivery_mark_change_only_when_named(b: Bench) -> None:
    owned, ledger = await b.owned(), b.new_id()
    await b.write(owned, sandbox={"host": "sb", "ledger_id": ledger, "workspace_no": 2}, delivering=7)
    await b.write(owned, sandbox=None)
    head = await b.head(owned.key)
    assert (head["sandbox"], head["ledger"], head["workspace_no"], head["delivering"]) == ("sb", ledger, 2, 7)
    await b.write(owned, delivering=None)
    assert (await b.head(owned.key))["delivering"] is None


async def test_a_busy_lock_names_its_holder_and_nothing_of_the_item_is_written(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    two = await b.owned(one.key[0])
    await b.write(one, take=lock("orders", held))
    rows = await b.append(b.item(two, take=lock("orders", b.new_id()), assets=[{"name": "a", "doc": {}}]))
    assert rows == [(1, "lock_busy", 2, 1, 1, f"orders {one.key[1]}/{held}")]
    assert (await b.db.dump())["session_assets"] == []
    await b.write(one, give=lock("orders", held))
    await b.write(two, take=lock("orders", b.new_id()))


async def test_keys_are_a_tenants_own(b: Bench) -> None:
    one, two = await b.owned(), await b.owned()
    await b.write(one, take=lock("k", b.new_id()))
    await b.write(two, take=lock("k", b.new_id()))


async def test_only_the_holding_execution_gives(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    two = await b.owned(one.key[0])
    await b.write(one, take=lock("k", held))
    await b.write(two, give=lock("k", held))
    await b.write(one, give=lock("k", b.new_id()))
    assert statuses(await b.append(b.item(two, take=lock("k", b.new_id())))) == ["lock_busy"]


async def test_a_batch_mate_that_gives_first_makes_room(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    two = await b.owned(one.key[0])
    await b.write(one, take=lock("k", held))
    rows = await b.append(b.item(one, give=lock("k", held)), b.item(two, take=lock("k", b.new_id())))
    assert statuses(rows) == ["ok", "ok"]


async def test_a_batch_mate_that_gives_after_makes_none(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    two = await b.owned(one.key[0])
    await b.write(one, take=lock("k", held))
    rows = await b.append(b.item(two, take=lock("k", b.new_id())), b.item(one, give=lock("k", held)))
    assert statuses(rows) == ["lock_busy", "ok"]


async def test_of_two_batch_mates_the_first_takes(b: Bench) -> None:
    one = await b.owned()
    two = await b.owned(one.key[0])
    rows = await b.append(b.item(one, take=lock("k", b.new_id())), b.item(two, take=lock("k", b.new_id())))
    assert statuses(rows) == ["ok", "lock_busy"]


async def test_a_refused_item_takes_and_gives_nothing(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    two, three = await b.owned(one.key[0]), await b.owned(one.key[0])
    mine = b.new_id()
    await b.write(one, take=lock("a", held))
    await b.write(two, take=lock("b", mine))
    both = b.item(two, give=lock("b", mine), take=[*lock("c", mine), *lock("a", mine)])
    rows = await b.append(both, b.item(three, take=[*lock("c", b.new_id())]))
    assert statuses(rows) == ["lock_busy", "ok"]
    assert statuses(await b.append(b.item(one, take=lock("b", b.new_id())))) == ["lock_busy"]


async def test_an_item_that_gives_may_take_the_same_key_for_another_execution(b: Bench) -> None:
    one, held, next_one = await b.owned(), b.new_id(), b.new_id()
    await b.write(one, take=lock("k", held))
    await b.write(one, give=lock("k", held), take=lock("k", next_one))
    assert (await b.db.dump())["asset_locks"] == [(one.key[0], "k", one.key[1], next_one, b.db.now, None)]


async def test_a_repeated_take_by_the_same_execution_is_ok(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    await b.write(one, take=lock("k", held))
    await b.write(one, take=lock("k", held))


async def test_a_lock_outlives_its_owners_epoch(b: Bench) -> None:
    one, held = await b.owned(), b.new_id()
    await b.write(one, take=lock("k", held))
    await b.pass_s(11)
    fresh = await b.own(one.key, await b.host())
    assert statuses(await b.append(b.item(fresh, take=lock("k", b.new_id())))) == ["lock_busy"]
    await b.write(fresh, give=lock("k", held))
