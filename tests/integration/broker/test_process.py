"""The broker as a process: settings, its key and state directory, start without a database, and its end."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrations import door
from setpoint import runtime
from setpoint.contracts import grant
from tests.conftest import PgDatabase
from tests.integration.broker.conftest import NewHost
from tests.integration.broker.harness import (
    JOIN_TOKEN,
    Broker,
    ask_to_join,
    code_of,
    join_of,
    raw,
    running_broker,
    settings,
    spawn_broker,
)


async def test_all_faults_of_the_settings_are_said_at_once(tmp_path: Path) -> None:
    wrong = {
        "PATH": "/usr/bin",
        "SETPOINT_LISTEN": "0.0.0.0:80",
        "SETPOINT_STATE_DIR": "/proc/no/such",
        "SETPOINT_JOIN_TOKEN": "short",
        "SETPOINT_OPERATOR_KEY_FILE": str(tmp_path / "absent"),
    }
    process = await spawn_broker(wrong)
    assert await process.end() == 2
    faults = [line.removeprefix("setpoint-broker: ") for line in process.raw]
    assert len(faults) == 5
    for name in ("LISTEN", "STATE_DIR", "JOIN_TOKEN has", "OPERATOR_KEY_FILE", "DATABASE_URL"):
        assert any(f"SETPOINT_{name}" in fault for fault in faults), (name, faults)


async def test_a_state_directory_has_one_broker(broker: Broker, database: PgDatabase) -> None:
    second = await spawn_broker(settings(database.dsn("setpoint_broker"), broker.state_dir))
    assert await second.end() == 1
    said = await second.said("broker cannot work here")
    assert "in use by another broker" in said["why"]
    assert not any("Traceback" in line for line in second.raw)


async def test_the_key_is_private_and_stays_the_same(database: PgDatabase, tmp_path: Path) -> None:
    kids = []
    for _ in range(2):
        async with running_broker(database.dsn("setpoint_broker"), tmp_path / "state") as running:
            assert (running.state_dir / "broker.key").stat().st_mode & 0o777 == 0o600
            kids.append([key["kid"] for key in (await running.get("/.well-known/jwks.json", None)).json()["keys"]])
    assert len(kids[0]) == 1
    assert kids[0] == kids[1]


@pytest.mark.parametrize("fault", ["readable", "garbage"])
async def test_a_key_that_cannot_be_trusted_is_refused(database: PgDatabase, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "broker.key"
    path.write_bytes(bytes(32 if fault == "readable" else 31))
    path.chmod(0o644 if fault == "readable" else 0o600)
    process = await spawn_broker(settings(database.dsn("setpoint_broker"), tmp_path))
    assert await process.end() == 1
    assert "broker.key" in (await process.said("broker cannot work here"))["why"]


async def test_a_wrong_role_is_refused_in_one_line(database: PgDatabase, tmp_path: Path) -> None:
    process = await spawn_broker(settings(database.dsn("setpoint_celld"), tmp_path))
    assert await process.end() == 1
    assert "setpoint_broker" in (await process.said("broker cannot work here"))["why"]


async def test_it_waits_for_a_database_and_says_so(tmp_path: Path, new_host: NewHost) -> None:
    broker = await spawn_broker(settings("postgresql://setpoint_broker:x@127.0.0.1:9/none", tmp_path / "state"))
    try:
        broker.port = (await broker.said("broker listens"))["port"]
        await broker.said("database cannot be reached")
        assert (await broker.get("/healthz", None)).status_code == 200
        for path in ("/readyz", "/v1/hosts", "/.well-known/jwks.json"):
            answer = await broker.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
        host = new_host("c1", "cell")
        assert code_of(await ask_to_join(broker, host, join_token=JOIN_TOKEN)) == "unavailable"
    finally:
        await broker.kill()


async def test_before_it_has_read_the_keys_it_calls_no_host_token_wrong(tmp_path: Path, new_host: NewHost) -> None:
    broker = await spawn_broker(settings("postgresql://setpoint_broker:x@127.0.0.1:9/none", tmp_path / "state"))
    try:
        broker.port = (await broker.said("broker listens"))["port"]
        host, other = new_host("c1", "cell"), Ed25519PrivateKey.generate()
        host.host_token = grant.sign_host_token(
            other, "0" * 16, host="c1", role="cell", host_key=host.public_key, now_s=runtime.now_s()
        )
        assert code_of(await ask_to_join(broker, host)) == "unavailable"
    finally:
        await broker.kill()


async def test_it_survives_the_loss_of_its_connections(broker: Broker, database: PgDatabase) -> None:
    async with door.connect(database.admin_dsn) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'setpoint_broker'"
        )
    assert (await broker.get("/v1/hosts")).status_code == 200
    await broker.ready()


async def test_it_ends_cleanly_with_links_open(broker: Broker, new_host: NewHost) -> None:
    host = new_host("g1", "gateway")
    async with raw(broker, host.headers("broker")) as link:
        assert code_of(await link.ask(join_of(host, join_token=JOIN_TOKEN))) == "Welcome"
        broker.signal(signal.SIGTERM)
        assert await link.next() is None
        assert await broker.end() == 0
    assert not any("Traceback" in line for line in broker.raw)
    with pytest.raises(httpx.ConnectError):
        await broker.get("/healthz")
