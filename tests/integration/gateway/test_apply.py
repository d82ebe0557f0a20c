"""Blobs and ``apply``: bytes stored under their hash, a project compiled before anything is queued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from setpoint.contracts.limits import MIB
from setpoint.contracts.resource.model import decode
from tests.integration.gateway.projects import apply, asset, payload, put, sha256
from tests.integration.gateway.served import problem

FIXTURES = Path(__file__).parents[2] / "fixtures" / "dbt"

GOOD: dict[str, bytes | str] = {
    "resources/a.yaml": asset("a"),
    "resources/b.yaml": asset("b", "a"),
    "data/x": b"\0\xff",
}


async def test_a_blob_is_stored_once_and_read_back(api: httpx.AsyncClient) -> None:
    content = b"some bytes \0 \xff" * 1000
    name = sha256(content)
    missing = await api.head(f"/v1/blobs/{name}")
    assert (missing.status_code, missing.content) == (404, b"")
    problem(await api.get(f"/v1/blobs/{name}"), 404, "not-found")
    assert (await api.put(f"/v1/blobs/{name}", content=content)).status_code == 201
    assert (await api.put(f"/v1/blobs/{name}", content=content)).status_code == 200
    there = await api.head(f"/v1/blobs/{name}")
    assert (there.status_code, there.headers["Content-Length"]) == (200, str(len(content)))
    answer = await api.get(f"/v1/blobs/{name}")
    assert (answer.content, answer.headers["X-Content-Type-Options"]) == (content, "nosniff")


async def test_a_blob_of_eight_mebibytes_streams_through(api: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * (32 * 1024)
    assert (await api.get(f"/v1/blobs/{await put(api, content)}")).content == content


async def test_a_blob_is_what_its_name_says(api: httpx.AsyncClient) -> None:
    wrong = await api.put(f"/v1/blobs/{sha256(b'right')}", content=b"wrong")
    assert sha256(b"wrong") in problem(wrong, 422, "validation-failed")["detail"]
    assert (await api.head(f"/v1/blobs/{sha256(b'right')}")).status_code == 404


@pytest.mark.parametrize("name", ["x", "A" * 64, "a" * 63, "..%2f..%2fetc%2fpasswd", "%00", "a" * 64 + "%0a"])
async def test_a_blob_has_no_other_name(api: httpx.AsyncClient, name: str) -> None:
    for answer in (await api.get(f"/v1/blobs/{name}"), await api.put(f"/v1/blobs/{name}", content=b"x")):
        problem(answer, 400, "invalid-request")


async def test_apply_stores_a_generation_and_queues_its_references(api: httpx.AsyncClient, session: str) -> None:
    answer = await apply(api, session, GOOD)
    assert answer.status_code == 202, answer.text
    command = (await api.get(answer.headers["Location"])).json()
    generation = command["payload"]["generation"]
    compiled = decode((await api.get(f"/v1/blobs/{generation['resources']}")).content)
    assert list(compiled.assets) == ["a", "b"]
    manifest = json.loads((await api.get(f"/v1/blobs/{generation['files']}")).content)
    assert [file["path"] for file in manifest["files"]] == sorted(GOOD)
    assert manifest["files"][0] == {"path": "data/x", "mode": 0o644, "sha256": sha256(b"\0\xff")}


async def test_the_same_project_makes_the_same_generation(api: httpx.AsyncClient, session: str) -> None:
    first, again = await apply(api, session, GOOD), await apply(api, session, dict(reversed(GOOD.items())))
    one, two = [(await api.get(answer.headers["Location"])).json()["payload"] for answer in (first, again)]
    assert one == two


async def test_every_fault_of_a_project_has_its_place(api: httpx.AsyncClient, session: str) -> None:
    files: dict[str, bytes | str] = {
        "resources/a.yaml": asset("a").replace("type: Command", "typ: Command"),
        "resources/b.yaml": asset("b", "nowhere"),
    }
    document = problem(await apply(api, session, files), 422, "validation-failed")
    places = {(fault["file"], fault["line"] > 0, fault["column"] > 0) for fault in document["errors"]}
    assert ("resources/a.yaml", True, True) in places
    assert (await api.get(f"/v1/sessions/{session}/commands")).json()["items"] == []


async def test_a_cycle_has_a_code_of_its_own(api: httpx.AsyncClient, session: str) -> None:
    files: dict[str, bytes | str] = {"resources/a.yaml": asset("a", "b"), "resources/b.yaml": asset("b", "a")}
    document = problem(await apply(api, session, files), 422, "dependency-cycle")
    assert {fault["code"] for fault in document["errors"]} == {"dependency-cycle"}


IDENTITY = (
    "apiVersion: setpoint.dev/v1alpha1\nkind: Identity\nmetadata: {name: i}\nspec: {type: env, env: {A: '${X}'}}\n"
)


async def test_variables_are_filled_in_and_stored_with_the_project(api: httpx.AsyncClient, session: str) -> None:
    check = asset("a").replace("run: [test, -f, a]", "run: [test, -f, a]\n    identity: i")
    body = await payload(api, {"resources/a.yaml": check, "resources/i.yaml": IDENTITY}) | {"variables": {"X": "1"}}
    answer = await api.post(f"/v1/sessions/{session}/commands", json={"type": "apply", "payload": body})
    assert answer.status_code == 202, answer.text
    generation = (await api.get(answer.headers["Location"])).json()["payload"]["generation"]
    compiled = decode((await api.get(f"/v1/blobs/{generation['resources']}")).content)
    assert compiled.assets["a"].conditions()[0].env == (("A", "1"),)


async def test_a_variable_that_is_not_given_is_a_fault_at_its_place(api: httpx.AsyncClient, session: str) -> None:
    answer = await apply(api, session, {"resources/i.yaml": IDENTITY})
    (fault,) = problem(answer, 422, "validation-failed")["errors"]
    assert (fault["code"], fault["file"]) == ("unset-variable", "resources/i.yaml")
    assert (fault["line"], fault["column"]) == (4, 28)


@pytest.mark.parametrize(
    ("variables", "pointer"),
    [
        ({"1X": "x"}, "/payload/variables/1X"),
        ({"X": "x" * 10_000}, "/payload/variables/X"),
        ({f"X{n}": "" for n in range(101)}, "/payload/variables"),
        ({"X": 1}, "/payload/variables"),
        (["X"], "/payload/variables"),
    ],
)
async def test_variables_are_bounded(api: httpx.AsyncClient, session: str, variables: Any, pointer: str) -> None:
    body = await payload(api, GOOD) | {"variables": variables}
    answer = await api.post(f"/v1/sessions/{session}/commands", json={"type": "apply", "payload": body})
    (fault,) = problem(answer, 422, "validation-failed")["errors"]
    assert fault["pointer"].startswith(pointer)


async def test_an_apply_answers_with_its_warnings(api: httpx.AsyncClient, session: str) -> None:
    answer = await apply(api, session, GOOD | {"nagi.yaml": "maxControllers: 3\n"})
    assert answer.status_code == 202, answer.text
    first, second = answer.json()["warnings"]
    assert (first["code"], first["severity"], first["file"], first["line"]) == ("ignored", "warning", "nagi.yaml", 1)
    assert (second["code"], second["file"]) == ("never-due", "resources/a.yaml")
    timed = asset("a").replace("- name: there", "- name: there\n    interval: 1h")
    quiet = await apply(api, session, {"resources/a.yaml": timed})
    assert "warnings" not in quiet.json()


async def test_a_missing_blob_is_named(api: httpx.AsyncClient, session: str) -> None:
    body = await payload(api, GOOD)
    body["files"].append({"path": "later", "mode": 0o644, "sha256": sha256(b"never stored")})
    answer = await api.post(f"/v1/sessions/{session}/commands", json={"type": "apply", "payload": body})
    (fault,) = problem(answer, 422, "validation-failed")["errors"]
    assert (fault["code"], fault["pointer"]) == ("blob.missing", f"/payload/files/{len(GOOD)}/sha256")


async def test_another_tenants_blob_is_no_blob(api: httpx.AsyncClient, other: httpx.AsyncClient, session: str) -> None:
    name = await put(other, b"theirs")
    for method in ("GET", "HEAD"):
        assert (await api.request(method, f"/v1/blobs/{name}")).status_code == 404
    body = await payload(api, GOOD)
    body["files"].append({"path": "stolen", "mode": 0o644, "sha256": name})
    answer = await api.post(f"/v1/sessions/{session}/commands", json={"type": "apply", "payload": body})
    assert problem(answer, 422, "validation-failed")["errors"][0]["code"] == "blob.missing"


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/etc/passwd"},
        {"path": "../up"},
        {"path": "a/../../up"},
        {"path": "a//b"},
        {"path": ""},
        {"path": "./a"},
        {"path": "a\nb"},
        {"path": "a\\b"},
        {"path": "x" * 600},
        {"path": "resources/a.yaml"},
        {"path": "resources"},
        {"mode": 0o4755},
        {"mode": -1},
        {"mode": "0644"},
        {"sha256": "0"},
        {"sha256": "../" * 20},
        {"extra": 1},
    ],
)
async def test_a_bad_file_is_refused_with_its_pointer(
    api: httpx.AsyncClient, session: str, change: dict[str, Any]
) -> None:
    body = await payload(api, GOOD)
    body["files"].append({"path": "fine", "mode": 0o644, "sha256": body["files"][0]["sha256"]} | change)
    answer = await api.post(f"/v1/sessions/{session}/commands", json={"type": "apply", "payload": body})
    assert answer.status_code == 422, answer.text
    assert all(fault["pointer"].startswith("/payload/files") for fault in answer.json()["errors"]), answer.text
    assert (await api.get(f"/v1/sessions/{session}/commands")).json()["items"] == []


async def test_a_generation_cannot_be_named_by_the_client(api: httpx.AsyncClient, session: str) -> None:
    sha = "0" * 64
    body = {"type": "apply", "payload": {"generation": {"resources": sha, "files": sha}}}
    problem(await api.post(f"/v1/sessions/{session}/commands", json=body), 422, "unknown-field")


DBT = """apiVersion: nagi.io/v1alpha1
kind: Connection
metadata: {name: warehouse}
spec: {type: dbt, profile: shop}
---
apiVersion: nagi.io/v1alpha1
kind: Origin
metadata: {name: shop}
spec: {type: DBT, connection: warehouse, projectDir: .}
"""


async def test_an_origin_is_expanded_from_a_manifest_larger_than_a_resource_may_be(
    api: httpx.AsyncClient, session: str
) -> None:
    manifest = json.loads((FIXTURES / "shop.v12.json").read_bytes()) | {"docs": {"long": "x" * (8 * MIB)}}
    files: dict[str, bytes | str] = {"resources/dbt.yaml": DBT, "target/manifest.json": json.dumps(manifest)}
    answer = await apply(api, session, files)
    assert answer.status_code == 202, answer.text
    command = (await api.get(answer.headers["Location"])).json()
    compiled = decode((await api.get(f"/v1/blobs/{command['payload']['generation']['resources']}")).content)
    assert compiled.assets["shop.daily_revenue"].upstreams == ("shop.countries", "shop.orders.v2")


async def test_an_origin_without_its_manifest_is_refused_at_its_place(api: httpx.AsyncClient, session: str) -> None:
    body = problem(await apply(api, session, {"resources/dbt.yaml": DBT}), 422, "validation-failed")
    (fault,) = body["errors"]
    assert (fault["code"], fault["file"], fault["line"]) == ("dbt-manifest", "resources/dbt.yaml", 9)
