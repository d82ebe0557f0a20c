"""Commands over HTTP: queued once, answered the same again, bounded, and read from queue to end."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx

from tests.integration.gateway.owner import own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import World

TOOL = {"type": "tool", "payload": {"name": "echo", "args": {"text": "hi"}}}


async def test_a_command_is_queued_accepted_and_ended(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    answer = await api.post(f"/v1/sessions/{session}/commands", json=TOOL)
    assert answer.status_code == 202
    queued = answer.json()
    assert queued == {
        "command_id": queued["command_id"],
        "session_id": session,
        "type": "tool",
        "inbox_seq": 1,
        "status": "queued",
    }
    place = answer.headers["Location"]
    assert place == f"/v1/sessions/{session}/commands/{queued['command_id']}"
    state = (await api.get(place)).json()
    assert (state["status"], state["payload"], state["seq_before"]) == ("queued", TOOL["payload"], 1)

    owner = await own(w, served.ours, session)
    await owner.accept(queued["command_id"], 1)
    assert (await api.get(place)).json()["status"] == "accepted"
    seq = await owner.end(queued["command_id"], "succeeded", {"output": "hi"})
    state = (await api.get(place)).json()
    assert (state["status"], state["result"], state["seq"]) == ("succeeded", {"output": "hi"}, seq)
    assert "seq_before" not in state


async def test_the_same_key_gives_the_first_answer_before_and_after_the_command_has_ended(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    path, key = f"/v1/sessions/{session}/commands", {"Idempotency-Key": uuid.uuid4().hex}
    first = await api.post(path, json=TOOL, headers=key)
    while_queued = await api.post(path, json=TOOL, headers=key)
    owner = await own(w, served.ours, session)
    await owner.accept(first.json()["command_id"], 1)
    await owner.end(first.json()["command_id"], "succeeded", {})
    after_the_end = await api.post(path, json=TOOL, headers=key)
    assert first.status_code == while_queued.status_code == after_the_end.status_code == 202
    assert first.content == while_queued.content == after_the_end.content
    assert first.headers["Location"] == after_the_end.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert while_queued.headers["Idempotency-Replayed"] == after_the_end.headers["Idempotency-Replayed"] == "true"
    page = (await api.get(path)).json()
    assert len(page["items"]) == 1
    for body in ({"type": "evaluate"}, {**TOOL, "payload": {"name": "echo", "args": {"text": "other"}}}):
        problem(await api.post(path, json=body, headers=key), 422, "idempotency-mismatch")
    elsewhere = (await api.post("/v1/sessions", json={})).json()["id"]
    mismatch = await api.post(f"/v1/sessions/{elsewhere}/commands", json=TOOL, headers=key)
    problem(mismatch, 422, "idempotency-mismatch")


async def test_a_key_by_name_and_by_id_is_the_same_request(api: httpx.AsyncClient) -> None:
    name, key = f"named-{uuid.uuid4().hex[:8]}", {"Idempotency-Key": uuid.uuid4().hex}
    session = (await api.post("/v1/sessions", json={"name": name})).json()["id"]
    first = await api.post(f"/v1/sessions/{session}/commands", json=TOOL, headers=key)
    again = await api.post(f"/sessions/{name}/commands", json=TOOL, headers=key)
    assert first.json() == again.json()


async def test_the_same_key_at_the_same_moment_makes_one_command(api: httpx.AsyncClient, session: str) -> None:
    path, key = f"/v1/sessions/{session}/commands", {"Idempotency-Key": uuid.uuid4().hex}
    answers = await asyncio.gather(*(api.post(path, json=TOOL, headers=key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1


async def test_a_full_lane_is_refused_and_the_other_is_not(api: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/commands"
    for _ in range(20):
        assert (await api.post(path, json={"type": "halt"})).status_code == 202
    refused = await api.post(path, json={"type": "halt"}, headers={"Idempotency-Key": "full"})
    problem(refused, 429, "inbox-full")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await api.post(path, json=TOOL, headers={"Idempotency-Key": "full"})).status_code == 202


async def test_a_closed_session_takes_no_commands(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    await owner.close()
    assert (await api.get(f"/v1/sessions/{session}")).json()["state"] == "closed"
    problem(await api.post(f"/v1/sessions/{session}/commands", json=TOOL), 409, "invalid-transition")
    problem(await api.delete(f"/v1/sessions/{session}"), 409, "invalid-transition")


async def test_a_list_is_read_newest_first_page_by_page(api: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/commands"
    made = [(await api.post(path, json=TOOL)).json()["command_id"] for _ in range(5)]
    found: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await api.get(path, params=params)).json()
        found += [item["command_id"] for item in page["items"]]
        if page["next"] is None:
            break
        params["after"] = page["next"]
    assert found == made[::-1]


async def test_a_bad_payload_names_its_field_and_the_nearest_right_one(api: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/commands"
    cases: list[tuple[Any, str, str, str]] = [
        ({"type": "evaluate", "payload": {"selekt": []}}, "unknown-field", "/payload/selekt", "'select'"),
        ({"type": "evalute"}, "validation-failed", "/type", "'evaluate'"),
        ({"type": "evaluate", "payloud": {}}, "unknown-field", "/payloud", "'payload'"),
        ({"type": "sync", "payload": {"select": ["a", 5]}}, "validation-failed", "/payload/select", ""),
        ({"type": "tool", "payload": {"name": "rm"}}, "validation-failed", "/payload/name", ""),
        ({"payload": {}}, "validation-failed", "", ""),
        ({"type": "evaluate", "payload": []}, "validation-failed", "/payload", ""),
        ({"type": 5}, "validation-failed", "/type", ""),
        ([], "validation-failed", "", ""),
        ({"type": "cancel", "payload": {}}, "validation-failed", "/payload", ""),
    ]
    for body, code, pointer, hint in cases:
        document = problem(await api.post(path, json=body), 422, code)
        (fault,) = document["errors"]
        assert fault.get("pointer", "").startswith(pointer), document
        assert hint in fault.get("hint", ""), document
    assert (await api.get(path)).json()["items"] == []
