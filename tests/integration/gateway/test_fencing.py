"""What former owners tried to write, read over HTTP: whose epoch, against which, how often, and nobody else's."""

from __future__ import annotations

import httpx

from tests.integration.gateway.owner import own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import Host, Owned, Session, World, statuses


async def taken_over(w: World, served: Served, session: str) -> tuple[Owned, Host, Host]:
    """Return what a former owner believes, its host, and the host that has the session now."""
    one, two = await w.host(), await w.host()
    stale = await w.own(Session(served.ours.id, session, ""), one)
    await w.expire(one)
    await w.own(stale.session, two)
    return stale, one, two


async def test_nothing_was_refused_to_a_session_that_never_moved(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    found = (await api.get(f"/v1/sessions/{session}/fencing")).json()
    assert found == {"session_id": session, "epoch": [1, 1], "owner_host": owner.host, "refused": 0, "writes": []}


async def test_refused_writes_say_who_when_against_which_epoch_and_how_often(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    stale, one, two = await taken_over(w, served, session)
    for _ in range(3):
        assert statuses(await w.append(stale.item())) == ["fenced"]
    assert (await w.release(stale, "drain"))["status"] == "fenced"
    found = (await api.get(f"/v1/sessions/{session}/fencing")).json()
    assert (found["epoch"], found["owner_host"], found["refused"]) == ([1, 2], two.id, 4)
    release, append = found["writes"]
    who = {"epoch": [1, 1], "host": one.id, "against": [1, 2], "against_host": two.id}
    assert release.items() >= {"kind": "release", "refused": 1, **who}.items()
    assert append.items() >= {"kind": "append", "refused": 3, **who}.items()
    assert append["first_at"] < append["last_at"] < release["last_at"]
    assert release["first_at"] == release["last_at"]


async def test_fencing_is_found_by_name_and_never_by_another_tenant(
    api: httpx.AsyncClient, other: httpx.AsyncClient, w: World, served: Served
) -> None:
    made = (await api.post("/v1/sessions", json={"name": "fenced-one"})).json()["id"]
    stale, _, _ = await taken_over(w, served, made)
    await w.append(stale.item())
    assert (await api.get("/v1/sessions/fenced-one/fencing")).json()["refused"] == 1
    for name in (made, "fenced-one"):
        problem(await other.get(f"/v1/sessions/{name}/fencing"), 404, "not-found")
    problem(await api.get("/v1/sessions/nobody/fencing"), 404, "not-found")


async def test_an_epoch_that_the_log_does_not_know_has_no_host(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    stale, _, _ = await taken_over(w, served, session)
    stale.inc = 7
    await w.append(stale.item())
    (write,) = (await api.get(f"/v1/sessions/{session}/fencing")).json()["writes"]
    assert (write["epoch"], write["host"]) == ([7, 1], None)
