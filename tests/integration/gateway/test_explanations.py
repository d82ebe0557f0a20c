"""Explanations and histories over HTTP: read from what the owner wrote, waking nobody."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.gateway.owner import Owner, own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import World, new_id


@pytest.fixture
async def owner(w: World, served: Served, session: str) -> Owner:
    return await own(w, served.ours, session)


def row(name: str, known: str = "ready", blocked_by: Any = (), upstreams: Any = (), **more: Any) -> dict[str, Any]:
    """Return a row of the projection as the core writes it, with the parts that explain."""
    doc = {"name": name, "known": known, "state": known, "blocked_by": list(blocked_by), "upstreams": list(upstreams)}
    return {"name": name, "doc": doc | {"stale": False, "pending": {}, "reasons": []} | more}


def reason(code: str, name: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "message": f"{name}: {code}", "object": name, "clears": "something"} | more


async def test_reasons_come_from_the_rows_root_cause_first(api: httpx.AsyncClient, owner: Owner, session: str) -> None:
    stopped = reason("AssetSuspended", "a", since="2026-11-21T10:00:00.000000Z", command="setpoint resume a")
    over = reason("CooldownUntil", "c", next_check="2026-11-21T10:00:00.000000Z")
    seq = await owner.write(
        {"type": "asset.suspended", "asset": "a"},
        assets=[
            {"name": "", "doc": {"reasons": [reason("Halted", "")]}},
            row("a", "drifted", reasons=[stopped]),
            row("b", blocked_by=["a"], upstreams=["a", "fine"]),
            row("c", "drifted", blocked_by=["a"], upstreams=["b"], reasons=[over]),
            row("fine", upstreams=["unread"]),
        ],
    )
    found = (await api.get(f"/v1/sessions/{session}/assets/c/explanation")).json()
    assert (found["name"], found["state"], found["known"], found["seq"]) == ("c", "drifted", "drifted", seq)
    assert [(one["code"], one["object"]) for one in found["reasons"]] == [
        ("Halted", ""),
        ("AssetSuspended", "a"),
        ("UpstreamDrifted", "a"),
    ]
    assert found["reasons"][1]["command"] == "setpoint resume a"
    assert set(found["reasons"][2]) == {"code", "message", "object", "clears", "since", "next_check", "command"}
    fine = (await api.get(f"/v1/sessions/{session}/assets/fine/explanation")).json()
    assert fine["reasons"] == []


async def test_the_sessions_own_row_is_no_asset(api: httpx.AsyncClient, owner: Owner, session: str) -> None:
    await owner.write({"type": "halt.started"}, assets=[{"name": "", "doc": {"reasons": []}}, row("a")])
    path = f"/v1/sessions/{session}/assets"
    assert [item["name"] for item in (await api.get(path)).json()["items"]] == ["a"]
    problem(await api.get(f"{path}/none/explanation"), 404, "not-found")


async def test_a_session_that_nobody_has_says_so(api: httpx.AsyncClient, owner: Owner, session: str, w: World) -> None:
    await owner.write({"type": "asset.drifted", "asset": "a"}, assets=[row("a", "drifted")])
    await w.release(owner._owned, "drain")
    found = (await api.get(f"/v1/sessions/{session}/assets/a/explanation")).json()
    assert [one["code"] for one in found["reasons"]] == ["WaitingForHost"]


async def test_a_sleeping_session_says_so_last(api: httpx.AsyncClient, owner: Owner, session: str, w: World) -> None:
    over = reason("AutoSyncOff", "a")
    await owner.write({"type": "asset.drifted", "asset": "a"}, assets=[row("a", "drifted", reasons=[over])])
    assert (await api.get(f"/v1/sessions/{session}")).json()["state"] == "open"
    await w.release(owner._owned, "hibernate")
    found = (await api.get(f"/v1/sessions/{session}/assets/a/explanation")).json()
    assert [one["code"] for one in found["reasons"]] == ["AutoSyncOff", "Sleeping"]
    assert (await api.get(f"/v1/sessions/{session}")).json()["state"] == "sleeping"
    listed = (await api.get("/v1/sessions", params={"limit": 500})).json()["items"]
    assert {one["state"] for one in listed if one["id"] == session} == {"sleeping"}
    await api.post(f"/v1/sessions/{session}/commands", json={"type": "evaluate", "payload": {}})
    assert (await api.get(f"/v1/sessions/{session}")).json()["state"] == "open", "a command waits: it is to wake"


async def test_rows_of_an_older_code_version_are_explained_as_far_as_they_go(
    api: httpx.AsyncClient, owner: Owner, session: str
) -> None:
    await owner.write({"type": "asset.ready"}, assets=[{"name": "a", "doc": {"name": "a", "known": "ready"}}])
    assert (await api.get(f"/v1/sessions/{session}/assets/a/explanation")).json()["reasons"] == []


async def test_history_shows_each_sync_with_what_held_before_and_after(
    api: httpx.AsyncClient, owner: Owner, session: str
) -> None:
    def results(state: str) -> list[dict[str, Any]]:
        status = {"state": state} | ({"reason": "exited with code 1"} if state == "drifted" else {})
        return [{"conditionName": "there", "conditionType": "Command", "status": status}]

    runs = [new_id() for _ in range(4)]
    for n, (looked, synced) in enumerate((runs[:2], runs[2:])):
        of_look, of_sync = {"asset": "a", "execution_id": looked}, {"asset": "a", "execution_id": synced}
        await owner.write(
            {"type": "evaluation.started", "data": {"why": "interval"}, **of_look},
            {"type": "evaluation.completed", "data": {"verdict": "drifted", "results": results("drifted")}, **of_look},
            {"type": "sync.started", "data": {"kind": "drift"}, **of_sync},
            {"type": "sync.step_finished", "data": {"index": 0, "name": "run", "exit_code": n}, **of_sync},
            {"type": "evaluation.started", "data": {"why": "verification"}, **of_sync},
            {"type": "evaluation.started", "data": {"why": "interval"}, "asset": "b", "execution_id": new_id()},
            {"type": "evaluation.completed", "data": {"verdict": "ready", "results": results("ready")}, **of_sync},
            {"type": "sync.succeeded", "data": {}, **of_sync},
        )
    path = f"/v1/sessions/{session}/assets/a/history"
    everything = (await api.get(path)).json()
    assert [(one["kind"], one["execution_id"]) for one in everything["items"]] == [
        ("sync", runs[3]), ("evaluation", runs[2]), ("sync", runs[1]), ("evaluation", runs[0]),
    ]  # fmt: skip
    assert everything["items"][1]["conditions"] == [
        {"name": "there", "type": "Command", "before": "ready", "after": "drifted", "reason": "exited with code 1"}
    ]
    first = (await api.get(path, params={"kind": "sync", "limit": 1})).json()
    second = (await api.get(path, params={"kind": "sync", "limit": 1, "after": first["next"]})).json()
    assert [page["items"][0]["execution_id"] for page in (first, second)] == [runs[3], runs[1]]
    (entry,) = second["items"]
    assert (entry["why"], entry["status"], entry["verdict"]) == ("drift", "succeeded", "ready")
    assert entry["stages"] == [{"stage": "run", "exit_code": 0}]
    assert entry["conditions"] == [
        {"name": "there", "type": "Command", "before": "drifted", "after": "ready", "reason": "exited with code 1"}
    ]
    problem(await api.get(path, params={"kind": "tool"}), 400, "invalid-request")
