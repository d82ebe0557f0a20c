"""What brokers do with hosts that are there: rows of sandbox hosts, heartbeats, placement, the operator's view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from setpoint.brokerlink import BrokerLink
from setpoint.contracts import codec, hint
from tests.conftest import PgDatabase
from tests.integration.broker.conftest import NewHost
from tests.integration.broker.harness import (
    BOUND_S,
    JOIN_TOKEN,
    OPERATOR_KEY,
    Broker,
    code_of,
    join_of,
    linked,
    raw,
)
from tests.integration.protocol.world import TTL, Host, World


async def hosts_when(broker: Broker, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the hosts by id, once they are as wanted. Each look is a round trip; the limit is what fails."""
    async with asyncio.timeout(BOUND_S):
        while True:
            items = (await broker.get("/v1/hosts")).json()["items"]
            hosts = {item["host"]: item for item in items}
            if holds(hosts):
                return hosts


async def test_a_sandbox_host_gets_a_row_and_its_beats_refresh_it(broker: Broker, new_host: NewHost) -> None:
    host = new_host("b1", "sandbox")
    async with raw(broker, host.headers("broker")) as link:
        await link.ask(join_of(host, join_token=JOIN_TOKEN, address="127.0.0.1:4711", capacity={"slots": 4}))
        row = (await hosts_when(broker, lambda hosts: "b1" in hosts))["b1"]
        assert row.pop("seen_age_s") < 10
        assert row == {
            "host": "b1",
            "role": "sandbox",
            "incarnation": host.incarnation,
            "state": "ready",
            "ordered": "serve",
            "address": "127.0.0.1:4711",
            "sessions": 0,
            "capacity": {"slots": 4},
            "lease_age_s": None,
            "lease_expires_in_s": None,
            "linked": True,
        }
        await link.socket.send(codec.pack(hint.Beat({"slots": 4, "running": 3})))
        await hosts_when(broker, lambda hosts: hosts["b1"]["capacity"] == {"slots": 4, "running": 3})


async def test_a_sandbox_host_that_was_marked_by_mistake_joins_again(
    broker: Broker, new_host: NewHost, w: World
) -> None:
    host = new_host("b1", "sandbox")
    link = BrokerLink(
        host, [broker.address], join_token=JOIN_TOKEN, address="127.0.0.1:4711", ledger_id=host.incarnation
    )
    async with linked(link):
        await hosts_when(broker, lambda hosts: "b1" in hosts)
        assert await w.broker.fetchval("SELECT setpoint.sandbox_gone($1, $2)", "b1", host.incarnation)
        await broker.said("sandbox host must join again", host="b1")
        await hosts_when(broker, lambda hosts: hosts["b1"]["state"] == "ready")


async def test_placement_knows_the_live_hosts_and_their_room(broker: Broker, new_host: NewHost, w: World) -> None:
    asker = new_host("g1", "gateway")
    cells = [await w.host(name) for name in ("c1", "c2")]
    async with raw(broker, asker.headers("broker")) as link:
        await link.ask(join_of(asker, join_token=JOIN_TOKEN))
        placed = await until_placed(link.ask, hint.Place(2, "cell", "s"))
        assert placed.host in ("c1", "c2")
        for name in ("c1", "c2"):
            sticky = await link.ask(hint.Place(3, "cell", "s", sticky=name))
            assert (sticky.host, sticky.incarnation) in [(host.id, host.incarnation) for host in cells]
            assert sticky.host == name
            assert (await link.ask(hint.Place(4, "cell", "s", sticky=name, avoid=name))).host != name
        assert code_of(await link.ask(hint.Place(5, "sandbox", "s"))) == "no-capacity"
        await w.expire(cells[0])
        await hosts_when(broker, lambda hosts: hosts["c1"]["state"] == "expired")


async def until_placed(ask: Any, question: hint.Place) -> hint.Placed:
    """Ask until the broker has read the database once more."""
    async with asyncio.timeout(BOUND_S):
        while not isinstance(answer := await ask(question), hint.Placed):
            pass
    return answer


async def test_a_full_sandbox_host_gets_no_session(broker: Broker, new_host: NewHost) -> None:
    one, two = new_host("b1", "sandbox"), new_host("b2", "sandbox")
    async with raw(broker, one.headers("broker")) as first, raw(broker, two.headers("broker")) as second:
        await first.ask(join_of(one, join_token=JOIN_TOKEN, capacity={"running": 4, "slots": 4}))
        await second.ask(join_of(two, join_token=JOIN_TOKEN, capacity={"running": 0, "slots": 4}))
        placed = [await until_placed(first.ask, hint.Place(n, "sandbox", "s", sticky="b1")) for n in range(2, 6)]
        assert [answer.host for answer in placed] == ["b2"] * 4
        # It counts what it placed itself before any heartbeat says so.
        assert code_of(await first.ask(hint.Place(9, "sandbox", "s", avoid="b2"))) == "no-capacity"


async def test_placement_through_the_link_of_a_host(broker: Broker, new_host: NewHost, w: World) -> None:
    await w.host("c1")
    async with linked(BrokerLink(new_host("g1", "gateway"), [broker.address], join_token=JOIN_TOKEN)) as link:
        async with asyncio.timeout(BOUND_S):
            await link.admitted.wait()
            while (placed := await link.place("cell", "s")) is None:
                pass
        assert placed.host == "c1"
        assert link.connected


async def test_the_operators_routes_need_the_operators_key(broker: Broker) -> None:
    for path in ("/v1/hosts", "/v1/hosts/c1"):
        for key in (None, "wrong", "sp_abc_def", OPERATOR_KEY + "x", OPERATOR_KEY[:-1], JOIN_TOKEN):
            answer = await broker.get(path, key)
            assert answer.status_code == 401, (path, key)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthenticated"
    assert (await broker.get("/v1/hosts")).json() == {"items": [], "next": None}
    assert (await broker.get("/v1/hosts/c1")).json()["code"] == "not-found"


async def test_hosts_of_both_kinds_in_pages(broker: Broker, new_host: NewHost, w: World) -> None:
    cell = await w.host("c1")
    await w.own(await w.create(), cell)
    await w.register(Host("c2"), ttl=TTL)
    box = new_host("b1", "sandbox")
    async with raw(broker, box.headers("broker")) as link:
        await link.ask(join_of(box, join_token=JOIN_TOKEN))
        first = (await broker.get("/v1/hosts?limit=2")).json()
        assert [item["host"] for item in first["items"]] == ["b1", "c1"]
        rest = (await broker.get(f"/v1/hosts?limit=2&after={first['next']}")).json()
        assert [item["host"] for item in rest["items"]] == ["c2"]
        assert rest["next"] is None
    one = (await broker.get("/v1/hosts/c1")).json()
    assert (one["sessions"], one["linked"], one["state"], one["role"]) == (1, False, "ready", "cell")
    assert 0 <= one["lease_age_s"] < 10
    assert 0 < one["lease_expires_in_s"] <= 10
    for limit in ("0", "501", "-1", "x", "²", "99999"):
        answer = await broker.get(f"/v1/hosts?limit={limit}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), limit


async def test_public_routes(broker: Broker, database: PgDatabase) -> None:
    (key,) = (await broker.get("/.well-known/jwks.json", None)).json()["keys"]
    kid = (await broker.get("/healthz", None)).json()["kid"]
    assert (key["kty"], key["crv"], key["alg"], key["kid"]) == ("OKP", "Ed25519", "EdDSA", kid)
    assert "d" not in key
    metrics = (await broker.get("/metrics", None)).text
    assert "setpoint_loop_lag_seconds" in metrics
    assert "setpoint_broker_links" in metrics
    for path, status in (("/nowhere", 404), ("/v1", 404), ("/ws", 400)):
        answer = await broker.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
