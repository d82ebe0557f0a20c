"""The resources that dbt projects stand for: Assets, their Conditions and the Syncs, as documents. Called by origin.py.

They are written out as a person would write them and go the way of all documents, so that whatever is wrong with one is
found by the same checks; such a fault stands at the Origin and names what it is about by its unique id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.dbt_manifest import DbtNode, DbtTest
from setpoint.contracts.resource.dbt_mesh import Mesh, Place, asset_name
from setpoint.contracts.resource.outside import DbtConnection, OriginFile
from setpoint.contracts.resource.tree import Document, Path

_API: Final = "setpoint.dev/v1alpha1"
_VERBS: Final = {"model": "run", "seed": "seed", "snapshot": "snapshot"}
_OPERATORS: Final = re.compile(r"[^A-Za-z0-9_.$-]")
_TITLE_CHARS_MAX: Final = 128

_OF_ALL: Final = {
    "never-due": (
        "after its first evaluation nothing will look by itself at what this Origin makes out of nothing else",
        "give the Origin an interval",
    )
}
"""What can be said of many assets of an Origin and is said once, of the Origin: message and hint by code."""


@dataclass(frozen=True)
class Made(Document):
    """The document of a resource that an Origin makes: ``value`` was made, the places are those of the Origin.

    ``what`` is its unique id in dbt, or other words for it.
    """

    origin: Document
    what: str

    def fault(self, code: str, message: str, path: Path, hint: str = "", *, at_key: bool = False) -> Fault:
        """Make a fault at what the Origin itself says, else at its project, naming what of it the fault is about."""
        said = self._said(path)
        if code in _OF_ALL:
            message, hint = _OF_ALL[code]
            return self.origin.fault(code, message, ("metadata", "name"), hint)
        if said:
            return self.origin.fault(code, message, said, hint)
        return self.origin.fault(code, f"{message}, in {self.what}", ("spec", "projectDir"), hint)

    def is_whole(self, path: Path) -> bool:
        """Tell whether what the Origin says there, or else all that it says, has no hole."""
        return super().is_whole(path) and self.origin.is_whole(self._said(path) or ("spec",))

    def _said(self, path: Path) -> Path:
        """Return where the Origin says what stands at this path of all it makes; nothing when dbt says it.

        So what is wrong with the Origin is found many times and told once.
        """
        if "env" in path:
            return ("spec", *path[path.index("env") :])
        if path[-1:] in (("connection",), ("identity",)):
            return ("spec", "connection")
        default: Path = ("spec", "defaultSync")
        if path[:2] == ("spec", "onDrift") and path[3:4] != ("conditions",) and default in self.origin.places:
            return (*default, *path[3:])
        return ()


@dataclass(frozen=True)
class DbtOrigin:
    """An Origin of type DBT, where it is written, and the connection it names."""

    written: OriginFile
    document: Document
    connection: DbtConnection

    @property
    def name(self) -> str:
        """Return the Origin's name."""
        return self.written.metadata.name

    def command(self, verb: str, selection: str) -> list[str]:
        """Return the words of a dbt command about one node of this project."""
        words = ["dbt", verb, "--select", selection, "--project-dir", self.written.spec.project_dir]
        words += ["--profile", self.connection.profile]
        if self.connection.target is not None:
            words += ["--target", self.connection.target]
        if "profiles_dir" in self.connection.model_fields_set:
            words += ["--profiles-dir", self.connection.profiles_dir]
        return words

    def document_of(self, kind: str, name: str, spec: object, what: str, **metadata: object) -> Made:
        """Return the document of a resource, made for ``what``."""
        value = {"apiVersion": _API, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
        return Made(self.document.source, value, self.document.places, self.document, what)


@dataclass(frozen=True)
class Generator:
    """Writes the resources of all Origins."""

    origins: Mapping[str, DbtOrigin]
    mesh: Mesh

    def documents(self) -> Iterator[Made]:
        """Yield every Asset with its Conditions, then the Syncs and what else they share."""
        tests = self._tests_by_node()
        guests: dict[Place, list[Place]] = {}
        for place in tests:
            home = self.mesh.home(place)
            if home is not None and home != place:
                guests.setdefault(home, []).append(place)
        shared: dict[tuple[str, str], None] = {}
        for place, name in self.mesh.assets.items():
            yield from self._asset(place, name, tests, guests.get(place, []), shared)
        for origin, verb in shared:
            yield self._shared(self.origins[origin], verb)

    def _tests_by_node(self) -> Mapping[Place, list[DbtTest]]:
        found: dict[Place, list[DbtTest]] = {}
        for origin, project in self.mesh.projects.items():
            for test in sorted(project.tests, key=lambda test: test.unique_id):
                if test.tests is not None:
                    found.setdefault(Place(origin, test.tests), []).append(test)
        return found

    def _asset(
        self,
        place: Place,
        name: str,
        tests: Mapping[Place, list[DbtTest]],
        guests: list[Place],
        shared: dict[tuple[str, str], None],
    ) -> Iterator[Made]:
        origin, node = self.origins[place.origin], self.mesh.projects[place.origin].nodes[place.unique_id]
        pairs: list[dict[str, Any]] = []
        taken: set[str] = set()
        if place in tests:
            yield self._conditions(place, name, tests[place], taken)
            pairs.append({"conditions": _tests_name(name)})
        elif node.made:
            shared[place.origin, "untested"] = None
            pairs.append({"conditions": _shared_name(origin, "untested")})
        if node.made:
            pairs[0] |= self._sync(origin, node, shared)
        for guest in guests:
            known_as = asset_name(guest.origin, self.mesh.projects[guest.origin].nodes.get(guest.unique_id, node))
            yield self._conditions(guest, known_as, tests[guest], taken)
            pairs.append({"conditions": _tests_name(known_as)})
        spec: dict[str, Any] = {
            "upstreams": list(self.mesh.upstreams(place.origin, node)[0]),
            "connection": origin.written.spec.connection,
            "modelName": node.name,
            "onDrift": pairs,
        }
        if origin.written.spec.auto_sync is not None:
            spec["autoSync"] = origin.written.spec.auto_sync
        labels = {f"dbt/{tag}": "" for tag in node.tags}
        yield origin.document_of("Asset", name, spec, node.unique_id, labels=labels)

    def _conditions(self, place: Place, name: str, tests: list[DbtTest], taken: set[str]) -> Made:
        origin = self.origins[place.origin]
        spec = [
            {
                **self._runs(origin),
                **self._timing(origin),
                "name": _title(place.origin, test, taken),
                "run": origin.command("test", _selection(test.name)),
            }
            for test in tests
        ]
        return origin.document_of("Conditions", _tests_name(name), spec, f"the tests of {place.unique_id}")

    def _sync(self, origin: DbtOrigin, node: DbtNode, shared: dict[tuple[str, str], None]) -> dict[str, Any]:
        default = origin.written.spec.default_sync
        if default is not None and node.kind == "model":
            return {"sync": default.sync, "with": default.with_}
        verb = _VERBS[node.kind]
        shared[origin.name, verb] = None
        return {"sync": _shared_name(origin, verb)}

    def _shared(self, origin: DbtOrigin, verb: str) -> Made:
        name, what = _shared_name(origin, verb), f"the resources of Origin {origin.name}"
        if verb == "untested":
            condition = {"name": "untested", "type": "Command", "run": ["true"]}
            return origin.document_of("Conditions", name, [condition | self._timing(origin)], what)
        run = self._runs(origin) | {"args": origin.command(verb, "{{ asset.modelName }}")}
        return origin.document_of("Sync", name, {"run": run}, what)

    def _timing(self, origin: DbtOrigin) -> dict[str, Any]:
        interval = origin.written.spec.interval
        return {} if interval is None else {"interval": f"{round(interval * 1000)}ms"}

    def _runs(self, origin: DbtOrigin) -> dict[str, Any]:
        runs: dict[str, Any] = {"type": "Command", "env": origin.written.spec.env}
        return runs if origin.connection.identity is None else runs | {"identity": origin.connection.identity}


def _tests_name(asset: str) -> str:
    return f"dbt-tests-{asset}"


def _shared_name(origin: DbtOrigin, verb: str) -> str:
    return f"{origin.name}-dbt-{verb}"


def _selection(name: str) -> str:
    """Return what selects the node of this name alone: dbt reads spaces, commas, ``+`` and ``@`` as operators."""
    return _OPERATORS.sub("?", name)


def _title(origin: str, test: DbtTest, taken: set[str]) -> str:
    """Return the name of a test's condition: dbt's own, unless that is too long or another test of the asset has it."""
    title = test.name
    if len(title) > _TITLE_CHARS_MAX or title in taken or not title.isprintable():
        printable = "".join(char if char.isprintable() else "_" for char in test.name)
        digest = sha256_hex(f"{origin}/{test.unique_id}".encode(errors="replace"))[:16]
        title = f"{printable[: _TITLE_CHARS_MAX - len(digest) - 1]}-{digest}"
    taken.add(title)
    return title
