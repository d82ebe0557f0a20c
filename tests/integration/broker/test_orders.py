"""Orders of an operator: who may give them, what is kept of them, and what brokers do by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setpoint.contracts import hint
from tests.conftest import PgDatabase
from tests.integration.broker.conftest import NewHost
from tests.integration.broker.harness import JOIN_TOKEN, Broker, code_of, join_of, raw, running_broker
from tests.integration.broker.test_hosts import hosts_when, until_placed
from tests.integration.protocol.world import World

WORDS = ("cordon", "uncordon", "drain", "declare-dead")


async def test_orders_need_the_operators_key_and_a_host(broker: Broker, w: World) -> None:
    await w.host("c1")
    for word in WORDS:
        assert (await broker.post(f"/v1/hosts/c1/{word}", key="wrong")).status_code == 401
        assert (await broker.post(f"/v1/hosts/c1/{word}", key=None)).status_code == 401
        missing = await broker.post(f"/v1/hosts/nobody/{word}", b'{"reason": "why"}')
        assert (missing.status_code, missing.json()["code"]) == (404, "not-found"), word
    assert (await broker.get("/v1/hosts/c1/drain", "wrong")).status_code == 401
    assert (await broker.get("/v1/hosts/nobody/drain")).status_code == 404
    assert (await broker.get("/v1/hosts/c1")).json()["ordered"] == "serve"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"reasons": "x"}',
        b'{"reason": 1}',
        b'{"reason": "\\u0000"}',
        b'{"reason": "' + b"x" * 501 + b'"}',
    ],
)
async def test_a_body_that_is_no_order_changes_nothing(broker: Broker, w: World, body: bytes) -> None:
    await w.host("c1")
    answer = await broker.post("/v1/hosts/c1/cordon", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), answer.text
    assert (await broker.get("/v1/hosts/c1")).json()["ordered"] == "serve"


async def test_an_order_is_audited_once_and_read_by_the_next_broker(
    broker: Broker, database: PgDatabase, w: World, tmp_path: Path
) -> None:
    await w.host("c1")
    await w.host("c2")
    for _ in range(2):
        answer = await broker.post("/v1/hosts/c1/cordon", b'{"reason": "disk"}')
        assert (answer.json()["state"], answer.json()["others"]) == ("cordoned", 1)
    await broker.kill()
    async with running_broker(database.dsn("setpoint_broker"), tmp_path / "second") as second:
        assert (await second.get("/v1/hosts/c1")).json()["state"] == "cordoned"
        assert (await second.post("/v1/hosts/c1/uncordon")).json()["state"] == "ready"
    rows = await w.all_seeing.fetch("SELECT detail FROM setpoint.audit_log WHERE action = 'host.ordered' ORDER BY 1")
    said = [json.loads(row["detail"]) for row in rows]
    assert sorted((one["host"], one["before"], one["ordered"], one["reason"]) for one in said) == [
        ("c1", "cordon", "serve", ""),
        ("c1", "serve", "cordon", "disk"),
    ]


async def test_a_cordoned_host_is_placed_nowhere_from_the_answer_on(
    broker: Broker, new_host: NewHost, w: World
) -> None:
    asker, box = new_host("g1", "gateway"), new_host("b1", "sandbox")
    for name in ("c1", "c2"):
        await w.host(name)
    async with raw(broker, asker.headers("broker")) as link, raw(broker, box.headers("broker")) as boxed:
        await link.ask(join_of(asker, join_token=JOIN_TOKEN))
        await boxed.ask(join_of(box, join_token=JOIN_TOKEN, capacity={"slots": 4, "running": 0}))
        await until_placed(link.ask, hint.Place(2, "cell", "s"))
        await until_placed(link.ask, hint.Place(2, "sandbox", "s"))
        await broker.post("/v1/hosts/c1/drain")
        for n in range(8):
            assert (await link.ask(hint.Place(3 + n, "cell", "s", sticky="c1"))).host == "c2"
        await broker.post("/v1/hosts/b1/cordon")
        assert code_of(await link.ask(hint.Place(20, "sandbox", "s"))) == "no-capacity"
        await broker.post("/v1/hosts/b1/uncordon")
        assert (await link.ask(hint.Place(21, "sandbox", "s"))).host == "b1"


async def test_what_is_left_on_a_drained_host_is_named(broker: Broker, w: World) -> None:
    one, other = await w.host("c1"), await w.host("c2")
    session = await w.create()
    await w.own(session, one)
    await w.own(await w.create(), other)
    assert (await broker.get("/v1/hosts/c1/drain")).json()["why"].startswith("the host is not being drained")
    await broker.post("/v1/hosts/c1/drain")
    now = (await broker.get("/v1/hosts/c1/drain")).json()
    assert (now["left"], now["done"], now["why"]) == (1, False, "")
    assert [(row["session_id"], row["name"], row["tenant_id"]) for row in now["sessions"]] == [
        (session.id, session.name, session.tenant)
    ]
    await w.expire(one)
    assert "lease is over" in (await broker.get("/v1/hosts/c1/drain")).json()["why"]


async def test_what_runs_in_a_workspace_on_a_drained_host_and_what_has_failed_is_told(
    broker: Broker, new_host: NewHost, w: World
) -> None:
    cell, boxes = await w.host("c1"), [new_host(name, "sandbox") for name in ("b1", "b2")]
    async with raw(broker, boxes[0].headers("broker")) as one, raw(broker, boxes[1].headers("broker")) as two:
        for link, box in ((one, boxes[0]), (two, boxes[1])):
            await link.ask(join_of(box, join_token=JOIN_TOKEN))
        place = {"host": "b1", "ledger_id": None, "workspace_no": 1}
        busy, failed, mended = [await w.own(await w.create(), cell) for _ in range(3)]
        await w.write(busy, "x", sandbox=place, assets=[{"name": "a", "doc": {"state": "syncing"}}])
        await w.write(failed, "session.recovered", "session.failed", sandbox=place)
        await w.write(mended, "session.failed", "session.recovered", sandbox=place)
        await broker.post("/v1/hosts/b1/drain")
        await hosts_when(broker, lambda hosts: hosts["b2"]["state"] == "ready")
        now = (await broker.get("/v1/hosts/b1/drain")).json()
    assert (now["left"], now["asleep"]) == (2, 0)
    why = {row["session_id"]: row["why"].split(":")[0][:16] for row in now["sessions"]}
    assert why == {
        busy.session.id: "a run is open",
        failed.session.id: "it has failed an",
        mended.session.id: "its turn has not",
    }


async def test_a_sandbox_host_is_declared_dead_when_it_is_silent_or_by_force(
    broker: Broker, new_host: NewHost, w: World
) -> None:
    await w.host("c1")
    box = new_host("b1", "sandbox")
    why = b'{"reason": "burnt"}'
    async with raw(broker, box.headers("broker")) as link:
        await link.ask(join_of(box, join_token=JOIN_TOKEN))
        assert (await broker.post("/v1/hosts/b1/declare-dead", b"{}")).status_code == 400
        assert (await broker.post("/v1/hosts/b1/declare-dead", why)).json()["code"] == "conflict"
        assert (await broker.post("/v1/hosts/c1/declare-dead", why)).json()["code"] == "invalid-transition"
        forced = await broker.post("/v1/hosts/b1/declare-dead", b'{"reason": "burnt", "force": true}')
        assert forced.json()["state"] == "dead"
        assert (await broker.post("/v1/hosts/b1/declare-dead", why)).json()["state"] == "dead"
    async with raw(broker, box.headers("broker")) as link:
        assert code_of(await link.ask(join_of(box, join_token=JOIN_TOKEN))) == "conflict"
    rows = await w.all_seeing.fetch("SELECT detail FROM setpoint.audit_log WHERE action = 'host.declared_dead'")
    said = [json.loads(row["detail"]) for row in rows]
    assert said == [{"host": "b1", "incarnation": box.incarnation, "reason": "burnt"}]
