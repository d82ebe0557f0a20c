"""The gateway and a real broker: admission with a join token, kept on disk; without the broker nothing is missing."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from setpoint.identity import Identity
from tests.integration.gateway.served import WAIT_S, Gateway, new_tenant, soon

JOIN = "a-join-token-of-this-test"


@pytest.fixture
def broker(database: Any, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        "PATH": os.environ["PATH"],
        "SETPOINT_DATABASE_URL": database.dsn("setpoint_broker"),
        "SETPOINT_LISTEN": address,
        "SETPOINT_STATE_DIR": str(tmp_path / "broker"),
        "SETPOINT_JOIN_TOKEN": JOIN,
        "SETPOINT_OPERATOR_KEY": "an-operator-key-of-this-test",
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "broker"], env=environment, stderr=subprocess.DEVNULL)
    yield process, address
    process.kill()
    process.wait()


async def test_a_gateway_is_admitted_and_works_on_without_the_broker(
    database: Any, tmp_path: Path, broker: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, address = broker
    tenant = await new_tenant(database.dsn("setpoint_migrate"), "ours")
    settings = {"SETPOINT_BROKERS": address, "SETPOINT_JOIN_TOKEN": JOIN, "SETPOINT_HOST_ID": "gateway-1"}
    gateway = Gateway(tmp_path, database.dsn("setpoint_gateway"), settings)
    try:
        url = f"http://127.0.0.1:{await asyncio.to_thread(gateway.port)}"

        async def admitted() -> bool:
            return await asyncio.to_thread((tmp_path / "gateway" / "host.token").exists)

        await soon(admitted, "the gateway is admitted")
        identity = Identity(tmp_path / "gateway", "gateway-1", "gateway")
        assert identity.host_token
        assert identity.keys
        headers = {"Authorization": f"Bearer {tenant.key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False) as api:
            assert (await api.post("/v1/sessions", json={})).status_code == 201
            process.kill()
            process.wait()
            made = await api.post("/v1/sessions", json={})
            assert made.status_code == 201
            path = f"/v1/sessions/{made.json()['id']}/commands"
            assert (await api.post(path, json={"type": "halt"})).status_code == 202
            assert (await api.get("/readyz")).status_code == 200
    finally:
        assert await asyncio.to_thread(gateway.stop) == 0
