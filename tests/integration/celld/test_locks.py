"""A lock over two sessions of one tenant, on real processes and the real database: one waits, gives up, comes again."""

from __future__ import annotations

import json

from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.resource.compile import compile_project
from setpoint.objects import blob_key, open_store
from tests.integration.celld.harness import Session, World, until

PROJECT = """\
apiVersion: setpoint.dev/v1alpha1
kind: Conditions
metadata: {name: there}
spec: [{name: there, type: Command, run: [test, -e, a.txt]}]
---
apiVersion: setpoint.dev/v1alpha1
kind: Sync
metadata: {name: make}
spec:
  lockKey: the warehouse
  run: {type: Command, args: [sh, -c, "while ! test -e go; do sleep 0.05; done; touch a.txt"]}
---
apiVersion: setpoint.dev/v1alpha1
kind: Asset
metadata: {name: a}
spec: {onDrift: [{conditions: there, sync: make}]}
"""
SETTINGS = b"lockRetryIntervalSeconds: 1\nlockRetryMaxAttempts: 2\ncooldownInitialSecs: 1\n"


async def apply(w: World, session: Session) -> None:
    """Store the project as the gateway does and queue its apply."""
    result = compile_project({"setpoint.yaml": SETTINGS, "resources/a.yaml": PROJECT.encode()})
    assert result.encoded is not None, result.faults
    store = open_store(str(w.root / "objects"))
    names = []
    for content in (result.encoded, canonical_json({"files": []})):
        names.append(sha256_hex(content))
        store.put(blob_key(session.tenant, names[-1]), content)
    await w.enqueue(session, "apply", {"generation": {"resources": names[0], "files": names[1]}})


async def go(w: World, session: Session) -> None:
    """Let the sync of a session come to its end."""
    command = await w.enqueue(session, "tool", {"name": "exec", "args": {"argv": ["touch", "go"]}})
    status, result = await w.ended(command)
    assert status == "succeeded", result


async def test_one_session_at_a_time_syncs_under_a_lock(w: World) -> None:
    await w.broker()
    await w.sandboxd()
    celld = await w.celld(admitted=False)
    await celld.said("celld serves")
    one = await w.create()
    two = await w.create(one.tenant)
    await apply(w, one)
    started = await w.event(one, "sync.started")
    await apply(w, two)
    waiting = await w.event(two, "sync.waiting")
    data = json.loads(waiting["data"])
    assert data["holder"] == f"{one.id}/{started['execution_id']}"
    skipped = await w.event(two, "sync.skipped")
    data = json.loads(skipped["data"])
    assert (data["reason"], data["key"], data["attempt"]) == ("lock", "the warehouse", 2)
    assert "sync.started" not in await w.types(two)

    await go(w, one)
    await w.event(one, "sync.succeeded")
    await w.event(two, "sync.started")
    await go(w, two)
    await w.event(two, "sync.succeeded")

    async def free() -> bool:
        held = await w.all_seeing.fetchval("SELECT count(*) FROM setpoint.asset_locks WHERE session_id IS NOT NULL")
        return bool(held == 0)

    await until(free, "no lock is held")
    assert await w.gapless(two)
