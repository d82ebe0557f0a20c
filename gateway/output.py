"""What a step printed, from wherever it is: the object store once the step has ended, else its sandbox host.

Called by the output route. The key of an object is computed from the verified tenant and the execution, never taken
from an event.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

from gateway import shapes
from gateway.edge import Edge
from gateway.store import hosts
from setpoint.contracts.limits import OUTPUT_READ_BYTES_MAX
from setpoint.contracts.problem import Problem
from setpoint.contracts.reply import Refused
from setpoint.objects import ObjectMissing, output_key

Stream = Literal["stdout", "stderr"]

_NOT_YET: Final = frozenset({"unknown-run", "unknown-workspace", "stale-epoch", "bad-grant"})
"""Refusals that say only that the run is not there yet, or is being taken over: there may be more later."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes from the offset asked for, and where they end."""

    content: bytes
    next_offset: int
    eof: bool
    truncated: bool = False


async def read_output(
    edge: Edge, tenant_id: str, session_id: str, found: shapes.Execution, step: int, stream: Stream, offset: int
) -> Chunk:
    """Read at most OUTPUT_READ_BYTES_MAX bytes. Raises Problem not-found for a step that the execution has not."""
    view = next((view for view in found.steps if view.index == step), None)
    if view is None:
        raise Problem("not-found", f"the execution has no step {step}")
    if view.status != "pending":
        return await _stored(edge, tenant_id, found.id, view, stream, offset)
    owner = await hosts.owner(edge.database, tenant_id, session_id)
    if owner is None:
        return Chunk(b"", offset, eof=found.ended_seq is not None)
    question = {
        "tenant": tenant_id,
        "session": session_id,
        "run_id": found.id,
        "step": step,
        "stream": stream,
        "offset": offset,
        "limit": OUTPUT_READ_BYTES_MAX,
    }
    reply = await edge.links.read_output(owner, question)
    if isinstance(reply, Refused):
        if reply.retry or reply.code in _NOT_YET:
            return Chunk(b"", offset, eof=found.ended_seq is not None)
        raise Problem("unavailable", f"the output cannot be read: {reply.detail}", retry_after_s=1)
    return Chunk(reply.content, reply.next_offset, reply.eof, reply.truncated)


async def _stored(
    edge: Edge, tenant_id: str, execution_id: str, view: shapes.StepView, stream: Stream, offset: int
) -> Chunk:
    reference = view.stdout if stream == "stdout" else view.stderr
    truncated = bool(reference.get("truncated"))
    if not reference.get("object"):
        return Chunk(b"", offset, eof=True, truncated=truncated)
    key = output_key(tenant_id, execution_id, view.index, stream)
    try:
        content = await asyncio.to_thread(edge.objects.get, key)
    except ObjectMissing as error:
        raise Problem("not-found", "the output of this step is not kept any more") from error
    part = content[offset : offset + OUTPUT_READ_BYTES_MAX]
    next_offset = max(offset, min(offset + len(part), len(content)))
    return Chunk(part, next_offset, next_offset >= len(content), truncated)
