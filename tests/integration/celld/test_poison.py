"""What kills cells is set aside, what cannot be folded ends its session alone, and what stands behind is answered."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.integration.celld.harness import Celld, Session, World, until

POISON = {"select": 10**30}
ENDS = frozenset(f"command.{end}" for end in ("succeeded", "failed", "cancelled", "rejected", "quarantined"))


async def ends(w: World, session: Session) -> Counter[str]:
    """Count the terminal events of each command."""
    return Counter(row["command_id"] for row in await w.events(session) if row["type"] in ENDS)


async def plant(w: World, session: Session, kind: str, content: str) -> None:
    """Put a row into the log that no cell would have written."""
    await w.all_seeing.execute(
        "WITH head AS (UPDATE setpoint.session_heads SET head_seq = head_seq + 1 "
        "WHERE (tenant_id, session_id) = ($1::uuid, $2::uuid) RETURNING *) "
        "INSERT INTO setpoint.events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, data) "
        "SELECT tenant_id, session_id, head_seq, now(), epoch_inc, epoch, $3, $4::text::jsonb FROM head",
        *(session.tenant, session.id, kind, content),
    )


def lost(celld: Celld) -> list[dict[str, Any]]:
    return [line for line in celld.lines if line["event"] == "cell lost"]


async def test_poison_blocks_neither_what_is_behind_it_nor_the_other_lane(w: World) -> None:
    session = await w.create()
    before = [await w.enqueue(session, "evaluate", {}) for _ in range(2)]
    poison = await w.enqueue(session, "evaluate", POISON)
    behind = [await w.enqueue(session, "evaluate", {}) for _ in range(2)]
    control = await w.enqueue(session, "halt", {}, lane=0)
    celld = await w.celld()
    assert (await w.ended(poison))[0] == "quarantined"
    assert {(await w.ended(command))[0] for command in before + behind} == {"rejected"}, "there are no assets"
    assert (await w.ended(control))[0] == "succeeded"
    assert len(lost(celld)) == 3, "the number of tries is bounded"
    assert set((await ends(w, session)).values()) == {1}
    assert (await ends(w, session)).keys() == {*before, poison, *behind, control}
    head = await w.head(session)
    assert (head["inbox_open0"], head["inbox_open1"], head["unended0"], head["unended1"]) == (0, 0, 0, 0)
    assert await w.gapless(session)


async def test_each_of_several_poisons_has_its_own_count_of_tries(w: World) -> None:
    session = await w.create()
    poisons = [await w.enqueue(session, "evaluate", POISON) for _ in range(3)]
    good = await w.enqueue(session, "evaluate", {})
    celld = await w.celld()
    assert {(await w.ended(command))[0] for command in poisons} == {"quarantined"}
    assert (await w.ended(good))[0] == "rejected"
    assert Counter(line["input"] for line in lost(celld)) == {f"command {command}": 3 for command in poisons}
    assert "session.failed" not in await w.types(session), "deaths that are explained do not end a session"


async def test_poison_of_one_session_does_not_reach_another(w: World) -> None:
    poisoned, other = await w.create(), await w.create()
    command = await w.enqueue(poisoned, "evaluate", POISON)
    celld = await w.celld()
    await w.event(other, "session.started")
    cell = await until(lambda: _cell(celld, other.id), "it has a cell")
    assert (await w.ended(command))[0] == "quarantined"
    assert celld.cells()[other.id] == cell


async def test_a_quarantine_that_was_committed_outlives_its_host(w: World) -> None:
    session = await w.create()
    poison = await w.enqueue(session, "evaluate", POISON)
    first = await w.celld()
    assert (await w.ended(poison))[0] == "quarantined"
    await first.kill()
    second = await w.celld()
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert lost(second) == []
    assert (await w.types(session)).count("command.quarantined") == 1


async def test_a_log_that_moved_on_under_its_cell_is_read_anew(w: World) -> None:
    """As by an attempt to commit that came late, after the next one had been refused for a lock."""
    session = await w.create()
    celld = await w.celld()
    await w.event(session, "session.started")
    await plant(w, session, "halt.started", '{"reason": "late", "by": "user"}')
    command = await w.enqueue(session, "unhalt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert [line["why"] for line in lost(celld)] == ["the log is at 4, the cell decided on 3"]
    assert "halt.ended" in await w.types(session), "what was committed late is known"
    assert await w.gapless(session)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("no.such_type", "{}"),
        ("sync.started", "{}"),
        ("resources.applied", "{}"),
        ("resources.applied", '{"resources": 7, "generation": 1}'),
        ("workspace.materialized", '{"host": 5}'),
        ("asset.ready", "[1, 2]"),
        ("asset.ready", '"text"'),
    ],
)
async def test_a_row_that_cannot_be_folded_fails_its_session_and_no_other(w: World, kind: str, content: str) -> None:
    poisoned, other = await w.create(), await w.create()
    await plant(w, poisoned, kind, content)
    queued = await w.enqueue(poisoned, "halt", {}, lane=0)
    celld = await w.celld()
    failed = await w.event(poisoned, "session.failed")
    assert json.loads(failed["data"])["reason"]
    await w.event(other, "session.started")
    command = await w.enqueue(other, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert celld.child.returncode is None
    assert poisoned.id not in celld.cells()
    assert (await w.head(poisoned))["inbox_open0"] == 1, "what was queued is kept"
    assert queued not in await ends(w, poisoned)
    assert await w.gapless(poisoned)


async def test_a_session_that_failed_on_its_log_is_left_alone_by_the_next_host(w: World) -> None:
    session = await w.create()
    await plant(w, session, "workspace.materialized", "{}")
    first = await w.celld(SETPOINT_LEASE_TTL="2s")
    failed = await w.event(session, "session.failed")
    assert json.loads(failed["data"])["reason"].startswith("event 2 cannot be folded: workspace.materialized")
    await first.said("session failed", session=session.id)
    await first.kill()
    second = await w.celld("cell-b", SETPOINT_LEASE_TTL="2s")
    await second.said("session rests", session=session.id)
    assert (await w.types(session)).count("session.failed") == 1
    assert second.child.returncode is None


async def test_what_ends_whole_cell_hosts_is_set_aside_and_nothing_that_was_beside_it(w: World) -> None:
    session, others = await w.create(), [await w.create() for _ in range(3)]
    first = await w.celld()
    for one in (session, *others):
        await w.event(one, "session.started")
    await first.kill()
    before = await w.enqueue(session, "evaluate", {})
    poison = await w.enqueue(session, "unhalt", {}, lane=0)
    behind = await w.enqueue(session, "halt", {}, lane=0)
    beside = [await w.enqueue(one, "halt", {}, lane=0) for one in others]
    hosts = 0
    while True:
        hosts += 1
        assert hosts <= 4, "the number of hosts that it ends is bounded"
        # A host of another name: the session's owner has died, whichever it was.
        host = await w.celld(SETPOINT_FAILPOINTS="celld.deliver.unhalt=kill")
        if await one_of(w, poison, host):
            break
    assert hosts == 4, "three died of it"
    assert (await w.ended(poison))[0] == "quarantined"
    assert (await w.ended(before))[0] == "rejected"
    assert {(await w.ended(command))[0] for command in (behind, *beside)} == {"succeeded"}
    for one in (session, *others):
        assert set((await ends(w, one)).values()) == {1}
        assert await w.gapless(one)
    head = await w.head(session)
    assert (head["delivering"], head["inbox_open0"]) == (None, 0)


async def test_hosts_that_die_while_they_take_a_session_over_do_not_fail_it(w: World) -> None:
    session = await w.create()
    owned = int.from_bytes(hashlib.blake2b(b"owned", digest_size=8).digest()) >> 1
    await w.all_seeing.execute(
        "UPDATE setpoint.session_heads SET delivering = $3, delivering_deaths = 2 "
        "WHERE (tenant_id, session_id) = ($1, $2)",
        *(session.tenant, session.id, owned),
    )
    await w.celld()
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert "session.failed" not in await w.types(session)
    assert (await w.head(session))["delivering"] is None


async def one_of(w: World, command: str, celld: Celld) -> bool:
    """Wait until a command has ended (True) or the host has (False)."""

    async def over() -> str | None:
        if celld.child.returncode is not None:
            return "host"
        row = await w.all_seeing.fetchrow("SELECT 1 FROM setpoint.command_results WHERE command_id = $1", command)
        return None if row is None else "command"

    return await until(over, "the command or the host ends") == "command"


async def test_a_host_that_is_killed_at_rest_blames_nothing(w: World) -> None:
    session = await w.create()
    for count in range(5):
        celld = await w.celld()
        command = await w.enqueue(session, "halt", {}, lane=0)
        assert (await w.ended(command))[0] == "succeeded", f"the command after {count} deaths"
        assert (await w.head(session))["delivering"] is None
        await celld.kill()
    assert "command.quarantined" not in await w.types(session)


async def recover(w: World, session: Session) -> str:
    """Ask for a failed session to be taken up again, as the gateway does; return the command's id."""
    command_id = str(uuid.uuid4())
    row = await w.gateway.fetchrow(
        "SELECT * FROM setpoint.recover_session($1, $2, $3, $4, $5, $6, $7, $8)",
        *(session.tenant, session.id, command_id, '{"reason": "mended"}', None, None, 20, "key 1"),
    )
    assert row is not None and row["status"] == "ok"
    return command_id


async def test_a_failed_session_that_is_mended_is_recovered_and_does_what_was_queued(w: World) -> None:
    session = await w.create()
    await plant(w, session, "workspace.materialized", "{}")
    await w.celld()
    await w.event(session, "session.failed")
    queued = await w.enqueue(session, "halt", {"reason": "queued"}, lane=0)
    vain = await recover(w, session)
    assert (await w.ended(vain))[0] == "succeeded"
    await w.event(session, "session.failed", nth=2)
    assert queued not in await ends(w, session), "the cause is still there"
    await w.all_seeing.execute(
        "UPDATE setpoint.events SET type = 'session.started' WHERE session_id = $1 AND seq = 2", session.id
    )
    command = await recover(w, session)
    assert (await w.ended(command))[0] == "succeeded"
    assert (await w.ended(queued))[0] == "succeeded"
    assert (await w.types(session)).count("session.recovered") == 2
    assert (await w.types(session)).count("session.failed") == 2
    assert set((await ends(w, session)).values()) == {1}
    audited = await w.all_seeing.fetch("SELECT detail FROM setpoint.audit_log WHERE action = 'session.recover'")
    assert [json.loads(row["detail"])["by"] for row in audited] == ["key 1", "key 1"]
    assert await w.gapless(session)


async def test_a_failed_session_is_recovered_on_the_next_host_as_well(w: World) -> None:
    session = await w.create()
    await plant(w, session, "workspace.materialized", "{}")
    first = await w.celld()
    await w.event(session, "session.failed")
    await first.kill()
    await w.all_seeing.execute(
        "UPDATE setpoint.events SET type = 'session.started' WHERE session_id = $1 AND seq = 2", session.id
    )
    second = await w.celld()
    await second.said("session rests", session=session.id)
    assert (await w.ended(await recover(w, session)))[0] == "succeeded"
    assert (await w.ended(await w.enqueue(session, "halt", {}, lane=0)))[0] == "succeeded"


async def test_a_session_that_has_not_failed_is_not_recovered(w: World) -> None:
    session = await w.create()
    await w.celld()
    status, result = await w.ended(await recover(w, session))
    assert (status, result["code"]) == ("rejected", "invalid-transition")
    assert "session.recovered" not in await w.types(session)


async def _cell(celld: Celld, session: str) -> int | None:
    return celld.cells().get(session)
