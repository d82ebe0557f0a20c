"""The OpenAPI document, generated from the route table and the shapes. Pure.

``/openapi.json`` serves it, ``python -m gateway.openapi`` prints it for ``proto/openapi.json``, and a test holds the
file, the document and the router together.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway import shapes
from gateway.route import EVERYWHERE, PageOf, Route
from setpoint.contracts.command import TYPES
from setpoint.contracts.limits import IDEMPOTENCY_KEY_CHARS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, SSE_SESSIONS_MAX
from setpoint.contracts.problem import CODES

Json = dict[str, Any]

_QUERY: Final[dict[str, tuple[str, Json]]] = {
    "limit": (
        "Items in a page.",
        {"type": "integer", "minimum": 1, "maximum": PAGE_ITEMS_MAX, "default": PAGE_ITEMS_DEFAULT},
    ),
    "after": ("The cursor that a page gave as ``next``; opaque.", {"type": "string"}),
    "after_seq": ("The seq after which to read.", {"type": "integer", "minimum": 0, "default": 0}),
    "sessions": (
        "Id or name of a session to follow; once for each.",
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": SSE_SESSIONS_MAX},
    ),
    "after_seqs": ("Where to start: ``session:seq`` pairs with commas between them.", {"type": "string"}),
    "asset": ("Only executions of this asset.", {"type": "string"}),
    "kind": ("Only syncs, or syncs and evaluations.", {"enum": ["all", "sync"], "default": "all"}),
    "step": ("Which step.", {"type": "integer", "minimum": 0, "default": 0}),
    "stream": ("Which of its streams.", {"enum": ["stdout", "stderr"], "default": "stdout"}),
    "offset": ("From which byte on.", {"type": "integer", "minimum": 0, "default": 0}),
    "follow": ("Go on until the step has ended.", {"enum": ["true", "false"], "default": "false"}),
}
_HEADERS: Final[dict[str, tuple[str, Json]]] = {
    "Idempotency-Key": (
        "The same key and request give the first answer again, for 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
    ),
    "If-None-Match": ("Answer 304 when the ETag is still this.", {"type": "string"}),
    "If-Match": ("Refuse with 412 unless the ETag is still this.", {"type": "string"}),
    "Last-Event-ID": ("The seq after which the stream goes on.", {"type": "integer", "minimum": 0}),
    "Last-Event-IDs": ("Where the stream goes on: ``session:seq`` pairs with commas between them.", {"type": "string"}),
    "Accept": ("``text/event-stream`` asks for the stream.", {"type": "string"}),
}
_SHOWN: Final = {
    "after_seq": "after",
    "after_seqs": "after",
    "sessions": "session",
    "Last-Event-IDs": "Last-Event-ID",
}
"""What a parameter is called, where one name means different things on different routes."""

_PATH: Final = {
    "session": "Id or name of a session.",
    "command": "Id of a command.",
    "asset": "Name of an asset.",
    "key": "The lockKey of a sync.",
    "execution": "Id of an execution.",
    "generation": "Number of a generation.",
    "sha256": "The blob's SHA-256 in lower-case hexadecimal.",
}
_REF: Final = "#/components/schemas/{name}"


def document(routes: Sequence[Route]) -> Json:
    """Return the OpenAPI 3.1 document of these routes."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Setpoint",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Keep data at its setpoint: durable sessions that evaluate, sync and stay converged.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: sp_<key_id>_<secret>."}
            },
            "schemas": _schemas(),
        },
    }


def render(routes: Sequence[Route]) -> bytes:
    """Return the document as text, the same for the same routes."""
    return (json.dumps(document(routes), indent=2, sort_keys=True) + "\n").encode()


def _operation(route: Route) -> Json:
    doc = (route.handler.__doc__ or "") if route.handler is not None else route.summary
    operation: Json = {
        "summary": route.summary,
        "description": inspect.cleandoc(doc),
        "operationId": _operation_id(route),
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    if not route.needs_key:
        operation["security"] = []
    if route.alias:
        operation["deprecated"] = True
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z0-9]+", route.path)
    return "_".join([route.method.lower(), *words])


def _parameters(route: Route) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "description": _PATH[name], "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    for name in route.query:
        text, schema = _QUERY[name]
        entry = {"name": _SHOWN.get(name, name), "in": "query", "description": text, "schema": schema}
        found.append(entry | ({"required": True} if name == "sessions" else {}))
    for name in route.headers:
        text, schema = _HEADERS[name]
        found.append({"name": _SHOWN.get(name, name), "in": "header", "description": text, "schema": schema})
    return found


def _responses(route: Route) -> Json:
    found: Json = {}
    for status, text, shape in route.answers:
        entry = found.setdefault(str(status), {"description": text})
        if shape is not None:
            entry.setdefault("content", {}).update(_content(shape))
    by_status: dict[int, list[str]] = {}
    for code in sorted({*(EVERYWHERE if route.needs_key else ()), *route.problems}):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        schema = {"$ref": _REF.format(name="ProblemView")}
        text = "; ".join(f"{code}: {CODES[code].title}" for code in codes)
        content = {"application/problem+json": {"schema": schema}}
        found[str(status)] = {"description": text, "content": content, "x-problem-codes": codes}
    return found


def _content(shape: Any) -> Json:
    if isinstance(shape, str):
        return {shape: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _schema(shape)}}


def _schema(shape: Any) -> Json:
    if isinstance(shape, PageOf):
        item = {"type": "object"} if shape.shape is None else _schema(shape.shape)
        properties = {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}}
        return {"type": "object", "required": ["items", "next"], "properties": properties}
    if shape is dict:
        return {"type": "object"}
    return {"$ref": _REF.format(name=shape.__name__)}


def _schemas() -> Json:
    """Return the schemas of all bodies, and of each command's payload."""
    wanted = [
        shapes.CreateSession,
        shapes.PostCommand,
        shapes.ApplyProject,
        shapes.BreakLock,
        shapes.BrokenLock,
        shapes.Lock,
        shapes.Fencing,
        shapes.Session,
        shapes.Accepted,
        shapes.Command,
        shapes.Generation,
        shapes.Execution,
        shapes.Explanation,
        shapes.HistoryEntry,
        shapes.EventView,
        shapes.ProblemView,
        *(shape for kind, shape in TYPES.items() if kind != "apply"),
    ]
    _, components = msgspec.json.schema_components(wanted, ref_template=_REF)
    return components


def main() -> None:
    """Print the document."""
    import sys

    from gateway.routes.table import ROUTES

    sys.stdout.buffer.write(render(ROUTES))


if __name__ == "__main__":
    main()
