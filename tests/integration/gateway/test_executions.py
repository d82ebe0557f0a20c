"""Assets, generations and executions over HTTP: read from what the owner wrote, output from wherever it is."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from setpoint.objects import DirectoryStore, output_key
from tests.integration.gateway.owner import Owner, own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import World, new_id

NO_OUTPUT = {"bytes": 0, "sha256": "", "object": "", "truncated": False, "tail": ""}


def step(index: int, kind: str, name: str, exit_code: int, **more: Any) -> dict[str, Any]:
    return {"index": index, "kind": kind, "name": name, "exit_code": exit_code} | more


@pytest.fixture
async def owner(w: World, served: Served, session: str) -> Owner:
    return await own(w, served.ours, session)


async def test_assets_are_the_projection(api: httpx.AsyncClient, owner: Owner, session: str) -> None:
    docs = [{"name": f"a{n}", "doc": {"name": f"a{n}", "state": "ready"}} for n in range(5)]
    seq = await owner.write({"type": "asset.ready", "asset": "a0"}, assets=docs)
    path = f"/v1/sessions/{session}/assets"
    page = (await api.get(path, params={"limit": 3})).json()
    assert [item["name"] for item in page["items"]] == ["a0", "a1", "a2"]
    rest = (await api.get(path, params={"limit": 3, "after": page["next"]})).json()
    assert [item["name"] for item in rest["items"]] == ["a3", "a4"]
    assert rest["next"] is None
    one = await api.get(f"{path}/a1")
    assert one.json() == {"name": "a1", "state": "ready", "seq": seq}
    problem(await api.get(f"{path}/none"), 404, "not-found")


async def test_generations_are_listed_newest_first(api: httpx.AsyncClient, owner: Owner, session: str) -> None:
    for n in (1, 2, 3):
        generation = {"n": n, "resources": f"{n}" * 64, "files": "f" * 64}
        await owner.write({"type": "resources.applied", "data": generation}, generation=generation)
    path = f"/v1/sessions/{session}/generations"
    page = (await api.get(path, params={"limit": 2})).json()
    assert [item["generation"] for item in page["items"]] == [3, 2]
    rest = (await api.get(path, params={"limit": 2, "after": page["next"]})).json()
    assert [item["generation"] for item in rest["items"]] == [1]
    assert (await api.get(f"{path}/2")).json()["resources"] == "2" * 64
    problem(await api.get(f"{path}/9"), 404, "not-found")


async def test_a_sync_is_one_execution_with_its_verification(
    api: httpx.AsyncClient, owner: Owner, session: str
) -> None:
    looked, synced = new_id(), new_id()
    outline = [{"index": 0, "kind": "stage", "name": "run"}, {"index": 1, "kind": "condition", "name": "there"}]
    mine = {"asset": "a", "execution_id": synced}
    await owner.write(
        {"type": "evaluation.started", "asset": "a", "execution_id": looked,
         "data": {"why": "applied", "conditions": ["there"]}},
        {"type": "evaluation.started", "asset": "b", "execution_id": new_id(),
         "data": {"why": "applied", "conditions": ["there"]}},
    )  # fmt: skip
    await owner.write({"type": "evaluation.completed", "asset": "a", "execution_id": looked, "data": {}})
    await owner.write({"type": "sync.started", "data": {"steps": outline}, **mine})
    path = f"/v1/sessions/{session}/executions"
    running = (await api.get(f"{path}/{synced}")).json()
    assert (running["kind"], running["status"]) == ("sync", "running")
    assert [item["status"] for item in running["steps"]] == ["pending", "pending"]
    await owner.write(
        {"type": "sync.step_finished", "data": step(0, "stage", "run", 0, stdout=NO_OUTPUT), **mine},
        {"type": "evaluation.started", "data": {"why": "verification", "conditions": ["there"]}, **mine},
    )
    await owner.write({"type": "evaluation.step_finished", "data": step(1, "condition", "there", 1), **mine})
    end = await owner.write({"type": "sync.failed", "data": {"reason": "not_converged"}, **mine})
    page = (await api.get(path, params={"asset": "a"})).json()
    assert [(item["id"], item["kind"], item["status"]) for item in page["items"]] == [
        (synced, "sync", "failed"),
        (looked, "evaluation", "completed"),
    ]
    ended = page["items"][0]
    assert [(item["name"], item["status"], item["exit_code"]) for item in ended["steps"]] == [
        ("run", "succeeded", 0),
        ("there", "failed", 1),
    ]
    assert ended["ended_seq"] == end
    (newest,) = (await api.get(path, params={"asset": "a", "limit": 1})).json()["items"]
    assert newest == ended
    first = (await api.get(path, params={"limit": 2})).json()
    rest = (await api.get(path, params={"limit": 2, "after": first["next"]})).json()
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    problem(await api.get(f"{path}/{new_id()}"), 404, "not-found")
    problem(await api.get(f"{path}/nonsense"), 404, "not-found")
    problem(await api.get(path, params={"asset": "No Name"}), 400, "invalid-request")


async def test_output_of_an_ended_step_is_read_by_offset(
    api: httpx.AsyncClient, served: Served, owner: Owner, session: str
) -> None:
    execution, content = new_id(), bytes(range(256)) * 2000
    key = output_key(served.ours.id, execution, 0, "stdout")
    DirectoryStore(served.gateway.root / "objects").put(key, content)
    mine = {"execution_id": execution, "command_id": new_id()}
    stdout = NO_OUTPUT | {"object": key, "bytes": len(content)}
    await owner.write({"type": "tool.started", "data": {"name": "exec"}, **mine})
    await owner.write({"type": "tool.finished", "data": step(0, "tool", "exec", 0, stdout=stdout), **mine})
    path = f"/v1/sessions/{session}/executions/{execution}/output"
    found, offset = b"", 0
    while True:
        part = await api.get(path, params={"offset": offset})
        found += part.content
        offset = int(part.headers["Setpoint-Next-Offset"])
        if part.headers["Setpoint-Eof"] == "true":
            break
        assert part.content
    assert found == content
    assert (await api.get(path, params={"follow": "true"})).content == content
    empty = await api.get(path, params={"stream": "stderr"})
    assert (empty.content, empty.headers["Setpoint-Eof"]) == (b"", "true")
    beyond = await api.get(path, params={"offset": 10**9})
    assert (beyond.content, beyond.headers["Setpoint-Eof"]) == (b"", "true")
    problem(await api.get(path, params={"step": 7}), 404, "not-found")
    for bad in ({"step": "-1"}, {"stream": "stdin"}, {"offset": "x"}, {"follow": "maybe"}):
        problem(await api.get(path, params=bad), 400, "invalid-request")


async def test_output_of_a_running_step_without_a_link_is_unavailable_not_lost(
    api: httpx.AsyncClient, owner: Owner, session: str
) -> None:
    execution = new_id()
    await owner.write({"type": "tool.started", "execution_id": execution, "data": {"name": "exec"}})
    answer = await api.get(f"/v1/sessions/{session}/executions/{execution}/output")
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


async def test_a_page_of_large_executions_ends_early(
    api: httpx.AsyncClient, served: Served, owner: Owner, session: str
) -> None:
    tail = {**NO_OUTPUT, "tail": "\x01" * 1500}  # six bytes each in the log
    ids = [new_id() for _ in range(12)]
    for execution in ids:
        ended = [
            {"type": "evaluation.step_finished", "execution_id": execution, "asset": "a", "data": data}
            for data in (step(n, "condition", f"c{n}", 1, stdout=tail, stderr=tail) for n in range(40))
        ]
        started = {"type": "evaluation.started", "execution_id": execution, "asset": "a", "data": {"why": "manual"}}
        await owner.write(started, *ended)
    seen, after = [], None
    while True:
        answer = await api.get(f"/v1/sessions/{session}/executions", params={"after": after} if after else {})
        page = answer.json()
        assert len(page["items"]) <= 2, "about a mebibyte"
        assert all(len(item["steps"]) == 40 for item in page["items"])
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == ids[::-1]
    assert await served.loop_lag_s() < 0.1
