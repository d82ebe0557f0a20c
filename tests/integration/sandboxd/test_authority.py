"""Who is let in, for what, and how old a clock token may be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from setpoint import runtime
from setpoint.contracts import limits, run
from tests.integration.sandboxd.harness import Cell, Sandboxd, cell, tool


async def test_only_a_cell_host_with_a_token_and_a_fresh_proof_gets_a_link(host: Sandboxd) -> None:
    good = Cell(host)
    stranger = Cell(host)
    stranger.host = Sandboxd()  # whose broker key this host does not know
    gateway = Cell(host)
    gateway.role = "gateway"
    thief = {**Cell(host)._headers(), "Authorization": good._headers()["Authorization"]}
    cases: list[dict[str, str]] = [{}, stranger._headers(), gateway._headers(), thief, {"Authorization": "Bearer x"}]
    stranger.host.close()
    for headers in cases:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{host.port}/link", additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == 401


async def test_a_frame_that_is_none_closes_the_link_and_harms_nobody(host: Sandboxd) -> None:
    headers = Cell(host)._headers()
    async with connect(f"ws://127.0.0.1:{host.port}/link", additional_headers=headers, proxy=None) as socket:
        await socket.send(b"\xc1garbage")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    async with cell(host) as peer:
        assert await peer.says("echo fine") == "fine\n"


async def test_a_grant_binds_tenant_session_epoch_host_and_issuer(host: Sandboxd) -> None:
    async with cell(host) as peer, cell(host, "cell-2") as other:
        spec = peer.spec(tool("true"))
        bad = [
            peer.grant(session=runtime.new_id()),
            peer.grant(epoch=(1, 2)),
            peer.grant(tenant=runtime.new_id()),
            peer.grant(sandbox_host="sbx-2"),
            peer.grant(now_s=runtime.now_s() - limits.GRANT_S - limits.CLOCK_LEEWAY_S - 5),
            other.grant(session=peer.session),
            "garbage",
        ]
        for text in bad:
            answer = await peer.start(spec, text=text)
            assert isinstance(answer, run.Refused) and answer.code == "bad-grant", (text, answer)
            frame = run.Fence(peer.link.next_id(), text, peer.session, (1, 1))
            answer = await peer.ask(frame)
            assert text == bad[2] or answer.code == "bad-grant"
        assert (await peer.fence()).runs == {}


async def test_a_session_stays_with_its_tenant(host: Sandboxd) -> None:
    async with cell(host) as peer, cell(host, "cell-2") as other:
        await peer.once("true")
        run_id = peer.pushed[-1].run_id
        other.tenant, other.session, other.epoch = runtime.new_id(), peer.session, (9, 9)
        for answer in (await other.fence(), await other.attach(run_id), await other.output(run_id)):
            assert answer.code == "bad-grant"
        assert isinstance(await peer.fence(), run.Fenced), "the floor was not raised"


async def test_nothing_of_an_older_epoch_is_done_after_a_fence(host: Sandboxd) -> None:
    async with cell(host) as peer:
        first = await peer.fence((2, 5))
        assert isinstance(first, run.Fenced)
        for epoch in ((2, 4), (1, 99)):
            peer.epoch = epoch
            answers: list[Any] = [
                await peer.fence(),
                await peer.start(peer.spec(tool("touch", "no"))),
                await peer.materialize(),
                await peer.cancel(runtime.new_id()),
                await peer.attach(runtime.new_id()),
            ]
            assert [answer.code for answer in answers] == ["stale-epoch"] * 5
        assert isinstance(await peer.fence((2, 5)), run.Fenced), "the same epoch again is fine"
        assert await peer.says("ls") == ""


async def test_a_start_under_a_newer_epoch_raises_the_floor(host: Sandboxd) -> None:
    async with cell(host) as peer:
        peer.epoch = (1, 7)
        assert (await peer.once("true")).ok
        assert (await peer.fence((1, 6))).code == "stale-epoch"


async def test_a_clock_token_must_be_fresh_and_of_this_boot_ledger_and_process(host: Sandboxd) -> None:
    async with cell(host) as peer:
        now = await peer.token()
        wrong = [
            msgspec.structs.replace(now, boot_id=runtime.new_id()),
            msgspec.structs.replace(now, ledger_id=runtime.new_id()),
            msgspec.structs.replace(now, incarnation=runtime.new_id()),
            msgspec.structs.replace(now, clock_s=now.clock_s - limits.LEASE_TTL_S - 0.5),
            msgspec.structs.replace(now, clock_s=now.clock_s + 3600),
        ]
        for token in wrong:
            assert (await peer.start(peer.spec(tool("true")), token)).code == "stale-token"
            assert (await peer.materialize(token=token)).code == "stale-token"
        assert (await peer.fence()).runs == {}
        aged = msgspec.structs.replace(now, clock_s=now.clock_s - limits.LEASE_TTL_S + 2)
        assert isinstance(await peer.start(peer.spec(tool("true")), aged), run.Started)
        assert "stale-token" in host.log


async def test_a_run_that_cannot_be_carried_out_is_refused_whole(host: Sandboxd) -> None:
    async with cell(host) as peer:
        good = tool("true")
        bad = [
            peer.spec(),
            peer.spec(*[good] * 2),
            peer.spec(tool()),
            peer.spec(tool("")),
            peer.spec(tool("a\0b")),
            peer.spec(tool("x" * (limits.ARGUMENT_BYTES_MAX + 1))),
            peer.spec(tool("true", env=(("A=B", "c"),))),
            peer.spec(tool("true", env=(("A", "\0"),))),
            peer.spec(tool("true", timeout_s=0)),
            peer.spec(good, run_id="../../x"),
            peer.spec(good, orphan_timeout_s=-1.0),
        ]
        for spec in bad:
            answer = await peer.start(spec)
            assert answer.code == "invalid", spec
        assert (await peer.fence()).runs == {}


async def test_a_run_of_many_and_long_arguments_is_carried_out(host: Sandboxd) -> None:
    async with cell(host) as peer:
        long = "x" * limits.ARGUMENT_BYTES_MAX
        result = await peer.once("printf", "%s", long, long, long)
        assert result.ok and result.stdout.bytes == 3 * limits.ARGUMENT_BYTES_MAX
        spec = peer.spec(tool("sh", "-c", "printf %s $A | wc -c", env=(("A", "y" * 100_000),)))
        await peer.start(spec)
        await peer.done(spec.run_id)
        assert peer.results(spec.run_id)[0].stdout.tail == "100000\n"


async def test_unknown_runs_are_refused(host: Sandboxd) -> None:
    async with cell(host) as peer, cell(host, "cell-2") as other:
        await other.once("true")
        theirs = other.pushed[-1].run_id
        for run_id in (runtime.new_id(), theirs):
            assert (await peer.attach(run_id)).code == "unknown-run"
            assert (await peer.cancel(run_id)).code == "unknown-run"


async def test_health_says_who_and_how_and_metrics_are_there(host: Sandboxd) -> None:
    health = host.health()
    assert health is not None
    assert health["host"] == "sbx" and health["incarnation"] and health["enforced"]["isolation"] == "bwrap"
