"""Bad input over HTTP: each has its documented problem, the loop never stalls, and nothing is half applied."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from setpoint.contracts.limits import BLOB_BYTES_MAX, MIB, REQUEST_BYTES_MAX
from tests.integration.gateway.projects import apply, asset
from tests.integration.gateway.served import Served, problem

JSON = {"Content-Type": "application/json"}
LAG_S_MAX = 0.1


def tool(text: str) -> bytes:
    return b'{"type":"tool","payload":{"name":"echo","args":{"text":"' + text.encode() + b'"}}}'


BODIES: dict[str, tuple[bytes, int, str]] = {
    "brackets": (b"[" * 60_000, 400, "invalid-request"),
    "closed brackets": (b"[" * 60_000 + b"]" * 60_000, 400, "invalid-request"),
    "braces": (b'{"a":' * 60_000, 400, "invalid-request"),
    "33 levels": (b'{"type":"tool","payload":' + b"[" * 32 + b"]" * 32 + b"}", 400, "invalid-request"),
    "quotes": (b'"' + b'\\"' * 500_000, 400, "invalid-request"),
    "NUL": (tool("\\u0000"), 400, "invalid-request"),
    "raw NUL": (b'{"type":"a\0b"}', 400, "invalid-request"),
    "NUL in a key": (b'{"type":"tool","payload":{"name":"echo","args":{"te\\u0000xt":""}}}', 400, "invalid-request"),
    "lone surrogate": (tool("\\ud800"), 400, "invalid-request"),
    "not UTF-8": (b'{"type":"\xff\xfe"}', 400, "invalid-request"),
    "UTF-16": ('{"type":"halt"}'.encode("utf-16"), 400, "invalid-request"),
    "duplicate keys": (b'{"type":"halt","type":"unhalt"}', 400, "invalid-request"),
    "NaN": (b'{"type":"tool","payload":{"x":NaN}}', 400, "invalid-request"),
    "infinite": (b'{"type":"tool","payload":{"x":1e999}}', 400, "invalid-request"),
    "huge integer": (b'{"type":"tool","payload":{"x":' + b"9" * 100_000 + b"}}", 400, "invalid-request"),
    "not JSON": (b"type=halt", 400, "invalid-request"),
    "two values": (b"{}{}", 400, "invalid-request"),
    "nothing": (b"", 400, "invalid-request"),
    "no object": (b'"halt"', 422, "validation-failed"),
    "unknown key": (b'{"type":"halt","paylod":{}}', 422, "unknown-field"),
    "unknown command": (b'{"type":"explode"}', 422, "validation-failed"),
    "a mebibyte of little lists": (b'{"type":"halt","x":[' + b"[]," * 340_000 + b"1]}", 413, "payload-too-large"),
    "90,000 keys": (
        b"{" + b",".join(b'"k%d":1' % n for n in range(90_000)) + b',"type":"halt"}',
        413,
        "payload-too-large",
    ),
    "a large argument": (tool("x" * 25_000), 413, "payload-too-large"),
    "many names": (b'{"type":"sync","payload":{"select":[' + b'"a",' * 8_000 + b'"a"]}}', 413, "payload-too-large"),
    "too large": (tool("x" * REQUEST_BYTES_MAX), 413, "payload-too-large"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, served: Served, session: str, name: str
) -> None:
    content, status, code = BODIES[name]
    answer = await api.post(f"/v1/sessions/{session}/commands", content=content, headers=JSON)
    problem(answer, status, code)
    assert len(answer.content) < 20_000
    problem(await api.post(f"/sessions/{session}/commands", content=content), status, code)
    seen = (await api.get(f"/v1/sessions/{session}")).json()
    assert (seen["unended"], seen["head_seq"]) == ({"control": 0, "work": 0}, 1)
    assert await served.loop_lag_s() < LAG_S_MAX


PROJECTS: dict[str, tuple[dict[str, bytes | str], str]] = {
    "brackets": ({"resources/a.yaml": "[" * 60_000}, "validation-failed"),
    "unknown key": ({"resources/a.yaml": asset("a").replace("onDrift", "onDrifts")}, "unknown-field"),
    "bad name": ({"resources/a.yaml": asset("A b")}, "validation-failed"),
    "cycle": ({"resources/a.yaml": asset("a", "a")}, "dependency-cycle"),
    "unknown upstream": ({"resources/a.yaml": asset("a", "b")}, "unknown-reference"),
    "alias bomb": (
        {
            "resources/a.yaml": "a0: &a0 [x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8))
        },
        "validation-failed",
    ),
    "NUL": ({"resources/a.yaml": asset("a") + "\0"}, "validation-failed"),
    "NUL escape": ({"resources/a.yaml": asset("a").replace("[test,", '["\\0",')}, "validation-failed"),
    "not UTF-8": ({"resources/a.yaml": b"\xff\xfe\0a"}, "validation-failed"),
    "too large": ({"resources/a.yaml": "# " + "x" * 300_000}, "validation-failed"),
    "a long scalar": ({"resources/a.yaml": "a:\n" + " x\n" * 87_000}, "validation-failed"),
    "nothing": ({"data/x": "1"}, "validation-failed"),
}


@pytest.mark.parametrize("name", PROJECTS)
async def test_a_bad_project_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, served: Served, session: str, name: str
) -> None:
    files, code = PROJECTS[name]
    answer = await apply(api, session, files)
    assert answer.status_code == 422, answer.text[:500]
    assert json.loads(answer.content)["code"] in (code, "validation-failed"), answer.text[:500]
    assert answer.json()["errors"]
    assert (await api.get(f"/v1/sessions/{session}/commands")).json()["items"] == []
    assert (await api.get(f"/v1/sessions/{session}/generations")).json()["items"] == []
    assert await served.loop_lag_s() < LAG_S_MAX


@pytest.mark.parametrize(
    "name",
    ["", "A", "a b", "-a", "a-", "a" * 129, "a/b", "a\u202eb", "ä", "01a1fdcd-d2e4-7ea3-806f-c8fb7952501a", 5, {}],
)
async def test_a_bad_session_name_is_refused(api: httpx.AsyncClient, name: Any) -> None:
    answer = await api.post("/v1/sessions", json={"name": name})
    assert problem(answer, 422, "validation-failed")["errors"][0]["pointer"] == "/name"


async def test_bad_labels_are_refused(api: httpx.AsyncClient) -> None:
    many: list[Any] = [{"a": 1}, [], {f"k{n}": "" for n in range(65)}, {"k": "x" * 9000}, {"k": {"deep": {}}}]
    for labels in many:
        problem(await api.post("/v1/sessions", json={"labels": labels}), 422, "validation-failed")


@pytest.mark.parametrize("place", ["no-such", "%00", "...", "%2e%2e%2f", "a%0ab", "A", "x" * 300, "%ff", "ä"])
async def test_a_session_that_cannot_be_is_not_found(api: httpx.AsyncClient, place: str) -> None:
    for path in (f"/v1/sessions/{place}", f"/v1/sessions/{place}/events", f"/v1/sessions/{place}/assets"):
        problem(await api.get(path), 404, "not-found")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
async def test_a_bad_idempotency_key_is_refused(api: httpx.AsyncClient, session: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    problem(await api.post("/v1/sessions", json={}, headers=headers), 400, "invalid-request")
    path = f"/v1/sessions/{session}/commands"
    problem(await api.post(path, json={"type": "halt"}, headers=headers), 400, "invalid-request")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=", "after=%00", "after=!"])
async def test_a_bad_page_is_refused(api: httpx.AsyncClient, session: str, query: str) -> None:
    lists = ("/v1/sessions", *(f"/v1/sessions/{session}/{noun}" for noun in ("commands", "assets", "executions")))
    for path in (*lists, f"/v1/sessions/{session}/generations", f"/v1/sessions/{session}/events"):
        problem(await api.get(f"{path}?{query}"), 400, "invalid-request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_only_json_is_taken_below_v1(api: httpx.AsyncClient, session: str, kind: str) -> None:
    for path in ("/v1/sessions", f"/v1/sessions/{session}/commands"):
        answer = await api.post(path, content=b'{"type":"halt"}', headers={"Content-Type": kind})
        problem(answer, 415, "unsupported-media-type")
    other = {"Content-Type": "application/json; charset=latin-1"}
    problem(await api.post("/v1/sessions", content=b"{}", headers=other), 415, "unsupported-media-type")


async def test_compressed_bodies_are_not_taken(api: httpx.AsyncClient, session: str) -> None:
    import gzip

    bomb = gzip.compress(b"[" * 50_000_000)
    for path, method in ((f"/v1/sessions/{session}/commands", "POST"), ("/v1/blobs/" + "0" * 64, "PUT")):
        answer = await api.request(method, path, content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
        problem(answer, 415, "unsupported-media-type")


async def test_a_blob_that_says_it_is_too_large_is_not_read(served: Served) -> None:
    answer = raw(
        served,
        f"PUT /v1/blobs/{'0' * 64} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.ours.key}\r\n"
        f"Content-Length: {BLOB_BYTES_MAX + 1}\r\n\r\n",
    )
    assert answer.startswith("HTTP/1.1 413 ")
    assert "application/problem+json" in answer


async def test_a_blob_that_grows_too_large_is_cut_off(api: httpx.AsyncClient, served: Served) -> None:
    async def too_much() -> Any:
        for _ in range(BLOB_BYTES_MAX // MIB + 1):
            yield bytes(MIB)

    try:
        answer = await api.put(f"/v1/blobs/{'0' * 64}", content=too_much())
    except httpx.WriteError:
        return  # the gateway has closed the connection before we had sent it all
    problem(answer, 413, "payload-too-large")


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/9.9\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET /v1/sessions HTTP/1.1\r\nHost: x\r\nX: " + "y" * 20_000 + "\r\n\r\n",
        "GET /" + "a" * 20_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v1/sessions HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_400(served: Served, request_text: str) -> None:
    assert raw(served, request_text).startswith(("HTTP/1.1 400 ", "HTTP/1.0 400 "))


async def test_unknown_paths_and_methods_are_problems(api: httpx.AsyncClient) -> None:
    problem(await api.get("/v1/nothing"), 404, "not-found")
    answer = await api.patch("/v1/sessions")
    problem(answer, 405, "invalid-request")
    assert set(answer.headers["Allow"].split(",")) >= {"GET", "POST"}


def raw(served: Served, text: str) -> str:
    """Send bytes as they are and return the first of what comes back: the status line, the headers, a small body."""
    with socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0), timeout=10) as link:
        link.sendall(text.encode("latin-1"))
        found = b""
        while b"\r\n\r\n" not in found and (part := link.recv(65536)):
            found += part
    return found.decode("latin-1")
