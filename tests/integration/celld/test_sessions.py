"""A session on a cell host: acquired, restored into a cell, fed from its inbox, closed, given away."""

from __future__ import annotations

import json

from tests.integration.celld.harness import World


async def test_a_new_session_is_acquired_and_its_commands_are_answered(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    command = await w.enqueue(session, "halt", {"reason": "test"}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    bad = await w.enqueue(session, "sync", {"select": ["nothing"]})
    status, result = await w.ended(bad)
    assert (status, result["code"]) == ("rejected", "invalid-transition")
    head = await w.head(session)
    assert (head["owner_host"], head["inbox_open0"], head["inbox_open1"]) == (celld.host, 0, 0)
    assert (head["unended0"], head["unended1"]) == (0, 0)
    assert await w.gapless(session)
    rows = {row["type"]: json.loads(row["data"]) for row in await w.events(session)}
    assert rows["lease.acquired"]["host"] == celld.host
    assert celld.cells().keys() == {session.id}
    assert (await celld.health())["cells"] == 1
