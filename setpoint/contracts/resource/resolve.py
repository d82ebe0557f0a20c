"""Resources into compiled assets: names resolved, templates filled in, everything an asset needs drawn into it.

Called by compile with resources whose shape is right or mended. Reports every fault it finds, in mended ones, too, but
none that only a hole in one makes; an asset with a fault is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from setpoint.contracts.resource.inline import Filling, commands, inline_pair
from setpoint.contracts.resource.model import CompiledAsset, Pair
from setpoint.contracts.resource.parts import Parts
from setpoint.contracts.resource.probing import Probing
from setpoint.contracts.resource.registry import Located, Registry
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import AssetFile, AssetSpec, AutoSync, ConditionsFile, OnDrift, SyncFile
from setpoint.contracts.resource.template import SYNC_PREFIX, Expander, template_faults, variables
from setpoint.contracts.resource.tree import Document, Path
from setpoint.contracts.resource.unread import Unread

_CYCLE_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Resolved:
    """All assets by name, sorted, which are whole only when there is no fault; and everything there is to say."""

    assets: Mapping[str, CompiledAsset]
    faults: Sequence[Fault]
    warnings: Sequence[Fault]


def resolve(
    resources: Iterable[Located], files: Mapping[str, bytes], given: Mapping[str, str], unread: Unread
) -> Resolved:
    """Compile all assets. ``files`` are those of the project, ``given`` the variables that came with it.

    Names that are not there and may be in what is ``unread`` are not reported.
    """
    registry = Registry(unread)
    registry.register(resources)
    parts = Parts(registry, files, given)
    parts.check()
    resolver = _Resolver(registry, parts, Probing(registry, parts))
    assets = resolver.assets()
    return Resolved(assets, registry.faults, (*parts.warnings, *parts.warnings_of_unasked(), *resolver.warnings))


@dataclass
class _Resolver:
    registry: Registry
    parts: Parts
    probing: Probing
    bytes_left: int = COMPILED_BYTES_MAX
    warnings: list[Fault] = field(default_factory=list)

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

    def _asset(self, document: Document, written: AssetFile) -> CompiledAsset | None:
        spec, name = written.spec, written.metadata.name
        if self._may_be_more(document, name):
            unsaid = {("spec", "modelName"), ("spec", "onDrift", len(spec.on_drift))}
            unsaid |= {("spec", "connection")} if spec.connection is None else set()
            document = replace(document, holes=document.holes | unsaid)
        faults_before = len(self.registry.faults)
        for index, upstream in enumerate(spec.upstreams):
            self.registry.find("Asset", upstream, document, ("spec", "upstreams", index), AssetFile)
        model_name = spec.model_name or name
        values = {"asset.name": name, "asset.modelName": model_name}
        filling = Filling(
            Expander(values, COMPILED_ASSET_BYTES_MAX, self.parts.given),
            self.parts.identities,
            model_name,
            self.probing.database(document, spec),
            spec.evaluate_cache_ttl,
        )
        pairs = [self._pair(document, index, written, filling) for index in range(len(spec.on_drift))]
        whole = tuple(pair for pair in pairs if pair is not None)
        self._check_asset(document, written, pairs)
        if len(self.registry.faults) > faults_before or len(whole) < len(pairs) or not self._counts(document, written):
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

    def _may_be_more(self, document: Document, name: str) -> bool:
        """Tell whether an Origin may say more of an asset than what is written here, and nobody knows what."""
        if self.registry.unread.may_make("Asset", name):
            return True
        return bool(self.registry.names("Origin")) and not document.is_whole(("metadata", "name"))

    def _counts(self, document: Document, written: AssetFile) -> bool:
        """Tell whether an asset is one of the project's: sound in its shape, and not the second of its name."""
        return document.is_whole(()) and self.registry.is_first("Asset", written.metadata.name, document)

    def _sealed(self, document: Document, compiled: CompiledAsset) -> CompiledAsset | None:
        """Give the asset its digest, and refuse it when it is too large for a run's frame."""
        content = canonical_json(compiled)
        self.bytes_left -= len(content)
        if len(content) > COMPILED_ASSET_BYTES_MAX:
            message = f"the asset with all it uses is larger than {COMPILED_ASSET_BYTES_MAX} bytes"
            self._add(document.fault("too-large", message, ()))
            return None
        return msgspec.structs.replace(compiled, digest=sha256_hex(content))

    def _check_asset(self, document: Document, written: AssetFile, pairs: Sequence[Pair | None]) -> None:
        """Check what holds across the pairs of an asset."""
        spec = written.spec
        drift_known = document.is_whole(("spec", "onDrift"))
        if spec.upstream_policy is not None and not spec.on_drift and drift_known:
            message = "upstreamPolicy says when to sync, and an asset without onDrift has nothing to sync"
            self._add(document.fault("wrong-value", message, ("spec", "upstreamPolicy"), at_key=True))
        syncs = sorted({entry.sync for entry in spec.on_drift if entry.sync is not None})
        if spec.on_upstream is not None and spec.on_upstream not in syncs and drift_known:
            message = f"no pair of this asset has the sync {excerpt(spec.on_upstream)}"
            hint = f"its syncs are {', '.join(syncs)}" if syncs and len(syncs) <= _CYCLE_NAMES_SHOWN else ""
            self._add(document.fault("unknown-reference", message, ("spec", "onUpstream"), hint))
        self._warn_of_never(document, spec, pairs)
        seen: set[str] = set()
        for index, pair in enumerate(pairs):
            names = () if pair is None else self.parts.condition_names[pair.conditions_name]
            twice = [name for name in names if name in seen]
            seen.update(names)
            if twice:
                message = f"the asset has another condition named {excerpt(twice[0])} in a pair above"
                self._add(document.fault("duplicate-name", message, ("spec", "onDrift", index, "conditions")))
        if len(seen) + 3 > RUN_STEPS_MAX:
            message = f"an asset has at most {RUN_STEPS_MAX - 3} conditions; this one has {len(seen)}"
            self._add(document.fault("too-large", message, ("spec", "onDrift"), at_key=True))

    def _warn_of_never(self, document: Document, spec: AssetSpec, pairs: Sequence[Pair | None]) -> None:
        """Warn of an asset that nothing will look at by itself; only when all of it is known."""
        whole = [pair for pair in pairs if pair is not None]
        used = [self.registry.document("Conditions", pair.conditions_name) for pair in whole]
        conditions = [condition for pair in whole for condition in pair.conditions]
        timed = any(condition.interval_s or condition.check_at for condition in conditions)
        known = len(whole) == len(pairs) and all(one.is_whole(()) for one in (document, *used))
        if conditions and known and not timed and not spec.upstreams and not _is_evaluated_on_change(spec):
            message = "after its first evaluation nothing will look at this asset by itself"
            hint = "give a condition an interval or checkAt"
            self.warnings.append(document.warning("never-due", message, ("metadata", "name"), hint))

    def _pair(self, document: Document, index: int, asset: AssetFile, filling: Filling) -> Pair | None:
        path: Path = ("spec", "onDrift", index)
        entry = asset.spec.on_drift[index]
        texts = self._with_values(document, path, entry, filling.texts)
        conditions = self.registry.find("Conditions", entry.conditions, document, (*path, "conditions"), ConditionsFile)
        sync = None
        if entry.sync is not None:
            sync = self.registry.find("Sync", entry.sync, document, (*path, "sync"), SyncFile)
        if conditions is not None:
            self.probing.check_needs(document, path, asset.spec, conditions)
        if conditions is None or (sync is None and entry.sync is not None):
            return None
        self._check_variables(document, path, entry, texts.values)
        compiled = inline_pair(conditions, sync, replace(filling, texts=texts))
        filling.texts.chars_left = texts.chars_left
        if texts.overflown:
            message = f"with its templates filled in, the asset is larger than {COMPILED_ASSET_BYTES_MAX} bytes"
            self._add(document.fault("too-large", message, path))
            return None
        self._check_commands(document, path, entry, compiled)
        if filling.database is not None:
            filled: tuple[Path, ...] = (("metadata", "name"), ("spec", "modelName"), (*path, "with"))
            filling_known = all(map(document.is_whole, filled))
            names = frozenset(texts.values.values()) if filling_known else None
            self.probing.check_pair(asset.metadata.name, conditions, compiled, names)
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
        return Expander(values, asset_texts.chars_left, asset_texts.given)

    def _check_variables(self, document: Document, path: Path, entry: OnDrift, values: Mapping[str, str]) -> None:
        """Report variables of a used resource that ``with`` does not give."""
        used = [("Conditions", entry.conditions)] + ([("Sync", entry.sync)] if entry.sync is not None else [])
        for kind, name in used:
            for variable in sorted(self.parts.used_variables.get((kind, name), frozenset()) - values.keys()):
                key = variable.removeprefix(SYNC_PREFIX)
                if key != variable and document.is_whole((*path, "with", key)):
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
                    message = "what a template brings in is not looked at again: this ${ stays as it is"
                    hint = "write it in env of the Sync or the Conditions"
                    self.warnings.append(document.warning("literal-variable", message, (*path, "with", key), hint))

    def _check_cycles(self) -> None:
        written: dict[str, tuple[Document, AssetFile]] = {}
        upstreams: dict[str, list[str]] = {}
        for document, asset in self.registry.each("Asset", AssetFile):
            name, spec = asset.metadata.name, asset.spec
            if written.setdefault(name, (document, asset))[0] is document:
                whole = (document.is_whole(("spec", "upstreams", index)) for index in range(len(spec.upstreams)))
                upstreams[name] = [upstream for upstream, known in zip(spec.upstreams, whole, strict=True) if known]
        for walk in cycles(upstreams):
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


def _is_evaluated_on_change(spec: AssetSpec) -> bool:
    return isinstance(spec.auto_sync, AutoSync) and spec.auto_sync.on_change
