"""Origins expanded: what other tools know of a project becomes resources like those that people write.

Called by compile between reading the documents and resolving them. Of dbt it reads the ``target/manifest.json`` that
is among the project's files; nothing is run and nothing outside the project is looked at. What is wrong with a
manifest, or with a resource made of it, stands at the Origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from setpoint.contracts.limits import ASSETS_MAX, DBT_MANIFESTS_BYTES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.dbt_assets import DbtOrigin, Generator
from setpoint.contracts.resource.dbt_manifest import DbtProject, read_manifest
from setpoint.contracts.resource.dbt_mesh import Clash, Mesh, Place
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.origin_files import manifest_of
from setpoint.contracts.resource.origin_merge import in_vain, merge
from setpoint.contracts.resource.outside import ConnectionFile, DbtConnection, OriginFile
from setpoint.contracts.resource.registry import KINDS, Located
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import AssetFile
from setpoint.contracts.resource.tree import Document
from setpoint.contracts.resource.unread import Unread

Check = Callable[[Document], Located]
"""Checks the shape of a document; what is wrong with it goes where the caller wants it."""


@dataclass(frozen=True)
class Expansion:
    """The resources with those of the Origins among them; the names of those that could not be read are ``unread``."""

    located: tuple[Located, ...]
    unread: Unread
    faults: tuple[Fault, ...] = ()


def expand(located: Sequence[Located], files: Mapping[str, bytes], check: Check, unread: Unread) -> Expansion:
    """Read every Origin and add what it makes; an asset that a person writes about, too, becomes one of both.

    ``files`` are the project's by path; a Connection that is not there may be in what is ``unread``. Never raises for
    what is in the files.
    """
    hidden = frozenset(resource.name for resource in located if _may_be_origin(resource))
    unread = replace(unread, origins=unread.origins | hidden)
    if not any(resource.kind == "Origin" for resource in located):
        return Expansion(tuple(located), unread)
    reader = _Reader(located, files, unread)
    projects = reader.projects()
    mesh = Mesh.of(projects)
    if len(mesh.assets) > ASSETS_MAX:
        fault = next(iter(reader.origins.values())).document.fault(
            "too-large", f"a project has at most {ASSETS_MAX} assets; its Origins make {len(mesh.assets)}", ("spec",)
        )
        return Expansion(tuple(located), replace(unread, anything=True), (*reader.faults, fault))
    reader.report(mesh)
    made = [check(document) for document in Generator(reader.origins, mesh).documents()]
    merged = _merged(located, made, reader.faults)
    return Expansion(merged, replace(unread, origins=unread.origins | reader.missing), tuple(reader.faults))


def _may_be_origin(resource: Located) -> bool:
    """Tell whether a document of no known kind looks like an Origin, of which nobody knows what it makes."""
    return resource.kind not in KINDS and ("spec", "projectDir") in resource.document.places


@dataclass
class _Reader:
    """Reads the Origins of a project. ``origins`` are those that could be read, by name, ``missing`` the others."""

    located: Sequence[Located]
    files: Mapping[str, bytes]
    unread: Unread
    missing: set[str] = field(default_factory=set)
    origins: dict[str, DbtOrigin] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    bytes_left: int = DBT_MANIFESTS_BYTES_MAX

    def projects(self) -> dict[str, DbtProject]:
        """Return the manifests by the names of their Origins, in the order of the names."""
        connections = {r.name: r for r in reversed(self.located) if r.kind == "Connection"}
        found: dict[str, DbtProject] = {}
        for resource in sorted(self.located, key=lambda resource: resource.name):
            if resource.kind != "Origin":
                continue
            document = resource.document
            if isinstance(resource.value, OriginFile) and document.is_whole(("spec", "type")):
                connection = self._connection(document, resource.value, connections)
                project = self._manifest(document, resource.value)
                if resource.name in found:
                    continue  # the second of a name is reported where names are
                if project is not None and connection is not None and document.is_whole(("metadata", "name")):
                    found[resource.name] = project
                    self.origins[resource.name] = DbtOrigin(resource.value, document, connection)
            self.missing |= {resource.name} - found.keys()
        return found

    def report(self, mesh: Mesh) -> None:
        """Report what keeps the projects from being one graph, and the tests that no asset has."""
        self.faults += [_clash_fault(self.origins[clash.second.origin].document, clash) for clash in mesh.clashes]
        for place in mesh.assets:
            project = mesh.projects[place.origin]
            for lost in mesh.upstreams(place.origin, project.nodes[place.unique_id])[1]:
                if not self.missing or lost.split(".")[1] == project.name:  # else it may be in what could not be read
                    message = f"{place.unique_id} depends on {lost}, which the manifest does not have"
                    document = self.origins[place.origin].document
                    self.faults.append(_at_project(document, "unknown-reference", message, _PARSE_AGAIN))
        for origin, project in mesh.projects.items():
            for test in project.tests:
                if test.tests is None or mesh.home(Place(origin, test.tests)) is None:
                    message = f"{test.unique_id} is not a test of one asset: none is checked by it"
                    hint = "a Conditions resource that runs it can be added to the asset that is meant"
                    fault = _at_project(self.origins[origin].document, "dbt-test-of-none", message, hint)
                    self.faults.append(replace(fault, severity="warning"))

    def _connection(
        self, document: Document, origin: OriginFile, connections: Mapping[str, Located]
    ) -> DbtConnection | None:
        name = origin.spec.connection
        known = connections.get(name)
        if not document.is_whole(("spec", "connection")):
            return None
        readable = all(r.name for r in self.located if r.kind == "Connection")
        of_no_kind = {r.name for r in self.located if r.kind not in KINDS}
        doubtful = not readable or self.unread.may_define("Connection", name) or not of_no_kind.isdisjoint({name, ""})
        if known is None and not doubtful:
            hint = nearest_hint(name, connections) if connections else "no Connection is defined"
            message = f"there is no Connection {excerpt(name)}"
            self.faults.append(document.fault("unknown-reference", message, ("spec", "connection"), hint))
        elif known is not None and isinstance(known.value, ConnectionFile):
            if not known.document.is_whole(("spec", "type")):
                return None
            if isinstance(known.value.spec, DbtConnection):
                return known.value.spec
            message = f"the connection {excerpt(name)} is of type {known.value.spec.type}, and not of type dbt"
            self.faults.append(document.fault("wrong-value", message, ("spec", "connection")))
        return None

    def _manifest(self, document: Document, origin: OriginFile) -> DbtProject | None:
        if not document.is_whole(("spec", "projectDir")):
            return None
        directory = origin.spec.project_dir
        path = manifest_of(directory)
        content = self.files.get(path)
        if content is None:
            message = f"there is no {path} among the files of the project"
            self.faults.append(_at_project(document, "dbt-manifest", message, f"{_PARSE} in {directory} writes it"))
            return None
        self.bytes_left -= len(content)
        if self.bytes_left < 0:
            message = f"{path}: the manifests of dbt together have more than {DBT_MANIFESTS_BYTES_MAX} bytes"
            self.faults.append(_at_project(document, "too-large", message))
            return None
        project, messages = read_manifest(content)
        self.faults += [_at_project(document, "dbt-manifest", f"{path}: {text}", _PARSE_AGAIN) for text in messages]
        return project


_PARSE: Final = "'dbt parse' (or 'dbt compile')"
_PARSE_AGAIN: Final = f"{_PARSE} writes it anew"


def _at_project(document: Document, code: str, message: str, hint: str = "") -> Fault:
    return document.fault(code, message, ("spec", "projectDir"), hint)


def _clash_fault(document: Document, clash: Clash) -> Fault:
    more = f", and so for {clash.more} more" if clash.more else ""
    (first, one), (second, other) = clash.first, clash.second
    message = f"{other} of Origin {excerpt(second)} and {one} of Origin {excerpt(first)}: {clash.what}{more}"
    return _at_project(document, "duplicate-name", message, "rename one, or read its project by one Origin only")


def _merged(located: Sequence[Located], made: Sequence[Located], faults: list[Fault]) -> tuple[Located, ...]:
    """Return everything, with the assets that are written and made joined in the place of the written one."""
    assets = {resource.name: resource for resource in made if resource.kind == "Asset"}
    joined: list[Located] = []
    for resource in located:
        theirs = assets.pop(resource.name, None) if resource.kind == "Asset" else None
        if theirs is not None and isinstance(theirs.value, AssetFile) and isinstance(resource.value, AssetFile):
            faults += in_vain(theirs.value, (resource.document, resource.value))
            joined.append(Located(*merge((theirs.document, theirs.value), (resource.document, resource.value))))
        else:
            joined.append(resource)
    rest = [resource for resource in made if resource.kind != "Asset" or resource.name in assets]
    return (*joined, *rest)
