"""Runs on a real sandbox host: a tool, a project that converges, and what becomes of runs when somebody dies."""

from __future__ import annotations

import json
import os
import signal

from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.resource.compile import compile_project
from setpoint.objects import blob_key, open_store
from tests.integration.celld.harness import Celld, Process, Session, World, until

ASSET = """\
apiVersion: setpoint.dev/v1alpha1
kind: Conditions
metadata: {{name: {name}-there}}
spec:
  - name: there
    type: Command
    run: [test, -e, {name}.txt]
    interval: 1s
---
apiVersion: setpoint.dev/v1alpha1
kind: Sync
metadata: {{name: make-{name}}}
spec:
  run: {{type: Command, args: [sh, -c, "{command}"]}}
---
apiVersion: setpoint.dev/v1alpha1
kind: Asset
metadata: {{name: {name}}}
spec:
  onDrift:
    - conditions: {name}-there
      sync: make-{name}
"""


async def stack(w: World, **environment: str) -> tuple[Celld, Process]:
    """Start a broker, a sandbox host and a cell host that was never admitted before."""
    await w.broker()
    sandboxd = await w.sandboxd()
    celld = await w.celld(admitted=False, **environment)
    await celld.said("celld serves")
    return celld, sandboxd


async def apply(w: World, session: Session, command: str = "touch a.txt", *, orphan: str = "") -> str:
    """Store a project of one asset as the gateway does and queue its apply. ``orphan``: the sync's orphanTimeout."""
    text = ASSET.format(name="a", command=command)
    if orphan:
        text = text.replace("  run: {type", f"  orphanTimeout: {orphan}\n  run: {{type")
    result = compile_project({"setpoint.yaml": b"", "resources/a.yaml": text.encode()})
    assert result.encoded is not None, result.faults
    store = open_store(str(w.root / "objects"))
    names = []
    for content in (result.encoded, canonical_json({"files": []})):
        names.append(sha256_hex(content))
        store.put(blob_key(session.tenant, names[-1]), content)
    return await w.enqueue(session, "apply", {"generation": {"resources": names[0], "files": names[1]}})


async def shell(w: World, session: Session, script: str) -> str:
    """Run a line of shell in the workspace; return what it printed."""
    command = await w.enqueue(session, "tool", {"name": "exec", "args": {"argv": ["sh", "-c", script]}})
    status, result = await w.ended(command)
    assert status == "succeeded", result
    return str(result["output"])


async def is_ready(w: World, session: Session) -> None:
    """Wait until the asset is Ready."""

    async def ready() -> bool:
        rows = await w.all_seeing.fetch(
            "SELECT doc FROM setpoint.session_assets WHERE tenant_id = $1 AND session_id = $2 AND name <> ''",
            *(session.tenant, session.id),
        )
        return bool(rows) and all(json.loads(row["doc"])["state"] == "ready" for row in rows)

    await until(ready, "the asset is Ready")


async def began(w: World, session: Session) -> None:
    """Wait until the sync's own first command has run."""
    await w.event(session, "sync.started")

    async def runs() -> bool:
        return any(True for _ in w.root.rglob("log"))

    await until(runs, "the sync runs")


SLOW = "echo start >> log; until test -e go; do sleep 0.05; done; echo end >> log; touch a.txt"


async def test_a_tool_runs_in_a_sandbox_and_its_result_comes_back(w: World) -> None:
    await stack(w)
    session = await w.create()
    command = await w.enqueue(session, "tool", {"name": "uppercase", "args": {"text": "ready"}})
    status, result = await w.ended(command)
    assert (status, result["output"], result["exit_code"]) == ("succeeded", "READY", 0)
    head = await w.head(session)
    assert (head["sandbox_host"], head["workspace_no"]) == ("sandbox-a", 1)
    assert await w.gapless(session)


async def test_an_applied_project_converges_and_heals(w: World) -> None:
    await stack(w)
    session = await w.create()
    assert (await w.ended(await apply(w, session)))[0] == "succeeded"
    await w.event(session, "sync.succeeded")
    await is_ready(w, session)
    row = await w.all_seeing.fetchrow("SELECT * FROM setpoint.generations WHERE session_id = $1", session.id)
    assert row is not None and row["generation_no"] == 1
    await shell(w, session, "rm a.txt")
    await w.event(session, "sync.succeeded", nth=2)
    await is_ready(w, session)
    assert await w.gapless(session)


async def test_an_apply_whose_blob_is_missing_fails_and_the_session_goes_on(w: World) -> None:
    await stack(w)
    session = await w.create()
    missing = {"generation": {"resources": "0" * 64, "files": "1" * 64}}
    assert (await w.ended(await w.enqueue(session, "apply", missing)))[0] == "failed"
    strange = {"generation": {"resources": "../../secret", "files": "1" * 64}}
    assert (await w.ended(await w.enqueue(session, "apply", strange)))[0] in ("failed", "rejected")
    assert await shell(w, session, "echo on") == "on\n"


async def test_a_killed_cell_finds_its_running_sync_again(w: World) -> None:
    celld, _ = await stack(w)
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    os.kill(celld.cells()[session.id], signal.SIGKILL)
    await w.event(session, "run.adopted")
    await shell(w, session, "touch go")
    await w.event(session, "sync.succeeded")
    assert await shell(w, session, "cat log") == "start\nend\n"
    assert await w.gapless(session)


async def test_a_sync_survives_its_cell_host_and_runs_once(w: World) -> None:
    first, _ = await stack(w, SETPOINT_LEASE_TTL="2s")
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    second = await w.celld("cell-b", admitted=False, SETPOINT_LEASE_TTL="2s")
    await second.said("celld serves")
    await first.kill()
    await w.event(session, "run.adopted")
    await shell(w, session, "touch go")
    await w.event(session, "sync.succeeded")
    await is_ready(w, session)
    assert await shell(w, session, "cat log") == "start\nend\n"
    assert (await w.types(session)).count("sync.started") == 1
    assert (await w.head(session))["owner_host"] == "cell-b"
    assert await w.gapless(session)


async def test_a_run_never_sent_before_the_kill_is_started_once_by_the_next_owner(w: World) -> None:
    celld, _ = await stack(w, SETPOINT_FAILPOINTS="celld.run.before_send=kill@2", SETPOINT_LEASE_TTL="2s")
    session = await w.create()
    await apply(w, session, "echo start >> log; touch a.txt")
    assert await celld.end() == -signal.SIGKILL
    assert (await w.types(session)).count("sync.started") == 1
    await w.celld(SETPOINT_LEASE_TTL="2s")
    await w.event(session, "sync.succeeded")
    assert await shell(w, session, "cat log") == "start\n"
    assert (await w.types(session)).count("sync.started") == 1
    assert await w.gapless(session)


async def test_a_run_whose_answer_was_not_seen_is_not_started_twice(w: World) -> None:
    celld, _ = await stack(w, SETPOINT_FAILPOINTS="celld.run.after_send=kill@2", SETPOINT_LEASE_TTL="2s")
    session = await w.create()
    await apply(w, session, "echo start >> log; touch a.txt")
    assert await celld.end() == -signal.SIGKILL
    await w.celld(SETPOINT_LEASE_TTL="2s")
    await w.event(session, "sync.succeeded")
    assert await shell(w, session, "cat log") == "start\n"
    assert await w.gapless(session)


async def test_a_sandbox_host_killed_in_mid_run_is_interrupted_and_the_session_converges(w: World) -> None:
    _, sandboxd = await stack(w)
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    address = next(line["port"] for line in sandboxd.lines if line["event"] == "serving")
    await sandboxd.kill()
    await w.sandboxd(SETPOINT_LISTEN=f"127.0.0.1:{address}")
    await w.event(session, "run.interrupted")
    await w.event(session, "sync.outcome_unknown")
    await shell(w, session, "touch go")
    await w.enqueue(session, "sync", {"select": ["a"]})
    await is_ready(w, session)
    assert (await shell(w, session, "cat log")).endswith("start\nend\n")
    assert await w.gapless(session)


async def test_a_start_that_was_not_answered_by_a_host_that_lost_its_ledger_is_over_after_its_deadline(
    w: World,
) -> None:
    _, sandboxd = await stack(w)
    await sandboxd.kill()
    sandboxd = await w.sandboxd(SETPOINT_FAILPOINTS="sandboxd.start.after_ledger=kill@2")
    address = next(line["port"] for line in sandboxd.lines if line["event"] == "serving")
    session = await w.create()
    await apply(w, session, "echo start >> log; touch a.txt", orphan="11s")
    assert await sandboxd.end() == -signal.SIGKILL
    for ledger in (w.root / "sandbox-a" / "sandboxd").glob("ledger.db*"):
        ledger.unlink()
    await w.sandboxd(SETPOINT_LISTEN=f"127.0.0.1:{address}")
    await w.event(session, "sync.outcome_unknown")
    assert (await w.ended(await w.enqueue(session, "sync", {"select": ["a"]})))[0] == "succeeded"
    await is_ready(w, session)
    started = [row for row in await w.events(session) if row["type"] == "sync.started"]
    ended = [row["type"] for row in await w.events(session) if row["execution_id"] == started[0]["execution_id"]]
    assert ended == ["sync.started", "run.interrupted", "sync.outcome_unknown"]
    assert (await w.head(session))["workspace_no"] == 2
    assert await w.gapless(session)


async def test_a_cancelled_sync_dies_and_the_session_stays(w: World) -> None:
    await stack(w)
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    cancel = await w.enqueue(session, "cancel", {"asset": "a"}, lane=0)
    assert (await w.ended(cancel))[0] == "succeeded"
    await w.event(session, "sync.cancelled")
    assert await shell(w, session, "echo mine") == "mine\n"
    assert (await w.types(session)).count("lease.acquired") == 1


async def test_an_unreachable_sandbox_host_without_open_runs_is_left_for_another(w: World) -> None:
    _, sandboxd = await stack(w)
    session = await w.create()
    await w.ended(await apply(w, session))
    await w.event(session, "sync.succeeded")
    await w.enqueue(session, "halt", {}, lane=0)
    await w.event(session, "halt.started")
    await sandboxd.kill()
    await w.sandboxd("sandbox-b")
    await w.event(session, "workspace.lost")
    second = await w.event(session, "workspace.materialized", nth=2)
    assert json.loads(second["data"])["sandbox_host"] == "sandbox-b"
    head = await w.head(session)
    assert (head["sandbox_host"], head["workspace_no"]) == ("sandbox-b", 2)
    await w.enqueue(session, "unhalt", {}, lane=0)
    await w.event(session, "sync.succeeded", nth=2)
    await is_ready(w, session)
    assert await w.gapless(session)
    assert (await w.types(session)).count("workspace.lost") == 1
