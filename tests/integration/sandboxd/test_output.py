"""Output: read while it comes and afterwards, cut at its bound, kept in the object store."""

from __future__ import annotations

import asyncio
import hashlib

from sandboxd.core.budget import MARKER
from setpoint.contracts import limits
from tests.integration.sandboxd.harness import TENANT, WAIT_S, Cell, Sandboxd, cell, tool


async def test_output_is_read_by_offset_while_the_step_runs(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("sh", "-c", "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; echo err >&2"))
        await peer.start(spec)
        async with asyncio.timeout(WAIT_S):
            while (piece := await peer.output(spec.run_id)).content != b"one\n":
                pass
        assert piece.next_offset == 4 and not piece.eof
        assert (await peer.output(spec.run_id, offset=2)).content == b"e\n"
        assert (await peer.output(spec.run_id, stream="stderr")).content == b""
        await peer.says("touch go")
        await peer.done(spec.run_id)
        rest = await peer.output(spec.run_id, offset=4)
        assert rest.content == b"two\n" and rest.eof and not rest.truncated
        assert (await peer.output(spec.run_id, stream="stderr")).content == b"err\n"


async def test_output_beyond_the_bound_is_dropped_with_a_marker_and_never_blocks(host: Sandboxd) -> None:
    async with cell(host) as peer:
        result = await peer.once("sh", "-c", "head -c 50M /dev/zero | tr '\\0' 'x'; echo the end >&2")
        assert result.ok and result.stderr.tail == "the end\n"
        ref = result.stdout
        assert ref.truncated and ref.bytes == limits.OUTPUT_BYTES_MAX
        assert ref.tail.endswith(MARKER.decode()) and len(ref.tail) == limits.OUTPUT_TAIL_BYTES
        stored = host.store.get(ref.object)
        assert len(stored) == ref.bytes and hashlib.sha256(stored).hexdigest() == ref.sha256
        read = await _read_all(peer, peer.pushed[-1].run_id)
        assert read == stored


async def test_any_bytes_survive_and_the_tail_is_text(host: Sandboxd) -> None:
    async with cell(host) as peer:
        result = await peer.once("printf", r"a\000b\377c\n")
        assert host.store.get(result.stdout.object) == b"a\0b\xffc\n"
        assert result.stdout.tail == "ab\ufffdc\n"
        assert result.stdout.object.startswith(f"{TENANT}/output/") and result.stderr.object == ""


async def test_output_is_read_from_the_object_store_when_the_spool_is_gone(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.once("echo", "kept")
        run_id = peer.pushed[-1].run_id
        (host.root / "sandboxd" / "spool" / run_id / "0.stdout").unlink()
        piece = await peer.output(run_id, offset=2)
        assert piece.content == b"pt\n" and piece.eof


async def test_output_of_others_and_of_nothing_is_refused(host: Sandboxd) -> None:
    async with cell(host) as peer, cell(host, "cell-2") as other:
        await peer.once("echo", "private")
        run_id = peer.pushed[-1].run_id
        assert (await other.output(run_id)).code == "unknown-run"
        assert (await peer.output(run_id, step=7)).code == "invalid"
        assert (await peer.output(run_id, offset=-1)).code == "invalid"
        assert (await peer.output("../../identity/host.key")).code == "unknown-run"


async def _read_all(peer: Cell, run_id: str) -> bytes:
    content, eof = b"", False
    while not eof:
        piece = await peer.output(run_id, offset=len(content))
        content, eof = content + piece.content, piece.eof
    return content
