"""The route table, the description and the file of it are one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.middleware import PUBLIC
from gateway.openapi import document, render
from gateway.route import EVERYWHERE, Route
from gateway.routes.table import ROUTES
from setpoint.contracts.problem import CODES

ROOT = Path(__file__).resolve().parents[3]
EACH = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")


def test_the_file_is_what_the_table_gives() -> None:
    assert (ROOT / "proto" / "openapi.json").read_bytes() == render(ROUTES), "python -m gateway.openapi writes it"


def test_a_route_is_there_once() -> None:
    places = [(route.method, route.path) for route in ROUTES]
    assert len(set(places)) == len(places)


@EACH
def test_a_route_says_whether_it_needs_a_key_and_what_may_go_wrong(route: Route) -> None:
    assert route.needs_key == (route.path not in PUBLIC)
    operation = document(ROUTES)["paths"][route.path][route.method.lower()]
    assert ("security" in operation) == (not route.needs_key)
    codes = {code for answer in operation["responses"].values() for code in answer.get("x-problem-codes", [])}
    assert codes <= set(CODES)
    assert codes >= set(route.problems)
    if route.needs_key:
        assert codes >= set(EVERYWHERE)
        assert route.handler is not None
        assert route.handler.__doc__
    if re.search(r"\{(session|sha256)\}", route.path) and route.method != "PUT":
        assert "not-found" in codes
    if route.body is not None and route.method == "POST":
        assert {"payload-too-large", "unsupported-media-type", "unknown-field", "idempotency-mismatch"} <= codes
    assert route.alias == operation.get("deprecated", False) == (not route.path.startswith("/v1/") and route.needs_key)


@EACH
def test_a_route_names_its_parameters(route: Route) -> None:
    operation = document(ROUTES)["paths"][route.path][route.method.lower()]
    in_path = [item["name"] for item in operation["parameters"] if item["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", route.path)
    assert all(item["description"] and item["schema"] for item in operation["parameters"])


def test_every_reference_leads_somewhere() -> None:
    text = render(ROUTES).decode()
    schemas = json.loads(text)["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named <= set(schemas)


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for path in document(ROUTES)["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)
