"""Dead hosts: those that refuse are marked at once, those that are silent keep their lease, real processes all."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from setpoint import runtime
from tests.conftest import PgDatabase
from tests.integration.broker.conftest import NewHost
from tests.integration.broker.harness import (
    BOUND_S,
    JOIN_TOKEN,
    Broker,
    Process,
    fake_host,
    join_of,
    raw,
    running_broker,
)
from tests.integration.protocol.world import Host, Session, World

LONG = timedelta(seconds=60)


async def owner_of_a_session(w: World, name: str, incarnation: str, public_key: str = "") -> Session:
    """Register a cell host with a lease far longer than the test, and have it own a session."""
    session, host = await w.create(), Host(name, incarnation)
    await w.register(host, ttl=LONG, key=base64.urlsafe_b64decode(public_key + "=" * (-len(public_key) % 4)))
    await w.own(session, host)
    assert await w.wake(session) is None
    return session


async def state_of(w: World, name: str) -> str:
    rows = await w.broker.fetch("SELECT state FROM setpoint.hosts() WHERE host_id = $1", name)
    return str(rows[0]["state"])


async def until_marked(w: World, name: str) -> None:
    async with asyncio.timeout(BOUND_S):
        while await state_of(w, name) != "fenced":
            pass


def facts_of(process: Process) -> dict[str, Any]:
    return process.lines[0]


async def test_a_killed_cell_host_is_marked_within_a_second(broker: Broker, w: World, tmp_path: Path) -> None:
    async with fake_host(tmp_path / "c1", "c1", "cell", broker, linked=True) as process:
        session = await owner_of_a_session(w, "c1", facts_of(process)["incarnation"])
        before = runtime.boottime_s()
        process.signal(signal.SIGKILL)
        await until_marked(w, "c1")
        took_s = runtime.boottime_s() - before
        wake = await w.wake(session)
    assert took_s < 1.0
    assert wake is not None
    assert wake["due"]


async def test_a_killed_sandbox_host_gets_no_new_sessions(broker: Broker, w: World, tmp_path: Path) -> None:
    async with fake_host(tmp_path / "b1", "b1", "sandbox", broker, linked=True) as process:
        assert await state_of(w, "b1") == "ready"
        process.signal(signal.SIGKILL)
        await until_marked(w, "b1")


async def lose_link(broker: Broker, process: Process, identity: Any) -> None:
    """Join as a host that serves its health in another process, and lose the link."""
    async with raw(broker, identity.headers("broker")) as link:
        await link.ask(join_of(identity, join_token=JOIN_TOKEN, address=facts_of(process)["address"]))
    await broker.said("host link lost", host=identity.host)


async def test_a_frozen_cell_host_is_not_marked(broker: Broker, w: World, tmp_path: Path, new_host: NewHost) -> None:
    identity = new_host("c1", "cell")
    async with fake_host(tmp_path / "c1", "c1", "cell", broker, linked=False) as process:
        session = await owner_of_a_session(w, "c1", identity.incarnation, identity.public_key)
        process.signal(signal.SIGSTOP)
        await lose_link(broker, process, identity)
        await broker.said("lost host may live", host="c1")
        assert await state_of(w, "c1") == "ready"
        assert await w.wake(session) is None


async def test_a_host_that_lost_only_its_link_is_not_marked(broker: Broker, w: World, new_host: NewHost) -> None:
    identity = new_host("c1", "cell")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"host": "c1", "incarnation": identity.incarnation}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await owner_of_a_session(w, "c1", identity.incarnation, identity.public_key)
        port = server.sockets[0].getsockname()[1]
        async with raw(broker, identity.headers("broker")) as link:
            await link.ask(join_of(identity, join_token=JOIN_TOKEN, address=f"127.0.0.1:{port}"))
        await broker.said("lost host may live", host="c1")
        assert await state_of(w, "c1") == "ready"


async def test_another_incarnation_that_answers_proves_the_old_one_dead(
    broker: Broker, w: World, tmp_path: Path, new_host: NewHost
) -> None:
    identity = new_host("c1", "cell")
    async with fake_host(tmp_path / "c1", "c1", "cell", broker, linked=False) as process:
        await owner_of_a_session(w, "c1", identity.incarnation, identity.public_key)
        await lose_link(broker, process, identity)
        await until_marked(w, "c1")


async def test_another_host_that_answers_proves_nothing(
    broker: Broker, w: World, tmp_path: Path, new_host: NewHost
) -> None:
    identity = new_host("c1", "cell")
    async with fake_host(tmp_path / "c2", "c2", "cell", broker, linked=False) as process:
        await owner_of_a_session(w, "c1", identity.incarnation, identity.public_key)
        await lose_link(broker, process, identity)
        await broker.said("lost host may live", host="c1")
        assert await state_of(w, "c1") == "ready"


async def test_a_lease_that_is_over_is_found_without_any_link(broker: Broker, w: World) -> None:
    host = Host("c1")
    session = await owner_of_a_session(w, "c1", host.incarnation)
    await w.expire(host)
    await until_marked(w, "c1")
    assert await w.wake(session) is not None


async def test_a_broker_killed_before_the_mark_loses_nothing_but_time(
    database: PgDatabase, w: World, tmp_path: Path
) -> None:
    dsn = database.dsn("setpoint_broker")
    async with (
        running_broker(dsn, tmp_path / "a", SETPOINT_FAILPOINTS="broker.reaper.before_mark=kill") as first,
        fake_host(tmp_path / "c1", "c1", "cell", first, linked=True) as process,
    ):
        host = Host("c1", facts_of(process)["incarnation"])
        session = await owner_of_a_session(w, "c1", host.incarnation)
        process.signal(signal.SIGKILL)
        assert await first.end() == -signal.SIGKILL
    assert await state_of(w, "c1") == "ready"
    await w.expire(host)
    async with running_broker(dsn, tmp_path / "a"):
        await until_marked(w, "c1")
        assert await w.wake(session) is not None


async def test_two_brokers_sweep_the_same_hosts(broker: Broker, database: PgDatabase, w: World, tmp_path: Path) -> None:
    sessions = [await owner_of_a_session(w, f"c{n}", Host(f"c{n}").incarnation) for n in range(8)]
    async with running_broker(database.dsn("setpoint_broker"), tmp_path / "second") as second:
        for n in range(8):
            await w.expire(Host(f"c{n}"))
        for n in range(8):
            await until_marked(w, f"c{n}")
        for one in (broker, second):
            assert (await one.get("/readyz", None)).status_code == 200
        wakes = [await w.wake(session) for session in sessions]
        assert all(wake is not None and wake["due"] for wake in wakes)
