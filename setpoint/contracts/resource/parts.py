"""What assets are made of: Conditions, Syncs, Identities and Connections, each checked once whoever uses it.

Called by resolve before any asset is compiled. Every fault goes into the registry; what is wrong is left out here, and
the assets that use it say nothing of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from setpoint.contracts.limits import COMPILED_ASSET_BYTES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.database import Database, Surroundings, Unasked, database_of
from setpoint.contracts.resource.inline import Text, condition_texts, sync_texts
from setpoint.contracts.resource.outside import ConnectionFile, IdentityFile, OriginFile
from setpoint.contracts.resource.registry import Registry
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import CommandCondition, ConditionsFile, SyncFile
from setpoint.contracts.resource.template import Expander, template_faults, variables
from setpoint.contracts.resource.tree import Document, Path
from setpoint.contracts.resource.variable import misuses


@dataclass
class Parts:
    """The parts of a project. ``check`` fills the rest in.

    ``used_variables`` has the template variables of each Conditions and Sync by kind and name, ``condition_names`` what
    can be read of the names of the conditions of each Conditions, ``identities`` the
    environment of each Identity, ``databases`` what each Connection leads to, None when it leads nowhere;
    ``nowhere`` says why, of servers and of those of Origins, which is a fault once a condition asks it. ``unasked`` are
    the servers: that they are not supported is a warning until then.
    """

    registry: Registry
    files: Mapping[str, bytes]
    given: Mapping[str, str]
    used_variables: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    condition_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    identities: dict[str, Mapping[str, str]] = field(default_factory=dict)
    databases: dict[str, Database | None] = field(default_factory=dict)
    nowhere: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    unasked: set[str] = field(default_factory=set)
    warnings: list[Fault] = field(default_factory=list)

    def check(self) -> None:
        """Check every part and note what the assets need of it."""
        for document, identity in self.registry.each("Identity", IdentityFile):
            self._check_identity(document, identity)
        for document, origin in self.registry.each("Origin", OriginFile):
            self._check_origin(document, origin)
        named_by_origin = self._named_by_origin()
        for document, connection in self.registry.each("Connection", ConnectionFile):
            self._check_connection(document, connection, named_by_origin(connection.metadata.name))
        for document, conditions in self.registry.each("Conditions", ConditionsFile):
            self._check_texts(document, "Conditions", conditions.metadata.name, list(condition_texts(conditions)))
            self._check_conditions(document, conditions)
        for document, sync in self.registry.each("Sync", SyncFile):
            self._check_texts(document, "Sync", sync.metadata.name, list(sync_texts(sync)))
            self._find_identity(document, ("spec", "identity"), sync.spec.identity)
            for name in ("pre", "run", "post"):
                step = getattr(sync.spec, name)
                self._find_identity(document, ("spec", name, "identity"), step and step.identity)

    def _check_identity(self, document: Document, identity: IdentityFile) -> None:
        for name, text in identity.spec.env.items():
            path = ("spec", "env", name)
            self._check_variables(document, path, text)
            if template_faults(text) or variables(text):
                message = "an Identity stands for itself: there are no templates in it"
                self._add(document.fault("unknown-template-variable", message, path))
        expander = Expander({}, COMPILED_ASSET_BYTES_MAX, self.given)
        env = {name: expander.expand_env(text) for name, text in identity.spec.env.items()}
        self.identities.setdefault(identity.metadata.name, env)

    def _check_origin(self, document: Document, origin: OriginFile) -> None:
        """Check what an Origin says of all it makes; so it is told even when nothing can be made."""
        if origin.spec.default_sync is not None:
            path = ("spec", "defaultSync", "sync")
            self.registry.find("Sync", origin.spec.default_sync.sync, document, path, SyncFile)
        for name, text in origin.spec.env.items():
            self._check_variables(document, ("spec", "env", name), text)

    def _named_by_origin(self) -> Callable[[str], bool]:
        """Return what tells whether an Origin may name this connection as its own."""
        origins = list(self.registry.each("Origin", OriginFile))
        unread = self.registry.unread
        hidden = "Origin" in unread.words or not unread.origins <= {origin.metadata.name for _, origin in origins}
        hidden = hidden or not all(document.is_whole(("spec", "connection")) for document, _ in origins)
        names = {origin.spec.connection for _, origin in origins}
        return lambda name: hidden or name in names or (not name and bool(origins))

    def _check_connection(self, document: Document, connection: ConnectionFile, of_origin: bool) -> None:
        """Find what a connection leads to. An Origin's is for dbt itself: only a condition that asks it must know."""
        name, identity = connection.metadata.name, connection.spec.identity
        known = self._find_identity(document, ("spec", "identity"), identity)
        if identity is not None and connection.spec.type in ("duckdb", "sqlite"):
            message = f"identity is ignored: nothing is run to ask a file of {connection.spec.type}"
            fault = document.warning("ignored", message, ("spec", "identity"), at_key=True)
            self.warnings.append(fault)
        env = {**self.given, **(self.identities.get(identity, {}) if identity else {})}
        found = database_of(document, connection, Surroundings(self.files, env))
        if name in self.databases:
            return
        self.databases[name] = found if isinstance(found, Database) and document.is_whole(("spec", "type")) else None
        if isinstance(found, Unasked):
            self.nowhere[name] = (found.fault,)
            self.unasked |= set() if of_origin else {name}
        elif not isinstance(found, Database):
            told = tuple(fault for fault in found if known or fault.code != "unset-variable")
            if of_origin:
                self.nowhere[name] = told
            else:
                self.registry.faults.extend(told)

    def warnings_of_unasked(self) -> Iterator[Fault]:
        """Yield a warning for each connection that no probe could ask and that, as it turned out, none does."""
        for name in sorted(self.unasked & self.nowhere.keys()):
            yield from (replace(fault, severity="warning") for fault in self.nowhere[name])

    def _check_conditions(self, document: Document, conditions: ConditionsFile) -> None:
        named = [document.is_whole(("spec", index, "name")) for index in range(len(conditions.spec))]
        names = tuple(condition.name for condition, known in zip(conditions.spec, named, strict=True) if known)
        self.condition_names.setdefault(conditions.metadata.name, names)
        seen: set[str] = set()
        for index, condition in enumerate(conditions.spec):
            path: Path = ("spec", index)
            if condition.name in seen and named[index]:
                message = f"there is another condition named {excerpt(condition.name)}"
                self._add(document.fault("duplicate-name", message, (*path, "name")))
            seen.add(condition.name)
            unclocked = condition.check_at is None and document.is_whole((*path, "checkAt"))
            if condition.timezone is not None and unclocked:
                message = "timezone says by which clock checkAt goes, and there is no checkAt"
                self._add(document.fault("wrong-value", message, (*path, "timezone"), at_key=True))
            if isinstance(condition, CommandCondition):
                self._find_identity(document, (*path, "identity"), condition.identity)

    def _check_texts(self, document: Document, kind: str, name: str, texts: list[Text]) -> None:
        self.used_variables.setdefault((kind, name), frozenset().union(*(variables(text) for _, text in texts)))
        for path, text in texts:
            for message in template_faults(text):
                hint = "known are asset.name, asset.modelName and sync.KEY"
                self._add(document.fault("unknown-template-variable", message, path, hint))
            if path[-2] == "env":
                self._check_variables(document, path, text)

    def _check_variables(self, document: Document, path: Path, text: str) -> None:
        for misuse in misuses(text, self.given):
            self._add(document.fault(misuse.code, misuse.message, path, misuse.hint))

    def _find_identity(self, document: Document, path: Path, name: str | None) -> bool:
        """Tell whether all of the environment that this identity gives is known."""
        if name is None:
            return document.is_whole(path)
        found = self.registry.find("Identity", name, document, path, IdentityFile)
        return found is not None and self.registry.document("Identity", name).is_whole(("spec", "env"))

    def _add(self, fault: Fault) -> None:
        self.registry.faults.append(fault)
