"""The gateway as a process: settings, start without a database, outage and recovery, failpoints, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.store.database import DATABASE_S_MAX
from tests.integration.gateway.owner import own
from tests.integration.gateway.served import WAIT_S, Gateway, Tenant, new_tenant, problem, soon
from tests.integration.gateway.test_events import seqs, stream
from tests.integration.protocol.world import Session, world
from tests.wire import Wire, wired

TOOL = {"type": "tool", "payload": {"name": "echo", "args": {"text": "hi"}}}


@pytest.fixture
async def tenant(database: Any) -> Tenant:
    return await new_tenant(database.dsn("setpoint_migrate"), "ours")


@contextlib.asynccontextmanager
async def serving(
    root: Path, dsn: str, tenant: Tenant, **environment: str
) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    gateway = Gateway(root, dsn, environment)
    try:
        url = f"http://127.0.0.1:{await asyncio.to_thread(gateway.port)}"
        headers = {"Authorization": f"Bearer {tenant.key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False) as api:
            yield gateway, api
    finally:
        await asyncio.to_thread(gateway.stop)


def test_all_faults_of_the_settings_are_said_at_once(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "SETPOINT_LISTEN": "0.0.0.0:80",
        "SETPOINT_BROKERS": "127.0.0.1:1,nonsense",
        "SETPOINT_OBJECTS": "s3://bucket",
        "SETPOINT_STATE_DIR": str(tmp_path),
        "SETPOINT_JOIN_TOKEN_FILE": str(tmp_path / "absent"),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway"], env=environment, capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 2, done.stderr
    for word in ("SETPOINT_DATABASE_URL", "SETPOINT_LISTEN", "nonsense", "s3://bucket", "SETPOINT_JOIN_TOKEN_FILE"):
        assert word in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


async def test_a_database_of_another_role_is_refused(database: Any, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, database.dsn("setpoint_celld"))
    code = await asyncio.to_thread(gateway.process.wait, WAIT_S)
    gateway.stop()
    assert code == 1
    assert any("setpoint_gateway" in line for line in gateway.log)


async def test_it_serves_problems_without_a_database_and_recovers(
    database: Any, tmp_path: Path, tenant: Tenant
) -> None:
    async with wired(database.dsn("setpoint_gateway")) as (wire, dsn):
        wire.cut()
        async with serving(tmp_path, dsn, tenant) as (_, api):
            assert (await api.get("/healthz")).status_code == 200
            problem(await api.get("/readyz"), 503, "unavailable")
            answer = await api.get("/v1/sessions")
            problem(answer, 503, "unavailable")
            assert answer.headers["Retry-After"] == "1"
            wire.heal()

            async def ready() -> bool:
                return (await api.get("/readyz")).status_code == 200

            await soon(ready, "the gateway is ready")
            assert (await api.post("/v1/sessions", json={})).status_code == 201


async def test_a_frozen_database_is_a_503_in_time_and_nothing_is_done_twice(
    database: Any, tmp_path: Path, tenant: Tenant
) -> None:
    async with (
        wired(database.dsn("setpoint_gateway")) as (wire, dsn),
        serving(tmp_path, dsn, tenant) as (_, api),
    ):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        path, key = f"/v1/sessions/{session}/commands", {"Idempotency-Key": "once"}
        wire.stall()
        began = time.monotonic()
        answers = await asyncio.gather(*(api.post(path, json=TOOL, headers=key) for _ in range(12)), api.get(path))
        took_s = time.monotonic() - began
        for answer in answers:
            problem(answer, 503, "unavailable")
        assert took_s < 3 * DATABASE_S_MAX + 1, "one bound for the key, one for the session, one for the command"
        assert (await api.get("/healthz")).status_code == 200
        wire.heal()

        async def queued() -> Any:
            answer = await api.post(path, json=TOOL, headers=key)
            return answer if answer.status_code == 202 else None

        await soon(queued, "the command is queued")
        assert len((await api.get(path)).json()["items"]) == 1


async def test_cut_connections_are_made_again_and_streams_go_on(database: Any, tmp_path: Path, tenant: Tenant) -> None:
    async with (
        wired(database.dsn("setpoint_gateway")) as (wire, dsn),
        serving(tmp_path, dsn, tenant) as (_, api),
        world(database) as w,
    ):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        owner = await own(w, tenant, session)
        async with stream(api, session) as source:
            assert await seqs(source, 2) == [1, 2]
            wire.cut()
            await owner.numbers(3)
            problem(await api.get("/readyz"), 503, "unavailable")
            wire.heal()
            assert await seqs(source, 3) == [3, 4, 5]
        assert (await api.get(f"/v1/sessions/{session}")).status_code == 200


async def test_a_lost_answer_to_an_enqueue_is_asked_for_again(database: Any, tmp_path: Path, tenant: Tenant) -> None:
    """The server has committed, the answer is cut off: the same call is repeated and finds its own command."""
    async with (
        wired(database.dsn("setpoint_gateway")) as (wire, dsn),
        serving(tmp_path, dsn, tenant) as (_, api),
        world(database) as w,
    ):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        path = f"/v1/sessions/{session}/commands"
        async with w.holding_head(Session(tenant.id, session, "")):
            posting = asyncio.create_task(api.post(path, json=TOOL))
            await w.until_waiting(1)
            wire.stall()
        await _until_queued(w, session)
        _cut_for_a_moment(wire)
        answer = await posting
        assert answer.status_code == 202, answer.text
        assert "Idempotency-Replayed" not in answer.headers
        items = (await api.get(path)).json()["items"]
        assert [item["command_id"] for item in items] == [answer.json()["command_id"]]
        assert answer.json()["inbox_seq"] == 1


async def _until_queued(w: Any, session: str) -> None:
    async def queued() -> bool:
        sql = "SELECT count(*) FROM setpoint.command_inbox WHERE session_id = $1"
        return bool(await w.all_seeing.fetchval(sql, session))

    await soon(queued, "the command is committed")


def _cut_for_a_moment(wire: Wire) -> None:
    wire.cut()
    wire.heal()


async def test_killed_after_the_commit_the_same_key_finds_the_first_command(
    database: Any, tmp_path: Path, tenant: Tenant
) -> None:
    dsn, key = database.dsn("setpoint_gateway"), {"Idempotency-Key": "once"}
    armed = {"SETPOINT_FAILPOINTS": "gateway.enqueue.after=kill"}
    async with serving(tmp_path, dsn, tenant, **armed) as (gateway, api):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        path = f"/v1/sessions/{session}/commands"
        assert (await api.get("/healthz")).json()["failpoints"] == ["gateway.enqueue.after"]
        with pytest.raises(httpx.TransportError):
            await api.post(path, json=TOOL, headers=key)
        assert await asyncio.to_thread(gateway.process.wait, WAIT_S) < 0
    async with serving(tmp_path, dsn, tenant) as (_, api):
        again = await api.post(path, json=TOOL, headers=key)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert len((await api.get(path)).json()["items"]) == 1


async def test_killed_before_the_commit_nothing_was_done(database: Any, tmp_path: Path, tenant: Tenant) -> None:
    dsn, armed = database.dsn("setpoint_gateway"), {"SETPOINT_FAILPOINTS": "gateway.enqueue.before=kill"}
    async with serving(tmp_path, dsn, tenant, **armed) as (_, api):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        with pytest.raises(httpx.TransportError):
            await api.post(f"/v1/sessions/{session}/commands", json=TOOL)
    async with serving(tmp_path, dsn, tenant) as (_, api):
        assert (await api.get(f"/v1/sessions/{session}/commands")).json()["items"] == []


async def test_a_stopped_gateway_ends_its_streams_and_exits_with_0(
    database: Any, tmp_path: Path, tenant: Tenant
) -> None:
    async with serving(tmp_path, database.dsn("setpoint_gateway"), tenant) as (gateway, api):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        async with stream(api, session) as source:
            assert await seqs(source, 1) == [1]
            began = time.monotonic()
            gateway.process.terminate()
            with pytest.raises((StopAsyncIteration, httpx.RemoteProtocolError)):
                await anext(source)
        assert await asyncio.to_thread(gateway.process.wait, WAIT_S) == 0, gateway.log
        assert time.monotonic() - began < 5


async def test_a_reader_that_does_not_read_holds_nobody_up(database: Any, tmp_path: Path, tenant: Tenant) -> None:
    async with (
        serving(tmp_path, database.dsn("setpoint_gateway"), tenant) as (_, api),
        world(database) as w,
    ):
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        owner = await own(w, tenant, session)
        await owner.numbers(10)
        async with stream(api, session) as idle, stream(api, session) as source:
            assert await seqs(source, 12) == list(range(1, 13))
            for _ in range(10):
                await owner.write(*({"type": "asset.ready", "data": {"x": "y" * 30_000}} for _ in range(20)))
            assert await seqs(source, 200) == list(range(13, 213))
            assert await seqs(idle, 12) == list(range(1, 13))
