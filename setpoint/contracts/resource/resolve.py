"""Resources into compiled assets: names resolved, templates filled in, everything an asset needs drawn into it.

Called by compile with resources whose shape is right. Reports every fault it finds; an asset with one is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.limits import (
    ARGUMENT_BYTES_MAX,
    ASSETS_MAX,
    COMPILED_ASSET_BYTES_MAX,
    COMPILED_BYTES_MAX,
    RUN_STEPS_MAX,
)
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.graph import cycles
from setpoint.contracts.resource.inline import Text, commands, condition_texts, inline_pair, sync_texts
from setpoint.contracts.resource.model import CompiledAsset, Pair
from setpoint.contracts.resource.registry import Located, Registry
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import AssetFile, AutoSync, ConditionsFile, OnDrift, SyncFile
from setpoint.contracts.resource.support import VARIABLES_NOT_YET, unsupported
from setpoint.contracts.resource.template import SYNC_PREFIX, Expander, template_faults, variables
from setpoint.contracts.resource.tree import Document, Path

_CYCLE_NAMES_SHOWN = 20


def resolve(resources: Iterable[Located], *, complete: bool) -> tuple[dict[str, CompiledAsset], tuple[Fault, ...]]:
    """Compile all assets by name, sorted. ``complete`` False: some file is missing, so names that are not there may be
    in it and are not reported. The assets are whole only when there is no fault.
    """
    registry = Registry(complete)
    registry.register(resources)
    resolver = _Resolver(registry)
    resolver.check_texts()
    assets = resolver.assets()
    return assets, tuple(registry.faults)


@dataclass
class _Resolver:
    registry: Registry
    bytes_left: int = COMPILED_BYTES_MAX
    used_variables: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def check_texts(self) -> None:
        """Check what can be said of Conditions and Syncs whoever uses them, and note the variables each uses."""
        for document, conditions in self.registry.each("Conditions", ConditionsFile):
            self._check_resource(document, "Conditions", conditions.metadata.name, list(condition_texts(conditions)))
            self._check_condition_names(document, conditions)
        for document, sync in self.registry.each("Sync", SyncFile):
            self._check_resource(document, "Sync", sync.metadata.name, list(sync_texts(sync)))

    def assets(self) -> dict[str, CompiledAsset]:
        """Compile every sound asset, then look for cycles."""
        if len(self.registry.names("Asset")) > ASSETS_MAX:
            self._add(Fault("too-large", f"a project has at most {ASSETS_MAX} assets"))
            return {}
        compiled: dict[str, CompiledAsset] = {}
        for document, asset in self.registry.each("Asset", AssetFile):
            made = self._asset(document, asset)
            if made is None:
                continue
            compiled[made.name] = made
            if self.bytes_left < 0:
                message = f"the compiled project is larger than {COMPILED_BYTES_MAX} bytes, from this asset on"
                self._add(document.fault("too-large", message, ()))
                return {}
        self._check_cycles()
        return compiled

    def _check_resource(self, document: Document, kind: str, name: str, texts: list[Text]) -> None:
        self.used_variables[kind, name] = frozenset().union(*(variables(text) for _, text in texts))
        for path, text in texts:
            for message in template_faults(text):
                hint = "known are asset.name, asset.modelName and sync.KEY"
                self._add(document.fault("unknown-template-variable", message, path, hint))
            if path[-2] == "env" and "${" in text:
                self._add(unsupported(document, path, VARIABLES_NOT_YET))

    def _check_condition_names(self, document: Document, conditions: ConditionsFile) -> None:
        seen: set[str] = set()
        for index, condition in enumerate(conditions.spec):
            if condition.name in seen:
                message = f"there is another condition named {excerpt(condition.name)}"
                self._add(document.fault("duplicate-name", message, ("spec", index, "name")))
            seen.add(condition.name)
            if condition.timezone is not None and condition.check_at is None:
                message = "timezone says by which clock checkAt goes, and there is no checkAt"
                self._add(document.fault("wrong-value", message, ("spec", index, "timezone"), at_key=True))

    def _asset(self, document: Document, written: AssetFile) -> CompiledAsset | None:
        spec, name = written.spec, written.metadata.name
        faults_before = len(self.registry.faults)
        for index, upstream in enumerate(spec.upstreams):
            self.registry.find("Asset", upstream, document, ("spec", "upstreams", index), AssetFile)
        model_name = spec.model_name or name
        expander = Expander({"asset.name": name, "asset.modelName": model_name}, COMPILED_ASSET_BYTES_MAX)
        ttl_s = spec.evaluate_cache_ttl
        pairs = [self._pair(document, index, entry, expander, ttl_s) for index, entry in enumerate(spec.on_drift)]
        whole = tuple(pair for pair in pairs if pair is not None)
        self._check_asset(document, written, whole)
        if len(self.registry.faults) > faults_before or len(whole) < len(pairs):
            return None
        auto = spec.auto_sync
        compiled = CompiledAsset(
            name=name,
            model_name=model_name,
            labels=dict(sorted(written.metadata.labels.items())),
            upstreams=tuple(sorted(set(spec.upstreams))),
            auto_sync_on_drift=auto.on_drift if isinstance(auto, AutoSync) else auto,
            auto_sync_on_change=auto.on_change if isinstance(auto, AutoSync) else False,
            upstream_policy="all" if spec.upstream_policy == "all" else "any",
            on_upstream=spec.on_upstream,
            pairs=whole,
        )
        return self._sealed(document, compiled)

    def _sealed(self, document: Document, compiled: CompiledAsset) -> CompiledAsset | None:
        """Give the asset its digest, and refuse it when it is too large for a run's frame."""
        content = canonical_json(compiled)
        self.bytes_left -= len(content)
        if len(content) > COMPILED_ASSET_BYTES_MAX:
            message = f"the asset with all it uses is larger than {COMPILED_ASSET_BYTES_MAX} bytes"
            self._add(document.fault("too-large", message, ()))
            return None
        return msgspec.structs.replace(compiled, digest=sha256_hex(content))

    def _check_asset(self, document: Document, written: AssetFile, pairs: tuple[Pair, ...]) -> None:
        """Check what holds across the pairs of an asset."""
        spec = written.spec
        if spec.upstream_policy is not None and not spec.on_drift:
            message = "upstreamPolicy says when to sync, and an asset without onDrift has nothing to sync"
            self._add(document.fault("wrong-value", message, ("spec", "upstreamPolicy"), at_key=True))
        syncs = sorted({entry.sync for entry in spec.on_drift if entry.sync is not None})
        if spec.on_upstream is not None and spec.on_upstream not in syncs:
            message = f"no pair of this asset has the sync {excerpt(spec.on_upstream)}"
            hint = f"its syncs are {', '.join(syncs)}" if syncs and len(syncs) <= _CYCLE_NAMES_SHOWN else ""
            self._add(document.fault("unknown-reference", message, ("spec", "onUpstream"), hint))
        seen: set[str] = set()
        for index, pair in enumerate(pairs):
            twice = [condition.name for condition in pair.conditions if condition.name in seen]
            seen.update(condition.name for condition in pair.conditions)
            if twice:
                message = f"the asset has another condition named {excerpt(twice[0])} in a pair above"
                self._add(document.fault("duplicate-name", message, ("spec", "onDrift", index, "conditions")))
        if len(seen) + 3 > RUN_STEPS_MAX:
            message = f"an asset has at most {RUN_STEPS_MAX - 3} conditions; this one has {len(seen)}"
            self._add(document.fault("too-large", message, ("spec", "onDrift"), at_key=True))

    def _pair(
        self, document: Document, index: int, entry: OnDrift, asset_texts: Expander, ttl_s: float | None
    ) -> Pair | None:
        path: Path = ("spec", "onDrift", index)
        texts = self._with_values(document, path, entry, asset_texts)
        conditions = self.registry.find("Conditions", entry.conditions, document, (*path, "conditions"), ConditionsFile)
        sync = None
        if entry.sync is not None:
            sync = self.registry.find("Sync", entry.sync, document, (*path, "sync"), SyncFile)
        if conditions is None or (sync is None and entry.sync is not None):
            return None
        self._check_variables(document, path, entry, texts.values)
        compiled = inline_pair(conditions, sync, texts, ttl_s)
        asset_texts.chars_left = texts.chars_left
        if texts.overflown:
            message = f"with its templates filled in, the asset is larger than {COMPILED_ASSET_BYTES_MAX} bytes"
            self._add(document.fault("too-large", message, path))
        else:
            self._check_commands(document, path, entry, compiled)
        return compiled

    def _with_values(self, document: Document, path: Path, entry: OnDrift, asset_texts: Expander) -> Expander:
        """Return an expander that knows the variables of the asset and those of ``with``."""
        values = dict(asset_texts.values)
        for key, text in entry.with_.items():
            place = (*path, "with", key)
            faults = [*template_faults(text)]
            faults += [
                f"{name} cannot be used inside 'with'" for name in variables(text) if name.startswith(SYNC_PREFIX)
            ]
            for message in faults:
                hint = "known here are asset.name and asset.modelName"
                self._add(document.fault("unknown-template-variable", message, place, hint))
            values[SYNC_PREFIX + key] = asset_texts.expand(text)
        return Expander(values, asset_texts.chars_left)

    def _check_variables(self, document: Document, path: Path, entry: OnDrift, values: Mapping[str, str]) -> None:
        """Report variables of a used resource that ``with`` does not give."""
        used = [("Conditions", entry.conditions)] + ([("Sync", entry.sync)] if entry.sync is not None else [])
        for kind, name in used:
            for variable in sorted(self.used_variables.get((kind, name), frozenset()) - values.keys()):
                if variable.startswith(SYNC_PREFIX):
                    key = variable.removeprefix(SYNC_PREFIX)
                    message = f"{kind} {excerpt(name)} uses {excerpt(variable)}, which this entry does not give"
                    self._add(document.fault("unknown-template-variable", message, path, f"add {key} under 'with'"))

    def _check_commands(self, document: Document, path: Path, entry: OnDrift, pair: Pair) -> None:
        """Check what can only be said once the templates are filled in."""
        for command in commands(pair):
            words = (*command.argv, *(f"{name}={value}" for name, value in command.env))
            if any(len(word) > ARGUMENT_BYTES_MAX // 4 and len(word.encode()) > ARGUMENT_BYTES_MAX for word in words):
                message = f"an argument or variable of a command is longer than {ARGUMENT_BYTES_MAX} bytes"
                self._add(document.fault("too-large", message, path, "put it into a file of the project"))
            if not command.argv[0]:
                message = "with its templates filled in, a command has no program to run"
                self._add(document.fault("wrong-value", message, path))
            for key, text in entry.with_.items():
                if "${" in text and any(text in value for _, value in command.env):
                    self._add(unsupported(document, (*path, "with", key), VARIABLES_NOT_YET))

    def _check_cycles(self) -> None:
        written = {asset.metadata.name: (document, asset) for document, asset in self.registry.each("Asset", AssetFile)}
        for walk in cycles({name: asset.spec.upstreams for name, (_, asset) in written.items()}):
            document, asset = written[walk[0]]
            following = walk[1] if len(walk) > 1 else walk[0]
            index = asset.spec.upstreams.index(following)
            shown = " -> ".join(
                (*walk[:_CYCLE_NAMES_SHOWN], *(["..."] if len(walk) > _CYCLE_NAMES_SHOWN else []), walk[0])
            )
            message = f"the assets depend on each other in a circle: {shown}"
            self._add(document.fault("dependency-cycle", message, ("spec", "upstreams", index)))

    def _add(self, fault: Fault) -> None:
        self.registry.faults.append(fault)
