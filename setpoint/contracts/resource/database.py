"""Connections into databases that a probe can ask: a file of the workspace and the engine that reads it.

Called by parts.py with connections whose shape is right or mended. Servers are known and not carried out yet; that is
said once, where the connection is written, and not again by the assets that use it: a fault when a condition asks it,
else a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from setpoint.contracts.probe import Engine
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.outside import (
    ConnectionFile,
    DbtConnection,
    DuckDbConnection,
    SqliteConnection,
    inner_path,
)
from setpoint.contracts.resource.source import excerpt, read_source
from setpoint.contracts.resource.tree import Document, Path, read_documents

PROFILES_FILE: Final = "profiles.yml"
CARRIED_OUT: Final = "supported are duckdb and sqlite files, and profiles of dbt whose adapter is duckdb"

_ENV_VAR: Final = re.compile(r"""\{\{\s*env_var\(\s*(['"])(\w+)\1\s*(?:,\s*(['"])([^'"{}]*)\3\s*)?\)\s*\}\}""")


@dataclass(frozen=True)
class Database:
    """A file of the workspace, by its path from the project's root, and what reads it."""

    engine: Engine
    path: str


@dataclass(frozen=True)
class Unasked:
    """A database that no probe can ask yet. ``fault`` is what there is to say once a condition wants to."""

    fault: Fault


@dataclass(frozen=True)
class Surroundings:
    """What a profile of dbt is resolved with: the files of the project, and what ``env_var`` finds."""

    files: Mapping[str, bytes]
    env: Mapping[str, str]


Found = Database | Unasked | tuple[Fault, ...]
"""The database of a connection, or one that cannot be asked, or everything that is wrong with the connection."""


def database_of(document: Document, connection: ConnectionFile, around: Surroundings) -> Found:
    """Return what a connection leads to; nothing is said of what hangs on a hole in it."""
    spec = connection.spec
    match spec:
        case DuckDbConnection() | SqliteConnection():
            return Database(spec.type, spec.path)
        case DbtConnection():
            way: tuple[Path, ...] = (("spec", "profile"), ("spec", "target"), ("spec", "profilesDir"))
            return _Profile(document, spec, around).database() if all(map(document.is_whole, way)) else ()
        case _:
            message = f"connections of type {spec.type} are not supported yet"
            return Unasked(document.fault("not-supported", message, ("spec", "type"), CARRIED_OUT))


class _Wrong(Exception):
    """The profile leads nowhere. Carries the faults."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults


@dataclass(frozen=True)
class _Profile:
    """The way from a Connection of type dbt through ``profiles.yml`` to a file."""

    document: Document
    spec: DbtConnection
    around: Surroundings

    def database(self) -> Found:
        try:
            profiles = self._profiles()
            profile = self._entry(profiles, (), self.spec.profile, "profile", ("spec", "profile"))
            target = self.spec.target or self._text(profiles, (*profile, "target"), "default")
            anchor = ("spec", "target") if self.spec.target else ("spec", "profile")
            output = self._entry(profiles, (*profile, "outputs"), target, "target", anchor)
            adapter = self._text(profiles, (*output, "type"), "")
            if adapter != "duckdb":
                message = f"the adapter {excerpt(adapter)} of this profile is not supported yet"
                return Unasked(self.document.fault("not-supported", message, ("spec", "profile"), CARRIED_OUT))
            return Database("duckdb", self._path(profiles, (*output, "path")))
        except _Wrong as wrong:
            return wrong.faults

    def _profiles(self) -> Document:
        path = PROFILES_FILE if self.spec.profiles_dir == "." else f"{self.spec.profiles_dir}/{PROFILES_FILE}"
        content = self.around.files.get(path)
        if content is None:
            message = f"there is no {path} among the files of the project"
            hint = "profilesDir says in which directory it is; nothing outside the project is read"
            raise _Wrong(self.document.fault("unknown-reference", message, ("spec", "profile"), hint))
        source = read_source(path, content)
        if isinstance(source, Fault):
            raise _Wrong(source)
        documents, faults = read_documents(source)
        if faults or len(documents) != 1 or not isinstance(documents[0].value, dict):
            raise _Wrong(*(faults or (source.fault("wrong-type", "this is not one mapping of profiles", 0),)))
        return documents[0]

    def _entry(self, profiles: Document, above: Path, name: str, what: str, anchor: Path) -> Path:
        """Return the path of the mapping ``name`` under ``above``; the connection is at fault when it is not there."""
        known = _mapping(profiles, above)
        if not isinstance(known.get(name), dict):
            candidates = [key for key, value in known.items() if isinstance(value, dict) and key != "config"]
            message = f"{profiles.source.file} has no {what} {excerpt(name)}"
            hint = nearest_hint(name, candidates)
            raise _Wrong(self.document.fault("unknown-reference", message, anchor, hint))
        return (*above, name)

    def _text(self, profiles: Document, path: Path, default: str) -> str:
        written = _mapping(profiles, path[:-1]).get(str(path[-1]), default)
        if not isinstance(written, str):
            raise _Wrong(profiles.fault("wrong-type", f"{path[-1]} is not text", path))
        filled, unset = _filled(written, self.around.env)
        if unset:
            hint = f"the identity of the connection or --var {unset}=VALUE gives it"
            message = f"there is no variable {excerpt(unset)}"
            raise _Wrong(profiles.fault("unset-variable", message, path, hint))
        if "{{" in filled or "{%" in filled:
            message = "of Jinja only env_var('NAME') and env_var('NAME', 'default') are read here"
            raise _Wrong(profiles.fault("not-supported", message, path))
        return filled

    def _path(self, profiles: Document, path: Path) -> str:
        written = self._text(profiles, path, ":memory:")
        try:
            return inner_path(written)
        except ValueError as error:
            hint = "it is relative to the root of the project, where dbt runs"
            raise _Wrong(profiles.fault("bad-path", str(error), path, hint)) from None


def _mapping(document: Document, path: Path) -> Mapping[str, object]:
    """Return the mapping at a path, merged with what its ``<<`` brings in; empty when there is none."""
    value = document.value
    for part in path:
        value = _merged(value).get(str(part))
    return _merged(value)


def _merged(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        return {}
    inherited = value.get("<<")
    return {**inherited, **value} if isinstance(inherited, dict) else value


def _filled(text: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the text with its calls of ``env_var`` filled in, and the first variable that nobody gives."""
    unset: list[str] = []

    def meaning(call: re.Match[str]) -> str:
        default: str | None = call[4]
        if call[2] not in env and default is None:
            unset.append(call[2])
        return env.get(call[2], default or "")

    filled = _ENV_VAR.sub(meaning, text)
    return filled, unset[0] if unset else ""
