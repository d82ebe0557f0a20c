"""A project's files into a compiled set, or everything that is wrong with them. The door of this room.

Called by the gateway's compile worker and by ``setpoint validate``; it reads no file, knows no clock and raises
nothing for bad input. It is not bounded in time by itself: whoever feeds it strangers' files runs it in a process
that can be killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from setpoint.contracts.limits import FAULTS_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.check import Checker
from setpoint.contracts.resource.model import CompiledSet, Settings, decode, encode
from setpoint.contracts.resource.outside import ConnectionFile, IdentityFile, OriginFile
from setpoint.contracts.resource.registry import AnyFile, Located
from setpoint.contracts.resource.resolve import resolve
from setpoint.contracts.resource.settings import ProjectFile, to_settings
from setpoint.contracts.resource.source import read_source
from setpoint.contracts.resource.spec import AssetFile, ConditionsFile, SyncFile
from setpoint.contracts.resource.support import unsupported_faults
from setpoint.contracts.resource.tree import Document, read_documents

SETTINGS_FILES: Final = ("setpoint.yaml", "nagi.yaml")
_MISNAMED: Final = ("setpoint.yml", "nagi.yml")

_ResourceFile = Annotated[
    AssetFile | ConditionsFile | SyncFile | ConnectionFile | IdentityFile | OriginFile, Field(discriminator="kind")
]
_resources: Final = Checker[AnyFile](_ResourceFile)
_settings: Final = Checker[ProjectFile](ProjectFile)


class CompileResult(msgspec.Struct, frozen=True):
    """Either ``encoded``, the bytes to store (``model.decode`` reads them), or at least one fault.

    Faults are sorted by file, line and column, at most limits.FAULTS_MAX and one that says how many were left out.
    """

    encoded: bytes | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def compiled(self) -> CompiledSet | None:
        """Decode the compiled set; None when there are faults."""
        return None if self.encoded is None else decode(self.encoded)


def is_read(path: str) -> bool:
    """Tell whether compile wants the file at this path of a project: the settings and everything under resources/."""
    return path in (*SETTINGS_FILES, *_MISNAMED) or (path.startswith("resources/") and path.endswith((".yaml", ".yml")))


def compile_project(files: Mapping[str, bytes]) -> CompileResult:
    """Compile a project from its files by POSIX path; files that ``is_read`` does not name are ignored.

    Never raises for what a file contains. The same files give the same bytes.
    """
    faults = [*_faults_of_names(files)]
    settings, complete = Settings(), True
    located: list[Located] = []
    for path in sorted(path for path in files if is_read(path) and path not in _MISNAMED):
        if len(faults) > FAULTS_MAX:
            break
        source = read_source(path, files[path])
        if isinstance(source, Fault):
            faults.append(source)
            complete = False
            continue
        documents, found = read_documents(source)
        documents = tuple(document for document in documents if document.value is not None)
        faults.extend(found)
        complete = complete and (bool(documents) or not found)
        if path in SETTINGS_FILES:
            settings = _read_settings(documents, faults) or settings
        else:
            located.extend(_read_resources(documents, faults))
            if not documents and not found:
                message = "there is no resource in this file"
                faults.append(Fault("project.empty-file", message, path, 1, 1, hint="delete the file"))
    if len(faults) > FAULTS_MAX:
        return CompileResult(faults=_presentable(faults))
    assets, found = resolve(located, complete=complete)
    faults.extend(found)
    if faults:
        return CompileResult(faults=_presentable(faults))
    return CompileResult(encoded=encode(CompiledSet(assets=assets, settings=settings)))


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


def _read_settings(documents: tuple[Document, ...], faults: list[Fault]) -> Settings | None:
    faults.extend(extra.fault("yaml.documents", "a settings file has one document", ()) for extra in documents[1:])
    if not documents:
        return None
    faults.extend(unsupported_faults(documents[0], "settings"))
    value, found = _settings.check(documents[0])
    faults.extend(found)
    return None if value is None else to_settings(value)


def _read_resources(documents: tuple[Document, ...], faults: list[Fault]) -> Iterable[Located]:
    for document in documents:
        if len(faults) > FAULTS_MAX:
            return
        value, found = _resources.check(document)
        faults.extend(found)
        located = Located(document, value)
        faults.extend(unsupported_faults(document, located.kind))
        yield located


def _presentable(faults: list[Fault]) -> tuple[Fault, ...]:
    unique = sorted(set(faults), key=lambda fault: (fault.file, fault.line, fault.column, fault.code, fault.message))
    if len(unique) <= FAULTS_MAX:
        return tuple(unique)
    return (*unique[:FAULTS_MAX], Fault("too-many-faults", f"there are more; the first {FAULTS_MAX} are shown"))
