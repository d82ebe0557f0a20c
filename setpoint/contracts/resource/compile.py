"""A project's files into a compiled set, or everything that is wrong with them. The door of this room.

Called by the gateway's compile worker and by ``setpoint validate``; it reads no file, knows no clock and raises
nothing for bad input. It is not bounded in time by itself: whoever feeds it strangers' files runs it in a process
that can be killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from setpoint.contracts.limits import FAULTS_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.check import Checker
from setpoint.contracts.resource.database import PROFILES_FILE
from setpoint.contracts.resource.model import CompiledSet, Settings, decode, encode
from setpoint.contracts.resource.origin import expand
from setpoint.contracts.resource.outside import ConnectionFile, IdentityFile, OriginFile
from setpoint.contracts.resource.pieces import read_file
from setpoint.contracts.resource.registry import AnyFile, Located, as_named
from setpoint.contracts.resource.resolve import resolve
from setpoint.contracts.resource.settings import ProjectFile, to_settings
from setpoint.contracts.resource.source import read_source
from setpoint.contracts.resource.spec import AssetFile, ConditionOfNoType, ConditionsFile, Head, SyncFile
from setpoint.contracts.resource.support import ignored_warnings, unsupported_faults
from setpoint.contracts.resource.tree import Document
from setpoint.contracts.resource.unread import Unread
from setpoint.contracts.resource.variable import given_faults

SETTINGS_FILES: Final = ("setpoint.yaml", "nagi.yaml")
_MISNAMED: Final = ("setpoint.yml", "nagi.yml")

_ResourceFile = Annotated[
    AssetFile | ConditionsFile | SyncFile | ConnectionFile | IdentityFile | OriginFile, Field(discriminator="kind")
]
_resources: Final = Checker[AnyFile](_ResourceFile, {"": Head, "Conditions": ConditionOfNoType})
_settings: Final = Checker[ProjectFile](ProjectFile)


class CompileResult(msgspec.Struct, frozen=True):
    """Either ``encoded``, the bytes to store (``model.decode`` reads them), or at least one fault.

    Faults are sorted by file, line and column, at most limits.FAULTS_MAX and one that says how many were left out.
    ``warnings`` are about what is accepted all the same, and like them.
    """

    encoded: bytes | None = None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    @property
    def compiled(self) -> CompiledSet | None:
        """Decode the compiled set; None when there are faults."""
        return None if self.encoded is None else decode(self.encoded)


def is_read(path: str) -> bool:
    """Tell whether compile wants the file at this path of a project: manifests, settings, and the profiles of dbt."""
    return _is_manifest(path) or path == PROFILES_FILE or path.endswith(f"/{PROFILES_FILE}")


def compile_project(files: Mapping[str, bytes], variables: Mapping[str, str] = MappingProxyType({})) -> CompileResult:
    """Compile a project from its files by POSIX path; files that ``is_read`` does not name are ignored.

    ``variables`` are what ``${NAME}`` stands for in environments. Never raises for what a file or a variable contains.
    The same files and variables give the same bytes.
    """
    said = _Said()
    said.add(_faults_of_names(files))
    said.add(given_faults(variables))
    settings, unread = Settings(), Unread()
    located: list[Located] = []
    for path in sorted(path for path in files if _is_manifest(path) and path not in _MISNAMED):
        if said.enough:
            break
        source = read_source(path, files[path])
        if isinstance(source, Fault):
            said.add([source])
            unread = unread.with_file(files[path])
            continue
        read = read_file(source)
        documents = tuple(document for document in read.documents if document.value is not None)
        said.add(read.faults)
        unread = unread.with_file(read.unread.encode()) if read.unread else unread
        if path in SETTINGS_FILES:
            settings = _read_settings(documents, said) or settings
        else:
            located.extend(_read_resources(documents, said))
            if not documents and not read.faults:
                message = "there is no resource in this file"
                said.add([Fault("project.empty-file", message, path, 1, 1, hint="delete the file")])
    if said.enough:
        return said.result(None)
    expansion = expand(located, files, lambda document: _checked(document, said), unread)
    said.add(expansion.faults)
    _point_at_what_is_ignored(located, expansion.located, said)
    resolved = resolve(expansion.located, files, variables, expansion.unread)
    said.add(resolved.faults)
    said.add(resolved.warnings)
    return said.result(CompiledSet(assets=dict(resolved.assets), settings=settings))


@dataclass
class _Said:
    """Everything there is to say of a project."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    @property
    def enough(self) -> bool:
        """Tell whether there are more faults than are ever shown."""
        return len(self.faults) > FAULTS_MAX

    def add(self, found: Iterable[Fault]) -> None:
        for fault in found:
            (self.warnings if fault.severity == "warning" else self.faults).append(fault)

    def result(self, compiled: CompiledSet | None) -> CompileResult:
        encoded = encode(compiled) if compiled is not None and not self.faults else None
        return CompileResult(encoded, _presentable(self.faults), _presentable(self.warnings))


def json_schemas() -> Mapping[str, Mapping[str, Any]]:
    """Return the JSON Schemas of what people write: ``resource`` (one document) and ``project`` (the settings)."""
    return {"resource": _resources.schema(), "project": _settings.schema()}


def _faults_of_names(files: Mapping[str, bytes]) -> Iterable[Fault]:
    """Yield what is wrong with which files there are."""
    if all(name in files for name in SETTINGS_FILES):
        yield Fault(
            "project.settings-twice", "setpoint.yaml and nagi.yaml are both there", "nagi.yaml", 1, 1, hint="keep one"
        )
    for name in _MISNAMED:
        if name in files:
            yield Fault("project.settings-name", f"{name} is not read", name, 1, 1, hint=f"call it {name[:-3]}yaml")
    if not any(map(is_read, files)):
        wanted = "setpoint.yaml, nagi.yaml or resources/**/*.yaml"
        yield Fault("project.empty", f"there is no {wanted}", hint="is this the directory of a project?")


def _is_manifest(path: str) -> bool:
    return path in (*SETTINGS_FILES, *_MISNAMED) or (path.startswith("resources/") and path.endswith((".yaml", ".yml")))


def _read_settings(documents: tuple[Document, ...], said: _Said) -> Settings | None:
    said.add(extra.fault("yaml.documents", "a settings file has one document", ()) for extra in documents[1:])
    if not documents:
        return None
    said.add(unsupported_faults(documents[0], "settings"))
    said.add(ignored_warnings(documents[0], "settings"))
    checked = _settings.check(documents[0])
    said.add(checked.faults)
    return None if checked.value is None else to_settings(checked.value)


def _read_resources(documents: tuple[Document, ...], said: _Said) -> Iterable[Located]:
    for document in documents:
        if said.enough:
            return
        yield _checked(document, said)


def _checked(document: Document, said: _Said) -> Located:
    checked = _resources.check(document)
    said.add(checked.faults)
    located = Located(checked.document, as_named(document, checked.value))
    said.add(unsupported_faults(document, located.kind))
    return located


def _point_at_what_is_ignored(written: Iterable[Located], final: Iterable[Located], said: _Said) -> None:
    """Warn of what has no meaning in resources that a person wrote and that were not joined with those of an Origin."""
    as_written = {id(located.document) for located in written}
    for located in final:
        if id(located.document) in as_written and located.value is not None:
            said.add(ignored_warnings(located.document, located.kind))


def _presentable(faults: list[Fault]) -> tuple[Fault, ...]:
    unique = sorted(set(faults), key=lambda fault: (fault.file, fault.line, fault.column, fault.code, fault.message))
    if len(unique) <= FAULTS_MAX:
        return tuple(unique)
    more = Fault("too-many-faults", f"there are more; the first {FAULTS_MAX} are shown", severity=unique[0].severity)
    return (*unique[:FAULTS_MAX], more)
