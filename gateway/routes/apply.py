"""The payload of ``apply``: a list of stored files in, a compiled and stored generation out. No route of its own.

Nothing is enqueued before the whole project compiles and both blobs of the generation are durable: an apply that fails
here has changed nothing but the object store, where an unused blob means nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gateway import admit, project, shapes
from gateway.compile_worker import CompilePool
from gateway.edge import Edge
from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.problem import CODES, Fault, Problem
from setpoint.contracts.resource.compile import is_read
from setpoint.contracts.resource.origin_files import mentions_origin
from setpoint.contracts.resource.variable import given_faults
from setpoint.objects import ObjectMissing, ObjectStore, blob_key


async def admit_project(
    edge: Edge, tenant_id: str, payload: Mapping[str, Any]
) -> tuple[admit.Request, tuple[Fault, ...]]:
    """Compile and store a project; return the command that applies it, and warnings. Raises Problem with all faults."""
    sent = admit.read_as(payload, shapes.ApplyProject, "/payload")
    if faults := given_faults(sent.variables):
        raise Problem("validation-failed", f"the variables cannot be used: {faults[0].message}", errors=faults)
    async with edge.compile_shares.one(tenant_id):
        sources = await asyncio.to_thread(_judge_and_read, edge.objects, tenant_id, sent.files)
        compiled, warnings = await _compile(edge.compiler, sources, sent.variables)
    manifest = project.manifest(sent.files)
    resources_sha, files_sha = sha256_hex(compiled), sha256_hex(manifest)
    await asyncio.to_thread(edge.objects.put, blob_key(tenant_id, resources_sha), compiled)
    await asyncio.to_thread(edge.objects.put, blob_key(tenant_id, files_sha), manifest)
    generation = {"resources": resources_sha, "files": files_sha}
    return admit.request("apply", {"generation": generation} | ({"evaluate": True} if sent.evaluate else {})), warnings


def _judge_and_read(objects: ObjectStore, tenant_id: str, files: Sequence[shapes.ProjectFile]) -> dict[str, bytes]:
    """Judge the files and return the content of those that compile reads, by path.

    The manifests of Origins are large: they are read when there may be an Origin.
    """
    project.check_files(files)
    sizes = {sha256: objects.size(blob_key(tenant_id, sha256)) for sha256 in {file.sha256 for file in files}}
    project.check_sizes(files, sizes)
    try:
        sources = {file.path: objects.get(blob_key(tenant_id, file.sha256)) for file in files if is_read(file.path)}
        if any(mentions_origin(path, content) for path, content in sources.items()):
            for file in project.manifests(files, sizes):
                sources[file.path] = objects.get(blob_key(tenant_id, file.sha256))
        return sources
    except ObjectMissing as error:
        raise Problem("unavailable", "a blob of the project was there a moment ago", retry_after_s=1) from error


async def _compile(
    compiler: CompilePool, sources: Mapping[str, bytes], variables: Mapping[str, str]
) -> tuple[bytes, tuple[Fault, ...]]:
    result = await compiler.compile(sources, variables)
    if result.encoded is not None:
        return result.encoded, result.warnings
    raise faulty(result.faults)


def faulty(faults: Sequence[Fault]) -> Problem:
    """Return the problem that a project's faults are: of their own code when all share one that the API knows."""
    codes = {fault.code for fault in faults}
    first = faults[0]
    code = first.code if len(codes) == 1 and first.code in CODES else "validation-failed"
    place = f"{first.file}:{first.line}:{first.column}: " if first.file else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(code, f"the project does not compile: {place}{first.message}{more}", errors=faults)
