"""Locks over HTTP: listed with their holder, broken only when they may be, and never another tenant's."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.integration.gateway.owner import Owner, own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import World, new_id


@pytest.fixture
async def owner(w: World, served: Served, session: str) -> Owner:
    return await own(w, served.ours, session)


async def take(owner: Owner, key: str, ttl_s: float) -> str:
    execution_id = new_id()
    taken = {"key": key, "execution": execution_id, "ttl_s": ttl_s}
    await owner.write({"type": "sync.started", "execution_id": execution_id}, take=[taken])
    return execution_id


async def listed(api: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    return {item["key"]: item for item in (await api.get("/v1/locks")).json()["items"]}


def broken(key: str) -> str:
    return f"/v1/locks/{quote(key, safe='')}/break"


async def test_a_lock_is_listed_with_its_holder(
    api: httpx.AsyncClient, other: httpx.AsyncClient, owner: Owner, session: str
) -> None:
    key = f"the warehouse/{new_id()}"
    execution_id = await take(owner, key, 60)
    item = (await listed(api))[key]
    assert (item["session_id"], item["session_name"], item["execution_id"]) == (session, session, execution_id)
    assert (item["ttl_secs"], item["expired"]) == (60, False)
    assert item["acquired_at_epoch_secs"] > 1_600_000_000
    assert key not in await listed(other)
    problem(await other.post(broken(key), json={"reason": "not mine"}), 404, "not-found")


async def test_a_lock_is_broken_when_its_time_to_live_is_over_or_by_force(
    api: httpx.AsyncClient, owner: Owner, session: str, w: World, served: Served
) -> None:
    key = f"the warehouse/{new_id()}"
    execution_id = await take(owner, key, 3600)
    problem(await api.post(broken(key), json={"reason": "stuck"}), 423, "locked")
    answer = await api.post(broken(key), json={"reason": "stuck", "force": True})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["key"], said["session_id"], said["execution_id"]) == (key, session, execution_id)
    assert key not in await listed(api)
    command = (await api.get(f"/v1/sessions/{session}/commands/{said['command_id']}")).json()
    assert command["type"] == "lock_broken"
    assert command["payload"]["reason"] == "stuck"
    assert command["payload"]["by"] == "key " + served.ours.key.split("_")[1]
    problem(await api.post(broken(key), json={"reason": "again"}), 404, "not-found")

    old, once = f"old/{new_id()}", {"Idempotency-Key": new_id()}
    await take(owner, old, 0)
    assert (await listed(api))[old]["expired"] is True
    first, again = [await api.post(broken(old), json={"reason": "its time is over"}, headers=once) for _ in range(2)]
    assert (first.status_code, first.content) == (200, again.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(await api.post(broken(old), json={"reason": "else"}, headers=once), 422, "idempotency-mismatch")


async def test_a_reason_is_wanted_and_no_client_sends_the_notice_itself(api: httpx.AsyncClient, session: str) -> None:
    problem(await api.post(broken("k"), json={}), 422, "validation-failed")
    problem(await api.post(broken("k"), json={"reason": " "}), 422, "validation-failed")
    problem(await api.post(broken("k"), json={"reason": "r", "forced": True}), 422, "unknown-field")
    notice = {"type": "lock_broken", "payload": {"key": "k", "execution_id": new_id()}}
    problem(await api.post(f"/v1/sessions/{session}/commands", json=notice), 422, "validation-failed")
