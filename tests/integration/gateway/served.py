"""A gateway as a real process on a real database, and a stand-in for the cell host behind it.

The stand-in writes what an owner would, through the functions an owner has, as the role it has: nothing is mocked, but
no cell decides anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from migrations import admin
from tests.measured import measured

WAIT_S = 20.0


@dataclass(frozen=True)
class Tenant:
    """A tenant with a key of its own."""

    id: str
    name: str
    key: str


async def new_tenant(dsn: str, name: str) -> Tenant:
    """Make a tenant and a key, as the operator does."""
    tenant_id = await admin.ensure_tenant(dsn, name)
    return Tenant(tenant_id, name, await admin.ensure_api_key(dsn, tenant_id, "test"))


class Gateway:
    """A running ``python -m gateway``. ``stop`` ends it; its log is kept for messages."""

    def __init__(self, root: Path, dsn: str, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        chosen = {
            "PATH": os.environ["PATH"],
            "SETPOINT_DATABASE_URL": dsn,
            "SETPOINT_LISTEN": "127.0.0.1:0",
            "SETPOINT_STATE_DIR": str(root / "gateway"),
            "SETPOINT_OBJECTS": str(root / "objects"),
            "SETPOINT_LOG_FORMAT": "json",
            **(environment or {}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway"],
            env=measured() | chosen,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode(errors="replace")
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def port(self) -> int:
        """Wait until it listens and return its port."""
        while True:
            line = self._lines.get(timeout=WAIT_S)
            assert line is not None, f"the gateway ended: {''.join(self.log)}"
            found = re.search(r'"port": (\d+)', line)
            if found and "gateway listens" in line:
                return int(found[1])

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code; one that does not end in time is killed and fails."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway did not stop: {''.join(self.log[-20:])}") from None
        self._reader.join(timeout=WAIT_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code


@dataclass(frozen=True)
class Served:
    """A gateway that serves two tenants."""

    gateway: Gateway
    url: str
    database: Any
    ours: Tenant
    theirs: Tenant

    def client(self, tenant: Tenant | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client of one tenant (default: ours)."""
        key = (tenant or self.ours).key
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {key}", **headers}, timeout=WAIT_S, trust_env=False
        )

    async def loop_lag_s(self) -> float:
        """Return the worst loop lag of the last ten seconds."""
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, trust_env=False) as anybody:
            text = (await anybody.get("/metrics")).text
        found = re.search(r"^setpoint_loop_lag_seconds (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem and return its document."""
    said = f"{answer.status_code} {answer.text[:500]}"
    assert answer.status_code == status, said
    assert answer.headers["Content-Type"].startswith("application/problem+json"), said
    document: dict[str, Any] = json.loads(answer.content)
    assert document["code"] == code, said
    assert document["request_id"] == answer.headers["Setpoint-Request-Id"]
    assert document["status"] == status
    return document


async def soon(holds: Any, what: str) -> Any:
    """Return the first true value of an async function; each look is a round trip, the bound is what fails."""
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                value = await holds()
                if value:
                    return value
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None
