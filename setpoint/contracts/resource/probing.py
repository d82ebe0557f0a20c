"""What can be said of SQL and Freshness conditions once an asset, its connection and its names are known.

Called by resolve for each pair that has such conditions. Positions are those of the Conditions where the mistake is in
them, and those of the asset where it lacks what they need.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from setpoint.contracts.resource.database import Database
from setpoint.contracts.resource.model import Pair
from setpoint.contracts.resource.outside import ConnectionFile
from setpoint.contracts.resource.parts import Parts
from setpoint.contracts.resource.query import ENGINE_NAMES, Flaw, Judge
from setpoint.contracts.resource.registry import Registry
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import (
    AssetSpec,
    CommandCondition,
    ConditionsFile,
    FreshnessCondition,
    SqlCondition,
)
from setpoint.contracts.resource.template import template_faults, variables
from setpoint.contracts.resource.tree import Document, Path


@dataclass
class Probing:
    """Finds the database of an asset, and judges what its conditions ask of it."""

    registry: Registry
    parts: Parts
    judge: Judge = field(default_factory=Judge)

    def database(self, document: Document, spec: AssetSpec) -> Database | None:
        """Return the database of an asset; None when it has no connection, or one that leads nowhere."""
        name = spec.connection
        if name is None:
            return None
        self.registry.find("Connection", name, document, ("spec", "connection"), ConnectionFile)
        return self.parts.databases.get(name)

    def check_needs(self, document: Document, path: Path, spec: AssetSpec, conditions: ConditionsFile) -> None:
        """Report conditions that ask a database in an asset that names none; ``path`` is where it names them."""
        asks = next((one for one in conditions.spec if not isinstance(one, CommandCondition)), None)
        if asks is not None and spec.connection is None and document.is_whole(("spec", "connection")):
            message = f"the condition {excerpt(asks.name)} asks a database, and this asset has no connection"
            fault = document.fault("missing-field", message, (*path, "conditions"), "add connection under spec")
            self.registry.faults.append(fault)
        elif asks is not None and spec.connection is not None:
            self.registry.faults.extend(self.parts.nowhere.pop(spec.connection, ()))

    def check_pair(self, asset: str, conditions: ConditionsFile, pair: Pair, names: frozenset[str] | None) -> None:
        """Report questions that cannot be asked.

        ``names`` are the texts that templates brought into them; None: those are not known, nor are such questions.
        """
        document = self.registry.document("Conditions", conditions.metadata.name)
        for index, (written, compiled) in enumerate(zip(conditions.spec, pair.conditions, strict=True)):
            path: Path = ("spec", index)
            probe = compiled.probe
            if probe is None:
                continue
            lacks_column = isinstance(written, FreshnessCondition) and not written.column
            if lacks_column and document.is_whole((*path, "column")):
                message = f"{ENGINE_NAMES[probe.engine]} keeps no time at which a table changed: a column is needed"
                self.registry.faults.append(document.fault("missing-field", message, (*path, "type"), at_key=True))
            if isinstance(written, SqlCondition) and document.is_whole((*path, "query")):
                if _is_half_filled(written.query, probe.query) or (names is None and "{{" in written.query):
                    continue
                flaw = self.judge.flaw(probe.engine, probe.query, names or frozenset())
                if flaw is not None:
                    self._report(document, path, written.query, flaw, asset)

    def _report(self, document: Document, path: Path, written: str, flaw: Flaw, asset: str) -> None:
        place = f" (line {flaw.line}, column {flaw.column} of the query)" if flaw.line else ""
        as_filled = f" as asset {asset} fills it in" if "{{" in written else ""
        line, column = (0, 0) if "{{" in written else (flaw.line, flaw.column)
        message = f"{flaw.message}{place}{as_filled}"
        fault = document.fault_inside(flaw.code, message, (*path, "query"), line, column)
        self.registry.faults.append(fault)


def _is_half_filled(written: str, filled: str) -> bool:
    """Tell whether templates of a query could not be filled in, which is reported where they are."""
    return bool(template_faults(written) or variables(written) & variables(filled))
