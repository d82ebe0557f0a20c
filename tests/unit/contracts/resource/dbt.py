"""Projects with dbt in them, for the tests of Origins: the real manifests of tests/fixtures/dbt and small made ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.compile import CompileResult, compile_project
from setpoint.contracts.resource.model import CompiledAsset

FIXTURES = Path(__file__).parents[3] / "fixtures" / "dbt"
API = "apiVersion: nagi.io/v1alpha1\n"

CONNECTION = API + "kind: Connection\nmetadata: {name: warehouse}\nspec: {type: dbt, profile: shop, target: dev}\n"
SHOP = API + "kind: Origin\nmetadata: {name: shop}\nspec: {type: DBT, connection: warehouse, projectDir: shop}\n"
FINANCE = SHOP.replace("shop", "finance")
PROFILES = {"profiles.yml": (FIXTURES / "profiles.yml").read_bytes()}

Nodes = dict[str, dict[str, Any]]


def real(name: str = "shop.v12") -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def manifest(
    nodes: Nodes, sources: Nodes | None = None, *, name: str = "shop", schema: str = "v12", **more: Any
) -> bytes:
    """Write a manifest of nodes that have only what a test is about."""
    url = f"https://schemas.getdbt.com/dbt/manifest/{schema}.json"
    metadata = {"dbt_schema_version": url, "project_name": name, "adapter_type": "duckdb"}
    return json.dumps({"metadata": metadata, "nodes": nodes, "sources": sources or {}, **more}).encode()


def model(name: str, *depends_on: str, project: str = "shop", **more: Any) -> Nodes:
    node = {
        "resource_type": "model",
        "name": name,
        "package_name": project,
        "database": "warehouse",
        "schema": project,
        "depends_on": {"nodes": list(depends_on)},
        "config": {"materialized": "table"},
    }
    return {f"model.{project}.{name}": node | more}


def source(name: str, *, project: str = "shop", **more: Any) -> Nodes:
    node = {"name": name, "source_name": "raw", "package_name": project, "database": "warehouse", "schema": "raw"}
    return {f"source.{project}.raw.{name}": node | more}


def check(name: str, *depends_on: str, project: str = "shop", **more: Any) -> Nodes:
    """Return a singular test."""
    node = {"resource_type": "test", "name": name, "depends_on": {"nodes": list(depends_on)}}
    return {f"test.{project}.{name}": node | more}


def project(*documents: str, shop: bytes | None = None, finance: bytes | None = None) -> CompileResult:
    manifests = {"shop/target/manifest.json": shop, "finance/target/manifest.json": finance}
    files = {"resources/all.yaml": "---\n".join((CONNECTION, *documents)).encode(), **PROFILES}
    return compile_project(files | {path: content for path, content in manifests.items() if content is not None})


def assets(*documents: str, shop: bytes | None = None, finance: bytes | None = None) -> dict[str, CompiledAsset]:
    """Compile a project that is to be right; warnings are allowed."""
    result = project(*documents, shop=shop, finance=finance)
    assert [fault for fault in result.faults if fault.severity == "error"] == []
    assert result.compiled is not None
    return result.compiled.assets


def faults(*documents: str, shop: bytes | None = None, finance: bytes | None = None) -> list[Fault]:
    return [f for f in project(*documents, shop=shop, finance=finance).faults if f.severity == "error"]


def argv(asset: CompiledAsset, condition: str) -> str:
    return next(" ".join(found.argv) for found in asset.conditions() if found.name == condition)


def run(asset: CompiledAsset) -> str:
    sync = asset.direct_sync()
    return "" if sync is None else " ".join(sync.run.argv)


def at(document: str, key: str, *before: str) -> tuple[str, int, int]:
    """Return file, line and column of the value of ``key`` in a document that stands behind others."""
    text = "---\n".join((*before, document))
    offset = text.index(f"{key}: ", len(text) - len(document)) + len(key) + 2
    line_start = text.rfind("\n", 0, offset) + 1
    return "resources/all.yaml", text.count("\n", 0, offset) + 1, offset - line_start + 1
