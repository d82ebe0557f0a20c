"""Hosts that are emptied or declared dead by an operator, and owners that cannot reach what others can."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx

from tests.integration.celld.harness import Celld, Session, World, until
from tests.integration.celld.test_runs import SLOW, apply, began, is_ready, shell, stack

OPERATOR = {"Authorization": "Bearer " + "o" * 32}


async def ask(w: World, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask the broker as its operator; status and document."""
    async with httpx.AsyncClient(trust_env=False, timeout=10, headers=OPERATOR) as http:
        answer = await http.request(method, f"http://{w.broker_address}/v1/hosts/{path}", json=body)
        return answer.status_code, answer.json()


async def order(w: World, host: str, word: str) -> dict[str, Any]:
    status, document = await ask(w, "POST", f"{host}/{word}", {"reason": "a test"})
    assert status == 200, document
    return dict(document)


async def drained(w: World, host: str) -> dict[str, Any]:
    """Wait until nothing is left on a drained host."""

    async def empty() -> dict[str, Any] | None:
        _, now = await ask(w, "GET", f"{host}/drain")
        return now if now["done"] else None

    return await until(empty, f"{host} is empty")


async def another(w: World, name: str = "cell-b") -> Celld:
    celld = await w.celld(name, admitted=False)
    await celld.said("celld serves")
    return celld


async def owned_by(w: World, session: Session, host: str) -> None:
    async def is_its() -> bool:
        return bool((await w.head(session))["owner_host"] == host)

    await until(is_its, f"{host} owns the session")


async def test_sessions_leave_a_drained_cell_host_and_a_running_sync_is_adopted(w: World) -> None:
    await stack(w)
    busy, idle = await w.create(), await w.create()
    await apply(w, busy, SLOW)
    await shell(w, idle, "true")
    await began(w, busy)
    await another(w)
    assert (await order(w, "cell-a", "drain"))["state"] == "draining"
    await drained(w, "cell-a")
    for session in (busy, idle):
        await owned_by(w, session, "cell-b")
    await w.event(busy, "run.adopted")
    await shell(w, busy, "touch go")
    await w.event(busy, "sync.succeeded")
    assert await shell(w, busy, "cat log") == "start\nend\n"
    late = await w.create(prefer="cell-a")
    await owned_by(w, late, "cell-b")
    for session in (busy, idle, late):
        assert await w.gapless(session)
    said = [json.loads(row["data"])["mode"] for row in await w.events(busy) if row["type"] == "lease.released"]
    assert said == ["drain"]


async def test_the_only_cell_host_keeps_its_sessions_until_there_is_another(w: World) -> None:
    await stack(w)
    session = await w.create()
    await shell(w, session, "true")
    await order(w, "cell-a", "drain")
    _, now = await ask(w, "GET", "cell-a/drain")
    assert (now["left"], now["done"]) == (1, False)
    assert now["why"].startswith("no other cell host takes sessions")
    assert now["sessions"][0]["session_id"] == session.id
    assert await shell(w, session, "echo on") == "on\n"
    assert (await w.types(session)).count("lease.acquired") == 1
    await another(w)
    await drained(w, "cell-a")
    assert await shell(w, session, "echo on") == "on\n"
    assert await w.gapless(session)


async def test_a_cordoned_cell_host_keeps_what_it_has_and_takes_nothing_until_it_serves_again(w: World) -> None:
    await stack(w)
    old = await w.create()
    await shell(w, old, "true")
    assert (await order(w, "cell-a", "cordon"))["state"] == "cordoned"
    new = await w.create()
    assert await shell(w, old, "echo mine") == "mine\n"
    assert await w.types(new) == ["session.created"]
    broker = next(process for process in w.processes if process.name == "broker")
    await broker.kill()
    await w.broker()  # the order is in the database, not in a broker
    assert (await ask(w, "GET", "cell-a"))[1]["state"] == "cordoned"
    assert await w.types(new) == ["session.created"]
    assert (await order(w, "cell-a", "uncordon"))["ordered"] == "serve"
    await w.event(new, "lease.acquired")
    assert (await w.types(old)).count("lease.acquired") == 1


async def test_sessions_leave_a_drained_sandbox_host_when_no_run_of_theirs_is_open(w: World) -> None:
    celld, _ = await stack(w)
    busy, idle = await w.create(), await w.create()
    await apply(w, busy, SLOW)
    await shell(w, idle, "true")
    await began(w, busy)
    await order(w, "sandbox-a", "drain")
    _, now = await ask(w, "GET", "sandbox-a/drain")
    assert (now["left"], now["why"][:35]) == (2, "no other sandbox host takes workspa")
    await w.sandboxd("sandbox-b")
    moved = await w.event(idle, "workspace.materialized", nth=2)
    assert json.loads(moved["data"])["sandbox_host"] == "sandbox-b"
    _, now = await ask(w, "GET", "sandbox-a/drain")
    assert [(one["session_id"], one["why"][:16]) for one in now["sessions"]] == [(busy.id, "a run is open: a")]
    os.kill(celld.cells()[busy.id], signal.SIGKILL)  # its next life does not know of the run at first
    await w.event(busy, "run.adopted")
    assert (await w.head(busy))["sandbox_host"] == "sandbox-a"
    (go,) = [path.parent / "go" for path in w.root.rglob("log") if path.parent.name != "logs"]
    go.touch()
    await w.event(busy, "sync.succeeded")
    await drained(w, "sandbox-a")
    assert (await w.head(busy))["sandbox_host"] == "sandbox-b"
    assert await shell(w, idle, "echo on") == "on\n"
    new = await w.create()
    await shell(w, new, "true")
    assert (await w.head(new))["sandbox_host"] == "sandbox-b"
    for session in (busy, idle):
        assert await w.gapless(session)


async def test_a_sandbox_host_declared_dead_ends_the_wait_for_its_open_sync(w: World) -> None:
    _, sandboxd = await stack(w)
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    await w.sandboxd("sandbox-b")
    assert (await ask(w, "POST", "sandbox-a/declare-dead", {}))[0] == 400
    status, problem = await ask(w, "POST", "sandbox-a/declare-dead", {"reason": "no power"})
    assert (status, problem["code"]) == (409, "conflict"), problem
    assert (await ask(w, "POST", "cell-a/declare-dead", {"reason": "no power"}))[1]["code"] == "invalid-transition"
    sandboxd.child.send_signal(signal.SIGSTOP)
    status, dead = await ask(w, "POST", "sandbox-a/declare-dead", {"reason": "no power", "force": True})
    assert (status, dead["state"]) == (200, "dead"), dead
    await w.event(session, "run.interrupted")
    await w.event(session, "sync.outcome_unknown")
    moved = await w.event(session, "workspace.materialized", nth=2)
    assert json.loads(moved["data"])["sandbox_host"] == "sandbox-b"
    assert await w.gapless(session)
    audit = await w.all_seeing.fetch("SELECT detail FROM setpoint.audit_log WHERE action = 'host.declared_dead'")
    assert [json.loads(row["detail"])["reason"] for row in audit] == ["no power"]
    # What was declared dead does not come back as the same incarnation, and does as the next.
    sandboxd.child.send_signal(signal.SIGCONT)
    await sandboxd.said("broker refuses this host", code="conflict")
    await sandboxd.kill()
    await w.sandboxd("sandbox-a")

    async def is_back() -> bool:
        return bool((await ask(w, "GET", "sandbox-a"))[1]["state"] == "ready")

    await until(is_back, "the next incarnation is admitted")


async def blind(w: World, name: str) -> Celld:
    """Start a cell host that no sandbox host lets in: it was admitted by a broker that this world does not know."""
    return await w.celld(name, SETPOINT_BROKERS="")


async def test_an_owner_that_cannot_reach_the_sandbox_host_passes_the_session_on_with_its_running_sync(
    w: World,
) -> None:
    await w.broker()
    await w.sandboxd()
    await another(w, "cell-b")
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    first = await blind(w, "cell-a")
    await order(w, "cell-b", "drain")
    await owned_by(w, session, "cell-a")
    await order(w, "cell-b", "uncordon")
    await first.said("session passed on", to="cell-b")
    await w.event(session, "run.adopted")
    await shell(w, session, "touch go")
    await w.event(session, "sync.succeeded")
    await is_ready(w, session)
    assert await shell(w, session, "cat log") == "start\nend\n"
    head = await w.head(session)
    assert (head["owner_host"], head["sandbox_host"], head["workspace_no"]) == ("cell-b", "sandbox-a", 1)
    assert "sync.outcome_unknown" not in await w.types(session)
    assert await w.gapless(session)


async def test_a_frozen_sandbox_host_is_tried_by_each_cell_host_once_and_waited_for_by_the_last(w: World) -> None:
    _, sandboxd = await stack(w)
    session = await w.create()
    await apply(w, session, SLOW)
    await began(w, session)
    second = await another(w)
    await w.sandboxd("sandbox-b")
    sandboxd.child.send_signal(signal.SIGSTOP)
    await second.said("sandbox host cannot be reached", session=session.id)
    modes = [json.loads(row["data"])["mode"] for row in await w.events(session) if row["type"] == "lease.released"]
    assert modes == ["move"]
    assert "run.interrupted" not in await w.types(session)
    status, _ = await ask(w, "POST", "sandbox-a/declare-dead", {"reason": "it hangs", "force": True})
    assert status == 200
    await w.event(session, "sync.outcome_unknown")
    moved = await w.event(session, "workspace.materialized", nth=2)
    assert json.loads(moved["data"])["sandbox_host"] == "sandbox-b"
    assert (await w.head(session))["owner_host"] == "cell-b"
    assert await w.gapless(session)


async def test_a_frozen_sandbox_host_on_which_nothing_runs_is_given_up_by_its_first_owner(w: World) -> None:
    first, sandboxd = await stack(w)
    session = await w.create()
    await shell(w, session, "true")
    await another(w)
    await w.sandboxd("sandbox-b")
    sandboxd.child.send_signal(signal.SIGSTOP)
    await first.said("link down", link="sandboxd sandbox-a")  # a tool that may have been sent is waited for
    command = await w.enqueue(session, "tool", {"name": "echo", "args": {"text": "on"}})
    assert (await w.ended(command))[0] == "succeeded"
    assert (await w.head(session))["sandbox_host"] == "sandbox-b"
    assert "lease.released" not in await w.types(session)
