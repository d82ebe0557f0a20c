"""Who may do what: no key, no answer; another tenant's objects do not exist; errors are the same for all bad keys."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.route import Route
from gateway.routes.table import ROUTES
from tests.integration.gateway.owner import own
from tests.integration.gateway.projects import put, sha256
from tests.integration.gateway.served import Served, problem, soon
from tests.integration.protocol.world import World, new_id

KEYED = [route for route in ROUTES if route.needs_key]
BODIES: dict[str, Any] = {"commands": {"type": "halt"}, "sessions": {}, "break": {"reason": "held too long"}}


def request_of(route: Route, **places: str) -> tuple[str, str, dict[str, Any]]:
    path = route.path.format(
        **{"session": "x", "command": new_id(), "asset": "a", "generation": "1", "key": "k"} | places
    )
    sent = {"json": BODIES[path.rsplit("/", 1)[1]]} if route.method == "POST" else {}
    return route.method, path, sent


@pytest.mark.parametrize("route", KEYED, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_wants_a_key(served: Served, route: Route) -> None:
    method, path, sent = request_of(route, execution=new_id(), sha256=sha256(b""))
    key = served.ours.key
    wrong_secret = key[:-1] + ("a" if key[-1] != "a" else "b")
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer sp_x_y"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"Authorization": f"Bearer {wrong_secret}"},
        {"Authorization": f"Bearer sp_{'a' * 16}_{'b' * 48}"},
        {"X-Api-Key": key},
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": "Bearer " + "x" * 5000},
    ]
    seen = set()
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as anybody:
        for header in headers:
            answer = await anybody.request(method, path, headers=header, **sent)
            assert answer.status_code == 401, (header, answer.text)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            if method != "HEAD":
                document = problem(answer, 401, "unauthenticated")
                seen.add(document["detail"])
        in_query = await anybody.request(method, path, params={"api_key": key}, **sent)
        assert in_query.status_code == 401
    assert len(seen) <= 1


async def test_public_paths_need_no_key(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as anybody:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await anybody.get(path)).status_code == 200


async def test_a_revoked_key_is_refused_within_seconds(served: Served, w: World) -> None:
    from tests.integration.gateway.served import new_tenant

    tenant = await new_tenant(served.database.dsn("setpoint_migrate"), f"revoked-{new_id()[:8]}")
    async with served.client(tenant) as api:
        assert (await api.get("/v1/sessions")).status_code == 200
        await w.all_seeing.execute("UPDATE setpoint.api_keys SET revoked_at = now() WHERE tenant_id = $1", tenant.id)

        async def refused() -> bool:
            return (await api.get("/v1/sessions")).status_code == 401

        await soon(refused, "the revoked key is refused")


@pytest.mark.parametrize(
    "route", [route for route in KEYED if "{" in route.path], ids=lambda route: f"{route.method} {route.path}"
)
async def test_another_tenants_objects_do_not_exist(
    api: httpx.AsyncClient, other: httpx.AsyncClient, served: Served, w: World, session: str, route: Route
) -> None:
    name = (await api.get(f"/v1/sessions/{session}")).json()["name"]
    command = (await api.post(f"/v1/sessions/{session}/commands", json={"type": "halt"})).json()["command_id"]
    owner, execution = await own(w, served.ours, session), new_id()
    await owner.write(
        {"type": "tool.started", "execution_id": execution, "data": {"name": "echo"}},
        assets=[{"name": "a", "doc": {"name": "a"}}],
        generation={"n": 1, "resources": "0" * 64, "files": "0" * 64},
    )
    blob = await put(api, f"of {session}".encode())
    for place in (session, name):
        method, path, sent = request_of(route, session=place, command=command, execution=execution, sha256=blob)
        if method == "PUT":
            continue  # a tenant may store bytes that another has, under its own name for them
        answer = await other.request(method, path, **sent)
        assert answer.status_code == 404, answer.text
        if method != "HEAD":
            problem(answer, 404, "not-found")
    state = (await api.get(f"/v1/sessions/{session}")).json()
    assert state["unended"] == {"control": 1, "work": 0}


async def test_another_tenants_command_is_not_found_through_ones_own_session(
    api: httpx.AsyncClient, other: httpx.AsyncClient, session: str
) -> None:
    command = (await api.post(f"/v1/sessions/{session}/commands", json={"type": "halt"})).json()["command_id"]
    mine = (await other.post("/v1/sessions", json={})).json()["id"]
    problem(await other.get(f"/v1/sessions/{mine}/commands/{command}"), 404, "not-found")
    elsewhere = (await api.post("/v1/sessions", json={})).json()["id"]
    problem(await api.get(f"/v1/sessions/{elsewhere}/commands/{command}"), 404, "not-found")


async def test_the_same_idempotency_key_of_two_tenants_are_two(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    key = {"Idempotency-Key": new_id()}
    ours = await api.post("/v1/sessions", json={}, headers=key)
    theirs = await other.post("/v1/sessions", json={}, headers=key)
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["id"] != theirs.json()["id"]
