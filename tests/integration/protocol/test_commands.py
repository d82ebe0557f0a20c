"""Commands: idempotency, quotas, order, and what is kept of a refused call (nothing)."""

from __future__ import annotations

import asyncio

from tests.integration.protocol.world import Session, World, new_id, statuses


async def test_replay_of_a_command_key_after_its_completion(w: World) -> None:
    """One effect, and the first answer, even when the command is long over."""
    owned = await w.owned()
    first = await w.enqueue(owned.session, key="k", fingerprint=b"body")
    result = {"command_id": first["command_id"], "lane": 1, "status": "succeeded", "result": {"text": "A"}}
    await w.write(owned, "command.accepted", "command.succeeded", ack=[[1, 1]], results=[result])

    again = await w.enqueue(owned.session, key="k", fingerprint=b"body")

    assert (again["status"], again["command_id"]) == ("replay", first["command_id"])
    assert await w.count("commands", owned.session.tenant) == 1
    assert await w.inbox(owned.session) == []
    head = await w.head(owned.session)
    assert (head["inbox_head"], head["inbox_open1"], head["unended1"]) == (1, 0, 0)


async def test_eight_calls_with_one_key_have_one_effect(w: World) -> None:
    session = await w.create()
    rows = await asyncio.gather(*(w.enqueue(session, key="k", fingerprint=b"body") for _ in range(8)))
    assert sorted(statuses(rows)) == ["ok"] + ["replay"] * 7
    assert len({row["command_id"] for row in rows}) == 1
    assert len(await w.inbox(session)) == 1


async def test_a_key_for_another_request_is_a_mismatch(w: World) -> None:
    session = await w.create()
    await w.enqueue(session, key="k", fingerprint=b"one")
    other = await w.enqueue(session, key="k", fingerprint=b"two")
    assert (other["status"], other["command_id"]) == ("mismatch", None)
    assert len(await w.inbox(session)) == 1


async def test_an_expired_key_is_free_again(w: World) -> None:
    session = await w.create()
    first = await w.enqueue(session, key="k", fingerprint=b"one")
    await w.all_seeing.execute("UPDATE setpoint.idempotency_keys SET expires_at = now() - interval '1 s'")
    second = await w.enqueue(session, key="k", fingerprint=b"two")
    assert second["status"] == "ok" and second["command_id"] != first["command_id"]


async def test_a_key_of_a_command_never_answers_for_a_session(w: World) -> None:
    session = await w.create()
    await w.enqueue(session, key="k", fingerprint=b"body")
    create = "SELECT * FROM setpoint.create_session($1, $2, 'other', '{}', NULL, 'k', $3)"
    row = await w.gateway.fetchrow(create, session.tenant, new_id(), b"body")
    assert row is not None and dict(row) == {"status": "mismatch", "session_id": None}


async def test_a_session_key_answers_with_the_first_session(w: World) -> None:
    tenant, first = new_id(), new_id()
    create = "SELECT * FROM setpoint.create_session($1, $2, 'mine', '{}', NULL, 'k', $3)"
    ok = await w.gateway.fetchrow(create, tenant, first, b"body")
    again = await w.gateway.fetchrow(create, tenant, new_id(), b"body")
    other = await w.gateway.fetchrow(create, tenant, new_id(), b"different")
    assert ok is not None and again is not None and other is not None
    assert dict(ok) == {"status": "ok", "session_id": first}
    assert dict(again) == {"status": "already", "session_id": first}
    assert dict(other) == {"status": "mismatch", "session_id": None}
    # and a session's key is no command's
    assert (await w.enqueue(Session(tenant, first, "mine"), key="k", fingerprint=b"body"))["status"] == "mismatch"


async def test_a_taken_name_is_a_conflict_and_leaves_no_key(w: World) -> None:
    session = await w.create()
    create = "SELECT * FROM setpoint.create_session($1, $2, $3, '{}', NULL, 'k', $4)"
    row = await w.gateway.fetchrow(create, session.tenant, new_id(), session.name, b"body")
    assert row is not None and dict(row) == {"status": "conflict", "session_id": session.id}
    assert await w.count("idempotency_keys", session.tenant) == 0


async def test_nothing_is_kept_of_a_refused_call(w: World) -> None:
    session = await w.create()
    nowhere = Session(session.tenant, new_id(), "nowhere")
    assert (await w.enqueue(nowhere, key="a"))["status"] == "not_found"
    assert (await w.enqueue(session, key="b", quota=0))["status"] == "full"
    owned = await w.own(session, await w.host())
    assert (await w.release(owned, "close"))["status"] == "ok"
    assert (await w.enqueue(session, key="c"))["status"] == "closed"
    assert await w.count("idempotency_keys", session.tenant) == 0
    assert await w.count("commands", session.tenant) == 0
    assert (await w.head(session))["inbox_head"] == 0


async def test_a_retry_of_the_command_that_filled_the_lane_is_a_replay(w: World) -> None:
    """The answer to the first call was lost; its own command must not make its retry 'full'."""
    session, command = await w.create(), new_id()
    assert (await w.enqueue(session, command=command, quota=1))["status"] == "ok"
    assert (await w.enqueue(session, command=command, quota=1))["status"] == "replay"
    assert (await w.enqueue(session, quota=1))["status"] == "full"


async def test_a_command_id_of_another_session_is_a_mismatch(w: World) -> None:
    session, command = await w.create(), new_id()
    await w.enqueue(session, command=command)
    other = await w.create(session.tenant)
    assert (await w.enqueue(other, command=command))["status"] == "mismatch"


async def test_quotas_count_what_has_not_ended_in_each_lane(w: World) -> None:
    owned = await w.owned()
    first = await w.enqueue(owned.session, quota=1)
    await w.write(owned, ack=[[1, 1]])
    assert (await w.enqueue(owned.session, quota=1))["status"] == "full", "accepted is not ended"
    assert (await w.enqueue(owned.session, lane=0, quota=1))["status"] == "ok", "lanes have quotas of their own"
    result = {"command_id": first["command_id"], "lane": 1, "status": "failed"}
    await w.write(owned, "command.failed", results=[result])
    assert (await w.enqueue(owned.session, quota=1))["status"] == "ok"


async def test_the_inbox_shows_control_first_and_goes_on_per_lane(w: World) -> None:
    session = await w.create()
    for lane in (1, 1, 0, 1, 0):
        await w.enqueue(session, lane=lane)
    assert [(row["lane"], row["inbox_seq"]) for row in await w.inbox(session)] == [
        (0, 3),
        (0, 5),
        (1, 1),
        (1, 2),
        (1, 4),
    ]
    page = await w.celld.fetch("SELECT * FROM setpoint.inbox($1, $2, 3, 1, 2)", session.tenant, session.id)
    assert [(row["lane"], row["inbox_seq"]) for row in page] == [(0, 5), (1, 2)]


async def test_enqueue_names_the_owner_to_poke_and_wakes_nobody_else(w: World) -> None:
    session = await w.create()
    assert (await w.enqueue(session))["owner_host"] is None
    host = await w.host("cell-7")
    await w.own(session, host)
    row = await w.enqueue(session)
    assert (row["owner_host"], row["owner_address"]) == ("cell-7", "127.0.0.1:6")
    assert await w.wake(session) is None
    owner = await w.gateway.fetchrow("SELECT * FROM setpoint.session_owner($1, $2)", session.tenant, session.id)
    assert owner is not None and owner["incarnation"] == host.incarnation


async def test_cancel_that_ends_before_its_sync_leaves_the_owner_its_session(w: World) -> None:
    """The control command comes and goes while the sync it cancels has not ended: two lanes, two counters."""
    owned = await w.owned()
    sync = await w.enqueue(owned.session, kind="sync")
    await w.write(owned, "command.accepted", "sync.started", ack=[[1, 1]])
    cancel = await w.enqueue(owned.session, lane=0, kind="cancel")
    result = {"command_id": cancel["command_id"], "lane": 0, "status": "succeeded"}
    await w.write(owned, "command.accepted", "command.succeeded", ack=[[0, 2]], results=[result])

    head = await w.head(owned.session)
    assert head["owner_host"] is not None and head["epoch"] == owned.epoch
    assert (head["unended0"], head["unended1"], head["inbox_open0"], head["inbox_open1"]) == (0, 1, 0, 0)
    result = {"command_id": sync["command_id"], "lane": 1, "status": "cancelled"}
    await w.write(owned, "sync.cancelled", "command.cancelled", results=[result])
    head = await w.head(owned.session)
    assert (head["unended0"], head["unended1"]) == (0, 0)
