"""What the router serves is what the description says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx

from gateway.app import build_app, build_edge
from gateway.config import from_env
from tests.integration.gateway.served import Served

ROOT = Path(__file__).resolve().parents[3]


async def test_the_paths_of_the_description_are_the_routes(tmp_path: Path) -> None:
    settings = {"SETPOINT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "SETPOINT_STATE_DIR": str(tmp_path)}
    edge, identity = build_edge(from_env(settings))
    app = build_app(edge, identity)
    routed = {
        (route.method, re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {(method.upper(), path) for path, operations in _document()["paths"].items() for method in operations}
    assert described == {place for place in routed if place[0] != "HEAD" or place in described}


def _document() -> dict[str, dict[str, dict[str, object]]]:
    document: dict[str, dict[str, dict[str, object]]] = json.loads((ROOT / "proto" / "openapi.json").read_bytes())
    return document


async def test_the_served_description_is_the_file(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as anybody:
        answer = await anybody.get("/openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.content == (ROOT / "proto" / "openapi.json").read_bytes()
