"""A running stack under attack: by strangers, by a tenant, by tenant code, by a local account without rights.

Each bar is looked at from outside: documented answers, a log that goes on, daemons whose loops stay quick, other
tenants' work that goes on, and secrets that are only where they belong.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from migrations.admin import ensure_api_key, ensure_tenant
from migrations.door import Refused
from migrations.runner import migrate
from setpoint.client.api import Client
from setpoint.contracts.problem import Problem
from tests.acceptance.harness import World, gapless
from tests.acceptance.projects import asset, project

LAG_S_MAX = 0.1
NOBODY = 65534
HOSTILE = (
    r"printf '\377\376\000\033[2J\033]0;x\007\355\240\200'; head -c 20000 /dev/urandom; head -c 9000 /dev/zero >&2"
)


@pytest.fixture(scope="session")
def evil(stack: World) -> Iterator[Client]:
    """Give a client of another tenant of the same stack."""

    async def make() -> str:
        dsn = (stack.root / "secrets" / "setpoint_migrate.dsn").read_text()
        return await ensure_api_key(dsn, await ensure_tenant(dsn, "evil"), "evil")

    client = Client(stack.stack.server, stack.run(make()))
    yield client
    client.close()


def lags(stack: World) -> dict[str, float]:
    """Return the worst loop lag of every daemon in the last ten seconds."""
    found = {}
    for name, port in stack.stack.ports.items():
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=10).text
        found[name] = float(re.findall(r"^setpoint_loop_lag_seconds (\S+)$", text, re.MULTILINE)[0])
    return found


def test_hostile_output_breaks_neither_log_nor_neighbours(stack: World) -> None:
    session = stack.session("hostile-output")
    stack.apply(session, project(asset("a", sync=HOSTILE + "; "), asset("b", sync="head -c 40M /dev/zero")))
    stack.wait_ready(session)
    state = stack.tool(session, "exec", argv=["sh", "-c", HOSTILE])
    assert state["status"] == "succeeded"
    assert "\x00" not in json.dumps(state["result"], ensure_ascii=False)
    assert stack.tool(session, "exec", argv=["no\u202esuch\x1b[31m"])["status"] == "failed"
    events = stack.events(session)
    assert gapless(events)
    assert not [event for event in events if "quarantined" in event["type"] or event["type"] == "session.failed"]
    assert max(len(json.dumps(event["data"])) for event in events) < 64 * 1024
    for log in (stack.root / "logs").glob("*.log"):
        assert "\x1b" not in log.read_text(errors="strict"), log
    assert max(lags(stack).values()) < LAG_S_MAX, lags(stack)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("tool", {"name": "exec", "args": {"argv": ["echo", *["x" * 90_000] * 9]}}),
        ("tool", {"name": "exec", "args": {"argv": ["echo"] + ["a"] * 150_000}}),
        ("tool", {"name": "exec", "args": {"argv": ["x"], "timeout_s": 10**400}}),
        ("tool", {"name": "echo", "args": {"text": ["x"]}}),
        ("halt", {"reason": "r" * 500_000}),
        ("sync", {"select": [f"z{n}" for n in range(60_000)]}),
        ("evaluate", {"select": ["x" * 900_000]}),
        ("cancel", {"asset": "y" * 900_000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_payload_has_an_answer_and_no_effect(stack: World, kind: str, payload: dict[str, Any]) -> None:
    session = stack.api.create_session(None)["id"]
    try:
        accepted = stack.api.command(session, kind, payload)
    except Problem as problem:
        status = problem.kind.status
    else:
        status = 202
        assert stack.ended(session, accepted["command_id"])["status"] in ("rejected", "failed")
    assert status in (202, 400, 413, 422)
    assert stack.tool(session, "echo", text="alive")["status"] == "succeeded"
    assert gapless(stack.events(session))
    assert stack.assets(session) == {}


def test_another_tenants_session_cannot_be_read_or_moved(stack: World, evil: Client) -> None:
    session = stack.session("mine-alone")
    stack.apply(session, project(asset("a", sync="echo confidential")))
    stack.wait_ready(session)
    execution = stack.api.call("GET", f"/v1/sessions/{session}/executions")["items"][0]["id"]
    before = stack.api.session(session)["head_seq"]
    mine = evil.create_session("mine-alone")["id"]  # the same name, another session
    assert mine != session
    for path in ("", "/events", "/assets", "/assets/a", "/commands", "/executions", f"/executions/{execution}/output"):
        with pytest.raises(Problem) as refused:
            evil.call("GET", f"/v1/sessions/{session}{path}")
        assert refused.value.code == "not-found", path
    for execution_of in (session, mine):
        with pytest.raises(Problem) as refused:
            evil.call("GET", f"/v1/sessions/{execution_of}/executions/{execution}/output")
        assert refused.value.code == "not-found"
    with pytest.raises(Problem) as refused:
        evil.command(session, "close", {})
    assert refused.value.code == "not-found"
    assert stack.api.session(session)["head_seq"] == before


def test_a_tenants_sleeping_commands_leave_places_for_others(stack: World, evil: Client) -> None:
    sessions = [evil.create_session(None)["id"] for _ in range(8)]
    for session in sessions:
        for _ in range(8):
            evil.command(session, "tool", {"name": "exec", "args": {"argv": ["sleep", "40.75"], "timeout_s": 60}})
    began = time.monotonic()
    victim = stack.api.create_session(None)["id"]
    assert stack.tool(victim, "echo", text="hi")["status"] == "succeeded"
    assert time.monotonic() - began < 15, "another tenant had to wait for the sleepers"
    for session in sessions:
        evil.command(session, "close", {})
    stack.until(lambda: b"sleep\x0040.75" not in _command_lines(), "the sleepers are gone")


def _command_lines() -> bytes:
    found = b""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += place.read_bytes()
        except OSError:
            continue
    return found


def test_secrets_are_only_in_private_files(stack: World) -> None:
    secrets = {path.name: path.read_bytes().strip() for path in (stack.root / "secrets").iterdir()}
    wanted = {name: text for name, text in secrets.items() if not name.endswith(".dsn")}
    wanted["api.key"] = wanted["api.key"].rpartition(b"_")[2]
    tokens = list(stack.root.rglob("host.token"))
    assert len(tokens) == 3
    wanted |= {str(path): path.read_bytes().strip() for path in tokens}
    wanted["admin"] = (stack.root / "postgres" / "admin.password").read_bytes().strip()
    assert all(len(text) >= 20 for text in wanted.values())
    for path in stack.root.rglob("*"):
        if path.is_file() and any(text in _content(path) for text in wanted.values()):
            assert path.stat().st_mode & 0o777 == 0o600, path
            assert path.parent.name == "secrets" or path in tokens or path.name == "admin.password", path
    for place in (*Path("/proc").glob("[0-9]*/environ"), *Path("/proc").glob("[0-9]*/cmdline")):
        content = _content(place)
        assert not [name for name, text in wanted.items() if text in content], place


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another account")
def test_a_local_account_reads_writes_and_locks_nothing(stack: World) -> None:
    session = stack.session("open-modes")
    opened = "echo mine >mine; cp /bin/sh sh; chmod 7777 sh mine . || chmod 777 sh mine ."
    assert stack.tool(session, "exec", argv=["sh", "-c", opened])["status"] == "succeeded"
    places = [str(path) for path in (stack.root, *stack.root.rglob("*")) if not path.is_symlink()]
    script = (
        "import os, sys\n"
        "for path in sys.stdin.read().split('\\0'):\n"
        "    for how in (os.R_OK, os.W_OK):\n"
        "        if os.access(path, how): print(path)\n"
    )
    found = subprocess.run(
        ["/usr/bin/env", "python3", "-c", script],
        input="\0".join(places),
        capture_output=True,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    assert found.returncode == 0, found.stderr
    # The sandboxes' own /etc/passwd and /etc/group, link farms of programs that everybody may have, Postgres' port.
    assert [
        line for line in found.stdout.splitlines() if not re.search(r"/(etc|bin|marks|postgres/port)(/|$)", line)
    ] == []


def test_the_database_wants_a_password(stack: World) -> None:
    port = stack.stack.facts()["processes"]["postgres"]["port"]
    for role in ("setpoint_admin", "setpoint_migrate", "postgres", "setpoint_fn"):
        with pytest.raises(Refused):
            asyncio.run(migrate(f"postgresql://{role}:wrong@127.0.0.1:{port}/setpoint"))


def test_idle_and_half_open_connections_hold_nobody_up(stack: World) -> None:
    port = stack.stack.ports["gateway"]
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    try:
        key = stack.stack.api_key
        session = stack.session("half-open")
        for number, link in enumerate(held):
            if number % 3 == 0:
                link.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nX: ")
            elif number % 3 == 1:
                link.sendall(
                    f"GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
                    "Accept: text/event-stream\r\nLast-Event-ID: 0\r\n\r\n".encode()
                )
        began = time.monotonic()
        assert stack.tool(session, "echo", text="alive")["status"] == "succeeded"
        assert time.monotonic() - began < 10
    finally:
        for link in held:
            link.close()
    assert max(lags(stack).values()) < LAG_S_MAX, lags(stack)
