"""A project told of in one run: what is wrong with the shape of a document hides nothing else and makes nothing up.

Every place of a project is hurt in turn. In a sound project exactly that is told; in one that has other faults, those
are told as well, but for the few that nobody can know then.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.source import Source
from setpoint.contracts.resource.tree import Path, read_documents
from tests.unit.contracts.resource.dbt import PROFILES, check, manifest, model

Documents = dict[str, Any]
"""Documents as YAML has them, by the kind and a letter."""


def resource(kind: str, name: str, spec: Any, **metadata: Any) -> Any:
    head = {"apiVersion": "setpoint.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}}
    return {**head, "spec": spec}


def step(*words: str, **more: Any) -> Any:
    return {"type": "Command", "args": list(words), **more}


def sound() -> Documents:
    """Return a project with every field that can be hurt in it, nearly every name used by another document."""
    command: Documents = {"name": "c", "type": "Command", "run": ["test", "{{ sync.path }}"], "env": {"A": "${GIVEN}"}}
    command |= {"identity": "me", "interval": "1h", "timeout": 5, "evaluateCacheTtl": "1m"}
    query = {"name": "q", "type": "SQL", "query": "select true from {{ asset.modelName }}"}
    query |= {"checkAt": "0 6 * * *", "timezone": "Europe/Berlin"}
    fresh = {"name": "f", "type": "Freshness", "interval": 60, "maxAge": "1d", "column": "at"}
    pair = {"conditions": "all", "sync": "write", "with": {"path": "{{ asset.name }}"}, "mergePosition": "afterOrigin"}
    spec = {"upstreams": ["b", "shop.m"], "onDrift": [pair], "autoSync": {"onDrift": True, "onChange": True}}
    spec |= {"onUpstream": "write", "upstreamPolicy": "all", "modelName": "orders", "connection": "lake"}
    write = {"pre": step("x", identity="me"), "run": step("touch", "{{ sync.path }}", env={"B": "$${"})}
    write |= {"post": step("y", timeout="1m"), "timeout": "2h", "identity": "me", "lockKey": "k"}
    origin = {"type": "DBT", "connection": "warehouse", "projectDir": "shop", "interval": "1h", "autoSync": True}
    origin |= {"env": {"C": "${GIVEN}"}, "defaultSync": {"sync": "write", "with": {"path": "z"}}}
    warehouse = {"type": "dbt", "profile": "shop", "target": "dev", "profilesDir": ".", "identity": "me"}
    return {
        "a": resource("Asset", "a", {**spec, "evaluateCacheTtl": 0}, labels={"team": "x"}, annotations={"n": "o"}),
        "b": resource("Asset", "b", {}),
        "overlay": resource("Asset", "shop.m", {"upstreams": ["b"], "onDrift": [copy.deepcopy(pair)]}),
        "conditions": resource("Conditions", "all", [command, query, fresh]),
        "sync": resource("Sync", "write", {**write, "orphanTimeout": "1h"}),
        "identity": resource("Identity", "me", {"type": "env", "env": {"D": "${GIVEN}"}}),
        "lake": resource("Connection", "lake", {"type": "duckdb", "path": "lake.duckdb"}),
        "warehouse": resource("Connection", "warehouse", warehouse),
        "server": resource("Connection", "server", {"type": "postgres", "host": "h", "database": "d", "user": "u"}),
        "origin": resource("Origin", "shop", origin),
    }


def broken() -> Documents:
    """Return the same project with other faults than of shape in every document that can have them."""
    made = sound()
    a, conditions, sync, origin = (made[name]["spec"] for name in ("a", "conditions", "sync", "origin"))
    a["upstreams"].append("gone")
    a["onDrift"].append({"conditions": "al", "sync": "wrote", "with": {"x": "{{ asset.nme }}"}})
    made["overlay"]["spec"]["upstreams"] = ["nobody"]
    made["b"]["spec"] = {"connection": "lakes", "upstreams": ["b"], "onDrift": [{"conditions": "all"}]}
    conditions[0] |= {"run": ["test", "{{ asset.nam }}"], "identity": "you"}
    conditions[1]["query"] = "drop table x"
    conditions.append({"name": "c", "type": "Command", "run": ["{{ sync.other }}"], "timezone": "UTC"})
    sync["pre"]["args"] = ["{{ oops"]
    sync["run"]["env"] = {"B": "${NOT_GIVEN}"}
    sync["post"]["identity"] = "us"
    made["identity"]["spec"]["env"]["D"] = "{{ asset.name }}"
    made["lake"]["spec"]["identity"] = "them"
    made["warehouse"]["spec"]["target"] = "dve"
    made["again"] = resource("Sync", "write", {"run": step("${", env={"E": "${"})})
    origin["defaultSync"]["sync"] = "wriet"
    made["second"] = resource("Origin", "second", {"type": "DBT", "connection": "none", "projectDir": "nowhere"})
    return made


def texts(documents: Documents) -> dict[str, str]:
    return {f"resources/{name}.yaml": json.dumps(value) for name, value in documents.items()}


def told(files: Mapping[str, str]) -> tuple[Fault, ...]:
    nodes = model("m") | check("t", "model.shop.m")
    given = {path: text.encode() for path, text in files.items()} | PROFILES
    return compile_project({**given, "shop/target/manifest.json": manifest(nodes)}, {"GIVEN": "v"}).faults


def places(text: str) -> Mapping[Path, tuple[int, int]]:
    return read_documents(Source("", text))[0][0].places


def hurt_in_every_place(documents: Documents) -> Iterator[tuple[str, Path, Path, dict[str, str]]]:
    """Yield name, the place that is hurt, the place within which that may be told, and the files."""
    for name in documents:
        whole = texts(documents)
        file = f"resources/{name}.yaml"
        for path, (_, offset) in places(whole[file]).items():
            if not path:
                continue
            tagged = {**whole, file: f"{whole[file][:offset]}!odd {whole[file][offset:]}"}
            yield name, path, path, tagged
            hurt = copy.deepcopy(documents)
            *way, key = path
            around: Any = hurt[name]
            for part in way:
                around = around[part]
            before = around[key]
            around[key] = 5.5 if isinstance(before, dict) else {"odd": [None]}
            yield name, path, path, texts(hurt)
            if isinstance(key, str) and path[-2:-1] not in {("env",), ("with",), ("labels",), ("annotations",)}:
                del around[key]
                around[f"{key}x"] = before
                yield name, path, tuple(way), texts(hurt)


def place_of(fault: Fault, files: Mapping[str, str]) -> Path:
    """Return the way to what a fault is about, the longest that begins there."""
    at = max(fault.column - 1, 0)  # JSON is one line
    return max((path for path, offsets in places(files[fault.file]).items() if at in offsets), key=len, default=())


def test_the_sound_project_is_sound() -> None:
    assert told(texts(sound())) == ()


def test_what_is_hurt_is_told_there_and_nowhere_else() -> None:
    count = 0
    for name, path, within, files in hurt_in_every_place(sound()):
        faults = told(files)
        assert faults, (name, path)
        for fault in faults:
            assert fault.file == f"resources/{name}.yaml", (path, fault)
            assert place_of(fault, files)[: len(within)] == within, (path, fault)
        count += 1
    assert count > 300


def known_as(fault: Fault) -> tuple[str, str, str]:
    return fault.code, fault.message, fault.file


HANGS_ON: Mapping[str, tuple[str, ...]] = {
    "a query is one SELECT": ("a.connection", "a.onDrift.0.conditions", "lake.type", "conditions.1.query"),
    "Conditions 'all' uses 'sync.other'": ("*.onDrift.0.conditions", "*.onDrift.0.with", "conditions.3"),
    "there is another condition named 'c'": ("conditions.0.name", "conditions.0.type"),
    "there is another Sync named 'write'": ("again",),
    "timezone says": ("conditions.3",),
    "profiles.yml has no target": (
        *(
            "overlay.onDrift.0.conditions",
            "origin.type",
            "origin.connection",
            "origin.projectDir",
            "conditions",
            "warehouse",
        ),
    ),
    "the assets depend on each other": ("b.upstreams",),
}
"""What else than its own place a fault hangs on, by the beginning of its message: documents, and places in a spec."""

MAKERS: Mapping[str, tuple[str, ...]] = {
    "Asset": ("a", "b", "overlay", "origin", "second"),
    "Conditions": ("conditions", "origin", "second"),
    "Sync": ("sync", "again", "origin", "second"),
    "Connection": ("lake", "warehouse", "server"),
    "Identity": ("identity",),
}
"""The documents without whose name nobody knows what there is of a kind."""


def needs(key: tuple[str, str, str], own: Path) -> Iterator[tuple[str, Path]]:
    """Yield all that has to be whole for a fault to be known: documents and places in them."""
    code, message, file = key
    letter = file.removeprefix("resources/").removesuffix(".yaml")
    yield from ((letter, place) for place in (own, ("kind",)))
    yield from ((letter, (*own[:length], "type")) for length in range(1, len(own)))
    if code == "unknown-reference":
        kind = message.removeprefix("there is no ").split()[0]
        yield from ((maker, ("metadata", "name")) for maker in MAKERS.get(kind, ()))
    for row in next((rows for beginning, rows in HANGS_ON.items() if message.startswith(beginning)), ()):
        name, *way = row.replace("*", letter).split(".")
        yield from ((name, place) for place in (("kind",), ("metadata", "name")))
        yield name, ("spec", *(int(part) if part.isdigit() else part for part in way))


def may_go(key: tuple[str, str, str], own: Path, name: str, path: Path) -> bool:
    """Tell whether nobody can know of a fault any more when this place is hurt."""
    return any(letter == name and path[: len(place)] == place[: len(path)] for letter, place in needs(key, own))


def test_what_is_hurt_hides_no_other_fault() -> None:
    whole = texts(broken())
    before = {known_as(fault): place_of(fault, whole) for fault in told(whole)}
    assert len(before) > 20
    for name, path, within, files in hurt_in_every_place(broken()):
        after = told(files)
        for key in before.keys() - {known_as(fault) for fault in after}:
            assert may_go(key, before[key], name, path), (name, path, key, before[key])
        for fault in after:
            here = fault.file == f"resources/{name}.yaml" and place_of(fault, files)[: len(within)] == within
            assert here or known_as(fault) in before, (name, path, fault)
