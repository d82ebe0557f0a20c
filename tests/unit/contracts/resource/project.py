"""Small projects for the tests of compile: documents in a line each, and what compile makes of them. Shared by them."""

from __future__ import annotations

from collections.abc import Mapping

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.compile import CompileResult, compile_project
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet

FILE = "resources/x.yaml"


def document(kind: str, name: str, spec: str) -> str:
    """Write a document of four lines, ``spec`` in flow style on the last (or a block from there)."""
    return f"apiVersion: setpoint.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


SYNC = document("Sync", "write", "{run: {type: Command, args: [touch]}}")
CONDITIONS = document("Conditions", "there", "[{name: c, type: Command, run: [test], interval: 1m}]")


def asset(spec: str = "{onDrift: [{conditions: there, sync: write}]}", name: str = "a") -> str:
    """Write an asset."""
    return document("Asset", name, spec)


def conditions(spec: str) -> str:
    """Write the Conditions ``there``."""
    return document("Conditions", "there", spec)


def result_of(
    *documents: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> CompileResult:
    """Compile documents that stand in one file, and other files by path."""
    project = {FILE: "---\n".join(documents).encode()} if documents else {}
    project |= {path: content.encode() for path, content in (files or {}).items()}
    return compile_project(project, variables or {})


def compiled(
    *documents: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> CompiledSet:
    """Compile what is sound."""
    result = result_of(*documents, files=files, variables=variables)
    assert result.faults == ()
    assert result.compiled is not None
    return result.compiled


def the_asset(
    *documents: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> CompiledAsset:
    """Compile documents with one asset in them, named ``a``."""
    return compiled(*documents, files=files, variables=variables).assets["a"]


def faults_of(
    *documents: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> tuple[Fault, ...]:
    """Compile what is not sound."""
    result = result_of(*documents, files=files, variables=variables)
    assert result.encoded is None
    return result.faults


def only(*documents: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None) -> Fault:
    """Return the one fault that these documents have."""
    faults = faults_of(*documents, files=files, variables=variables)
    assert len(faults) == 1, faults
    return faults[0]
