"""The links to cell hosts: commands are told at once, moved heads wake streams, output of a running step is relayed."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from setpoint import runtime
from setpoint import web as shared
from setpoint.contracts import grant, hint
from setpoint.contracts.reply import OutputIs, Refused
from setpoint.identity import Identity
from tests.integration.gateway.owner import Owner, own
from tests.integration.gateway.served import WAIT_S, Gateway, Tenant, new_tenant
from tests.integration.gateway.test_events import seqs, stream
from tests.integration.protocol.world import World, new_id, world


@dataclass
class CellHost:
    """The server side of a cell host's link, speaking its protocol: it keeps pokes and answers with what it is told."""

    identity: Identity
    pokes: asyncio.Queue[hint.Poke] = field(default_factory=asyncio.Queue)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    peers: list[shared.Peer] = field(default_factory=list)
    printed: bytes = b""
    refuses: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        return await shared.serve_link(
            request,
            frames=hint.ToCelld,
            on_frame=self._on_frame,
            check=self.identity.check_peer,
            on_open=self._opened,
        )

    def _opened(self, peer: shared.Peer) -> None:
        assert peer.claims is not None
        assert peer.claims.role == "gateway"
        self.peers.append(peer)
        self.opened.set()

    async def _on_frame(self, peer: shared.Peer, frame: hint.ToCelld) -> None:
        if isinstance(frame, hint.Poke):
            self.pokes.put_nowait(frame)
            return
        if self.refuses:
            peer.send(Refused(frame.id, self.refuses, "no"))
            return
        part = self.printed[frame.offset : frame.offset + min(frame.limit, 1000)]
        end = frame.offset + len(part)
        peer.send(OutputIs(frame.id, part, end, eof=end == len(self.printed)))


@dataclass
class Linked:
    """A gateway that is linked to one cell host, and a session that this host owns."""

    api: httpx.AsyncClient
    host: CellHost
    owner: Owner
    session: str
    tenant: Tenant
    gateway: Gateway


@pytest.fixture
async def linked(database: Any, tmp_path: Path) -> AsyncIterator[Linked]:
    broker_key = Ed25519PrivateKey.generate()
    keys = {"k1": grant.public_text(broker_key)}
    cell = _admitted(tmp_path / "cell", "cell-1", "cell", broker_key, keys)
    _admitted(tmp_path / "gateway", "gateway-1", "gateway", broker_key, keys)
    host = CellHost(cell)
    app = web.Application()
    app.router.add_get("/link", host.serve)
    async with contextlib.AsyncExitStack() as stack:
        runner, port = await shared.serve_app(app, "127.0.0.1", 0)
        stack.push_async_callback(runner.cleanup)
        tenant = await new_tenant(database.dsn("setpoint_migrate"), "ours")
        gateway = Gateway(tmp_path, database.dsn("setpoint_gateway"), {"SETPOINT_HOST_ID": "gateway-1"})
        stack.callback(gateway.stop)
        url = f"http://127.0.0.1:{await asyncio.to_thread(gateway.port)}"
        headers = {"Authorization": f"Bearer {tenant.key}"}
        api = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False)
        )
        w: World = await stack.enter_async_context(world(database))
        row = await w.celld.fetchrow(
            "SELECT * FROM setpoint.host_register($1, $2, $3, $4, '{}', interval '60 s')",
            *("cell-1", cell.incarnation, f"127.0.0.1:{port}", b"key"),
        )
        assert row is not None
        async with asyncio.timeout(WAIT_S):
            await host.opened.wait()
        session = (await api.post("/v1/sessions", json={})).json()["id"]
        owner = await own(w, tenant, session, as_host=("cell-1", cell.incarnation))
        yield Linked(api, host, owner, session, tenant, gateway)


def _admitted(directory: Path, name: str, role: hint.Role, key: Ed25519PrivateKey, keys: dict[str, str]) -> Identity:
    """Give a host what a broker gives it on admission, on its disk."""
    identity = Identity(directory, name, role)
    now_s = runtime.now_s()
    token = grant.sign_host_token(key, "k1", host=name, role=role, host_key=identity.public_key, now_s=now_s)
    identity.learn(host_token=token, keys=keys)
    return identity


async def test_new_sessions_and_commands_are_told_at_once(linked: Linked) -> None:
    async with asyncio.timeout(WAIT_S):
        assert await linked.host.pokes.get() == hint.Poke(linked.tenant.id, linked.session)
        answer = await linked.api.post(f"/v1/sessions/{linked.session}/commands", json={"type": "halt"})
        assert answer.status_code == 202
        assert await linked.host.pokes.get() == hint.Poke(linked.tenant.id, linked.session)


async def test_a_moved_head_wakes_a_stream(linked: Linked) -> None:
    async with stream(linked.api, linked.session) as source:
        assert await seqs(source, 2) == [1, 2]
        head = await linked.owner.numbers(3)
        linked.host.peers[-1].send(hint.Moved(((linked.tenant.id, linked.session, head),)))
        assert await seqs(source, 3) == [3, 4, 5]


async def test_a_lost_hint_costs_a_poll(linked: Linked) -> None:
    async with stream(linked.api, linked.session) as source:
        assert await seqs(source, 2) == [1, 2]
        await linked.owner.numbers(1)
        assert await seqs(source, 1) == [3]


async def test_output_of_a_running_step_is_relayed(linked: Linked) -> None:
    execution = new_id()
    await linked.owner.write({"type": "tool.started", "execution_id": execution, "data": {"name": "exec"}})
    linked.host.printed = bytes(range(250)) * 10
    path = f"/v1/sessions/{linked.session}/executions/{execution}/output"
    part = await linked.api.get(path, params={"offset": 500})
    assert part.content == linked.host.printed[500:1500]
    assert (part.headers["Setpoint-Next-Offset"], part.headers["Setpoint-Eof"]) == ("1500", "false")
    followed = await linked.api.get(path, params={"follow": "true", "offset": 10})
    assert followed.content == linked.host.printed[10:]
    linked.host.refuses = "unknown-run"
    nothing_yet = await linked.api.get(path)
    assert (nothing_yet.content, nothing_yet.headers["Setpoint-Eof"]) == (b"", "false")
    linked.host.refuses = "invalid"
    assert (await linked.api.get(path)).status_code == 503


async def test_a_host_that_comes_back_is_linked_again(linked: Linked) -> None:
    linked.host.opened.clear()
    linked.host.peers[-1].close()
    async with asyncio.timeout(WAIT_S):
        await linked.host.opened.wait()
        while not linked.host.pokes.empty():
            linked.host.pokes.get_nowait()
        key = {"Idempotency-Key": uuid.uuid4().hex}
        await linked.api.post(f"/v1/sessions/{linked.session}/commands", json={"type": "halt"}, headers=key)
        assert (await linked.host.pokes.get()).session == linked.session
