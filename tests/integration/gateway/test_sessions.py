"""Sessions over HTTP: created once, found by id or name, paged, conditional, closed by a command."""

from __future__ import annotations

import uuid

import httpx

from tests.integration.gateway.served import Served, problem


async def test_a_new_session_has_a_place_a_version_and_a_first_event(api: httpx.AsyncClient) -> None:
    name = f"new-{uuid.uuid4().hex[:8]}"
    made = await api.post("/v1/sessions", json={"name": name, "labels": {"team": "a"}})
    assert made.status_code == 201
    session = made.json()
    assert made.headers["Location"] == f"/v1/sessions/{session['id']}"
    assert (session["name"], session["labels"], session["state"], session["head_seq"]) == (
        name,
        {"team": "a"},
        "open",
        1,
    )
    by_id, by_name = await api.get(f"/v1/sessions/{session['id']}"), await api.get(f"/v1/sessions/{name}")
    assert by_id.json() == by_name.json() == session
    page = (await api.get(f"/v1/sessions/{name}/events")).json()
    assert [event["type"] for event in page["items"]] == ["session.created"]


async def test_a_session_without_a_name_has_its_id_as_name(api: httpx.AsyncClient) -> None:
    for content in (b"{}", b""):
        made = (await api.post("/v1/sessions", content=content, headers={"Content-Type": "application/json"})).json()
        assert made["name"] == made["id"]


async def test_a_name_is_given_once(api: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    name = f"taken-{uuid.uuid4().hex[:8]}"
    assert (await api.post("/v1/sessions", json={"name": name})).status_code == 201
    problem(await api.post("/v1/sessions", json={"name": name}), 409, "conflict")
    assert (await other.post("/v1/sessions", json={"name": name})).status_code == 201


async def test_the_same_key_creates_one_session(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"labels": {"a": "b"}}
    first = await api.post("/v1/sessions", json=body, headers=key)
    again = await api.post("/v1/sessions", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(await api.post("/v1/sessions", json={}, headers=key), 422, "idempotency-mismatch")


async def test_a_list_is_read_page_by_page(served: Served) -> None:
    from tests.integration.gateway.served import new_tenant

    tenant = await new_tenant(served.database.dsn("setpoint_migrate"), f"paged-{uuid.uuid4().hex[:8]}")
    async with served.client(tenant) as api:
        made = [(await api.post("/v1/sessions", json={})).json()["id"] for _ in range(5)]
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = (await api.get("/v1/sessions", params={"limit": 2, "after": after})).json()
            assert len(page["items"]) <= 2
            found += [item["id"] for item in page["items"]]
            after = page["next"]
        assert found == made


async def test_an_unchanged_session_is_not_sent_again(api: httpx.AsyncClient, session: str) -> None:
    first = await api.get(f"/v1/sessions/{session}")
    same = await api.get(f"/v1/sessions/{session}", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    await api.post(f"/v1/sessions/{session}/commands", json={"type": "evaluate"})
    changed = await api.get(f"/v1/sessions/{session}", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["unended"] == {"control": 0, "work": 1}


async def test_delete_queues_a_close_and_only_of_what_was_read(api: httpx.AsyncClient, session: str) -> None:
    stale = await api.delete(f"/v1/sessions/{session}", headers={"If-Match": '"something"'})
    problem(stale, 412, "precondition-failed")
    closing = await api.delete(f"/v1/sessions/{session}")
    assert closing.status_code == 202
    assert closing.json()["type"] == "close"
    command = await api.get(closing.headers["Location"])
    assert (command.json()["type"], command.json()["status"]) == ("close", "queued")


async def test_the_calls_of_the_readme_work_as_written_there(served: Served) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
    async with served.client(None, **form) as api:
        assert (await api.get("/healthz")).json()["status"] == "ok"
        made = await api.post("/sessions", content=b'{"tenant_id":"ours"}')
        assert made.status_code == 201
        session = made.json()["id"]
        body = b'{"type":"tool","payload":{"name":"uppercase","args":{"text":"nadi"}}}'
        queued = await api.post(f"/sessions/{session}/commands", content=body)
        assert queued.status_code == 202
        assert queued.json()["session_id"] == session
        page = await api.get(f"/sessions/{session}/events")
        assert page.headers["Content-Type"].startswith("application/json")
        assert page.json()["items"][0]["type"] == "session.created"
        by_id = await api.post("/sessions", content=f'{{"tenant_id":"{served.ours.id}"}}'.encode())
        assert by_id.status_code == 201
        foreign = await api.post("/sessions", content=b'{"tenant_id":"theirs"}')
        problem(foreign, 403, "forbidden")
        versioned = await api.post("/v1/sessions", content=b"{}")
        problem(versioned, 415, "unsupported-media-type")
        unasked = await api.post(
            "/v1/sessions", json={"tenant_id": "ours"}, headers={"Content-Type": "application/json"}
        )
        problem(unasked, 422, "unknown-field")
