"""What gateways and supervisors see of a cell host: pokes, moved heads, output, health, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from setpoint.brokerlink import BrokerLink
from setpoint.contracts import hint
from setpoint.contracts.run import OutputIs, Refused
from setpoint.identity import Identity
from setpoint.link import LinkClient
from tests.integration.celld.harness import JOIN_TOKEN, Celld, World, until


class FakeGateway:
    """The gateway's end of a link, with all that came over it."""

    def __init__(self, identity: Identity, celld: Celld) -> None:
        self.moved: dict[str, int] = {}
        self.up, self.down, self.grew = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.link = LinkClient(
            url=lambda: f"ws://{celld.address}/link",
            headers=lambda: identity.headers(celld.host),
            replies=hint.FromCelld,
            on_push=self._pushed,
            on_up=self.up.set,
            on_down=self.down.set,
        )

    def _pushed(self, frame: Any) -> None:
        assert isinstance(frame, hint.Moved)
        self.moved |= {session: seq for _, session, seq in frame.heads}
        self.grew.set()


@contextlib.asynccontextmanager
async def gateway(w: World, celld: Celld, role: Any = "gateway") -> AsyncIterator[FakeGateway]:
    fake = FakeGateway(w.identity(w.root / f"fake-{role}", "gate-a", role), celld)
    task = asyncio.create_task(fake.link.run())
    try:
        yield fake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_poke_is_acted_on_at_once_and_moved_heads_are_told(w: World) -> None:
    celld = await w.celld()
    async with gateway(w, celld) as fake, asyncio.timeout(20):
        await fake.up.wait()
        session = await w.create()
        fake.link.send(hint.Poke(session.tenant, session.id))
        await w.event(session, "session.started")
        took = []
        for n in range(8):
            command = await w.enqueue(session, "unhalt" if n % 2 else "halt", {}, lane=0)
            before = time.monotonic()
            fake.link.send(hint.Poke(session.tenant, session.id))
            await w.ended(command)
            took.append(time.monotonic() - before)
        assert sorted(took)[4] < 0.5, "a poll alone would take half a second and more"
        head = (await w.head(session))["head_seq"]
        while fake.moved.get(session.id) != head:
            fake.grew.clear()
            await fake.grew.wait()


async def test_output_is_relayed_from_the_sandbox_host(w: World) -> None:
    await w.broker()
    await w.sandboxd()
    celld = await w.celld(admitted=False)
    await celld.said("celld serves")
    session = await w.create()
    command = await w.enqueue(session, "tool", {"name": "echo", "args": {"text": "x" * 9000}})
    await w.ended(command)
    run_id = (await w.event(session, "tool.started"))["execution_id"]
    fake_identity = await _admitted_gateway(w)
    fake = FakeGateway(fake_identity, celld)
    task = asyncio.create_task(fake.link.run())
    async with asyncio.timeout(20):
        await fake.up.wait()

        async def read(run: str, offset: int) -> Any:
            frame = hint.ReadSessionOutput(
                fake.link.next_id(), session.tenant, session.id, run, 0, "stdout", offset, 6000
            )
            return await fake.link.request(frame, 5.0)

        first = await read(run_id, 0)
        assert isinstance(first, OutputIs) and (len(first.content), first.eof) == (6000, False)
        rest = await read(run_id, first.next_offset)
        assert isinstance(rest, OutputIs) and (len(rest.content), rest.eof) == (3000, True)
        unknown = await read("01a00000-0000-8000-8000-000000000000", 0)
        assert isinstance(unknown, Refused) and unknown.code == "unknown-run"
        other = hint.ReadSessionOutput(fake.link.next_id(), session.tenant, "nobody", run_id, 0, "stdout", 0, 10)
        assert isinstance(await fake.link.request(other, 5.0), Refused)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _admitted_gateway(w: World) -> Identity:
    """Have the broker of this world admit a gateway."""
    identity = Identity(w.root / "gate", "gate-a", "gateway")
    broker = BrokerLink(identity, [w.broker_address], join_token=JOIN_TOKEN)
    task = asyncio.create_task(broker.run())
    async with asyncio.timeout(20):
        await broker.admitted.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return identity


@pytest.mark.parametrize("role", ["cell", "sandbox"])
async def test_only_gateways_get_a_link(w: World, role: str) -> None:
    celld = await w.celld()
    async with gateway(w, celld, role) as fake:

        async def refused() -> bool:
            return fake.link.refused_status == 401

        await until(refused, "the link is refused")
        assert not fake.up.is_set()


async def test_a_host_that_no_broker_knows_yet_says_what_it_waits_for(w: World) -> None:
    celld = await w.celld(admitted=False)
    assert (await celld.said("celld waits"))["for_"] == "admission by a broker"
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        ready = await http.get(f"http://{celld.address}/readyz")
        health = await http.get(f"http://{celld.address}/healthz")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert "admission by a broker" in ready.json()["detail"]
    before = time.monotonic()
    assert await celld.kill(signal.SIGTERM) == 0
    assert time.monotonic() - before < 5.0


async def test_health_and_metrics_of_a_serving_host(w: World) -> None:
    celld = await w.celld(SETPOINT_FAILPOINTS="celld.commit.after=error@1000000")
    session = await w.create()
    await w.event(session, "session.started")
    health = await celld.health()
    assert (health["host"], health["role"], health["sessions"]) == ("cell-a", "cell", 1)
    assert health["failpoints"] == ["celld.commit.after"]
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        metrics = (await http.get(f"http://{celld.address}/metrics")).text
    for name in ("setpoint_loop_lag_seconds", "setpoint_celld_sessions 1.0", "setpoint_celld_events_total"):
        assert name in metrics


async def test_a_second_host_on_the_same_directory_does_not_start(w: World) -> None:
    first = await w.celld()
    child = await w.spawn("celld", w.environment("cell-a", "setpoint_celld", first.state_dir))
    _, said = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 1 and b"another celld uses" in said


async def test_bad_settings_are_all_said_and_end_with_two(w: World) -> None:
    child = await w.spawn("celld", {"SETPOINT_STATE_DIR": str(w.root), "SETPOINT_LISTEN": "0.0.0.0:1"})
    _, said = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 2
    assert b"SETPOINT_DATABASE_URL" in said and b"SETPOINT_LISTEN" in said and b"Traceback" not in said


async def test_the_zygote_and_its_cells_hold_no_secret(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    cell = celld.cells()[session.id]
    for pid in (cell, int(Path(f"/proc/{cell}/stat").read_text().rpartition(")")[2].split()[1])):
        memory = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"SETPOINT" not in memory and b"postgresql://" not in memory
    descriptors = sorted(int(one.name) for one in Path(f"/proc/{cell}/fd").iterdir())
    assert descriptors == [0, 1, 2, 3]
    assert len(list(Path(f"/proc/{cell}/task").iterdir())) == 1
