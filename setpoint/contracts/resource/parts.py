"""What assets are made of: Conditions, Syncs, Identities and Connections, each checked once whoever uses it.

Called by resolve before any asset is compiled. Every fault goes into the registry; what is wrong is left out here, and
the assets that use it say nothing of it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from setpoint.contracts.limits import COMPILED_ASSET_BYTES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.database import Database, Surroundings, database_of
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

    ``used_variables`` has the template variables of each Conditions and Sync by kind and name, ``identities`` the
    environment of each Identity, ``databases`` what each Connection leads to, None when it leads nowhere;
    ``nowhere`` says why, of those of Origins, which is a fault once a condition asks it.
    """

    registry: Registry
    files: Mapping[str, bytes]
    given: Mapping[str, str]
    used_variables: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    identities: dict[str, Mapping[str, str]] = field(default_factory=dict)
    databases: dict[str, Database | None] = field(default_factory=dict)
    nowhere: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    warnings: list[Fault] = field(default_factory=list)

    def check(self) -> None:
        """Check every part and note what the assets need of it."""
        for document, identity in self.registry.each("Identity", IdentityFile):
            self._check_identity(document, identity)
        of_origins = {origin.spec.connection for _, origin in self.registry.each("Origin", OriginFile)}
        for document, connection in self.registry.each("Connection", ConnectionFile):
            self._check_connection(document, connection, connection.metadata.name in of_origins)
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
        self.identities[identity.metadata.name] = {
            name: expander.expand_env(text) for name, text in identity.spec.env.items()
        }

    def _check_connection(self, document: Document, connection: ConnectionFile, of_origin: bool) -> None:
        """Find what a connection leads to. An Origin's is for dbt itself: only a condition that asks it must know."""
        identity = connection.spec.identity
        self._find_identity(document, ("spec", "identity"), identity)
        if identity is not None and connection.spec.type in ("duckdb", "sqlite"):
            message = f"identity is ignored: nothing is run to ask a file of {connection.spec.type}"
            fault = document.warning("ignored", message, ("spec", "identity"), at_key=True)
            self.warnings.append(fault)
        env = {**self.given, **(self.identities.get(identity, {}) if identity else {})}
        found = database_of(document, connection, Surroundings(self.files, env))
        if not isinstance(found, Database) and of_origin:
            self.nowhere[connection.metadata.name] = found
        elif not isinstance(found, Database):
            self.registry.faults.extend(found)
        self.databases[connection.metadata.name] = found if isinstance(found, Database) else None

    def _check_conditions(self, document: Document, conditions: ConditionsFile) -> None:
        seen: set[str] = set()
        for index, condition in enumerate(conditions.spec):
            path: Path = ("spec", index)
            if condition.name in seen:
                message = f"there is another condition named {excerpt(condition.name)}"
                self._add(document.fault("duplicate-name", message, (*path, "name")))
            seen.add(condition.name)
            if condition.timezone is not None and condition.check_at is None:
                message = "timezone says by which clock checkAt goes, and there is no checkAt"
                self._add(document.fault("wrong-value", message, (*path, "timezone"), at_key=True))
            if isinstance(condition, CommandCondition):
                self._find_identity(document, (*path, "identity"), condition.identity)

    def _check_texts(self, document: Document, kind: str, name: str, texts: list[Text]) -> None:
        self.used_variables[kind, name] = frozenset().union(*(variables(text) for _, text in texts))
        for path, text in texts:
            for message in template_faults(text):
                hint = "known are asset.name, asset.modelName and sync.KEY"
                self._add(document.fault("unknown-template-variable", message, path, hint))
            if path[-2] == "env":
                self._check_variables(document, path, text)

    def _check_variables(self, document: Document, path: Path, text: str) -> None:
        for misuse in misuses(text, self.given):
            self._add(document.fault(misuse.code, misuse.message, path, misuse.hint))

    def _find_identity(self, document: Document, path: Path, name: str | None) -> None:
        if name is not None:
            self.registry.find("Identity", name, document, path, IdentityFile)

    def _add(self, fault: Fault) -> None:
        self.registry.faults.append(fault)
