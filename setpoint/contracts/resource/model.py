"""The compiled set: a project's resources resolved, templated and closed, so that the core needs nothing else.

``compile`` makes it, the gateway stores it as a blob, celld hands it to a cell beside ``resources.applied``, the core
folds it. Nothing here reads YAML, resolves a name or fills in a default that compile has already settled.

Defaults are left out of the encoding: a field added later with a default changes no stored byte and no digest, so an
upgrade of the code never looks like a change of the tenant's project.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from setpoint.contracts.codec import canonical_json
from setpoint.contracts.probe import Probe

ConditionKind = Literal["Command", "SQL", "Freshness"]
"""How a condition is checked: by a command, or by a probe of a database (setpoint/contracts/probe.py)."""

UpstreamPolicy = Literal["any", "all"]
"""Whether each trigger of an upstream counts, or one when all upstreams are clear (reconcile.md section 3)."""

StageName = Literal["pre", "run", "post"]
"""The stages of a sync, in the order in which they run."""

Env = tuple[tuple[str, str], ...]
"""Environment variables sorted by name."""


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value of the compiled set; unknown fields are ignored, so that N and N-1 can read each other's sets."""


class Condition(Struct, frozen=True):
    """One check. A Command is satisfied when ``argv`` exits with 0; the other kinds have a ``probe`` and no ``argv``.

    Names are unique within an asset.
    ``interval_s`` None: no timer of that kind. ``check_at`` is a cron expression by the clock of ``timezone``.
    ``timeout_s`` None: ``Settings.default_timeout_s``. ``cache_ttl_s``: for so long a timer may take a Ready result as
    it is (the asset's ``evaluateCacheTtl`` unless the condition has one).
    """

    name: str
    argv: tuple[str, ...]
    kind: ConditionKind = "Command"
    env: Env = ()
    interval_s: float | None = None
    timeout_s: float | None = None
    check_at: str | None = None
    timezone: str = "UTC"
    cache_ttl_s: float = 0.0
    probe: Probe | None = None


class Stage(Struct, frozen=True):
    """One command of a sync. ``timeout_s`` None: that of the sync, else ``Settings.default_timeout_s``."""

    argv: tuple[str, ...]
    env: Env = ()
    timeout_s: float | None = None


class CompiledSync(Struct, frozen=True):
    """What converges an asset: ``pre``, ``run`` and ``post``, in this order, templated for one pair of one asset.

    ``lock_key`` names the tenant-wide lock that it holds while it runs. ``orphan_timeout_s`` None: that of Settings.
    """

    name: str
    run: Stage
    pre: Stage | None = None
    post: Stage | None = None
    timeout_s: float | None = None
    lock_key: str | None = None
    orphan_timeout_s: float | None = None

    def stages(self) -> tuple[tuple[StageName, Stage], ...]:
        """Return the stages that there are with their names, in the order in which they run."""
        named: tuple[tuple[StageName, Stage | None], ...] = (("pre", self.pre), ("run", self.run), ("post", self.post))
        return tuple((name, stage) for name, stage in named if stage is not None)


class Pair(Struct, frozen=True):
    """One entry of ``onDrift``: the conditions (ANDed) and the sync for when they do not hold.

    ``sync`` None: the asset is only watched. Across generations a pair is the same when both names are.
    """

    conditions_name: str
    conditions: tuple[Condition, ...]
    sync: CompiledSync | None = None


class CompiledAsset(Struct, frozen=True):
    """An asset with everything it needs. Without ``pairs`` it is a pass-through.

    ``upstreams`` are sorted and each is an asset of the same set. ``on_upstream`` names the sync that a direct trigger
    and a manual sync run; None means the first pair's. ``digest`` covers all other fields: same digest, same asset.
    """

    name: str
    model_name: str
    labels: dict[str, str] = {}
    upstreams: tuple[str, ...] = ()
    auto_sync_on_drift: bool = True
    auto_sync_on_change: bool = False
    upstream_policy: UpstreamPolicy = "any"
    on_upstream: str | None = None
    pairs: tuple[Pair, ...] = ()
    digest: str = ""

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions of all pairs, top to bottom."""
        if len(self.pairs) == 1:  # nearly every asset, and the core asks often
            return self.pairs[0].conditions
        return tuple(condition for pair in self.pairs for condition in pair.conditions)

    def direct_sync(self) -> CompiledSync | None:
        """Return the sync that a direct trigger and a manual sync run, or None when there is none."""
        wanted = self.on_upstream
        for index, pair in enumerate(self.pairs):
            named = pair.sync is not None and pair.sync.name == wanted
            if named or (wanted is None and index == 0):
                return pair.sync
        return None


class Settings(Struct, frozen=True):
    """The settings of a project that the core obeys (``setpoint.yaml``). None means no limit of the session's own."""

    default_timeout_s: float = 3600.0
    max_evaluate_concurrency: int | None = None
    max_sync_concurrency: int | None = None
    max_consecutive_sync_failures: int = 3
    cooldown_initial_s: float = 30.0
    cooldown_max_s: float = 1800.0
    orphan_timeout_s: float = 600.0
    lock_retry_interval_s: float = 900.0
    lock_retry_max_attempts: int = 3
    lock_ttl_s: float = 3600.0


class CompiledSet(Struct, frozen=True):
    """All assets of a generation by name, sorted, and the settings. The upstream relation has no cycle."""

    assets: dict[str, CompiledAsset] = {}
    settings: Settings = Settings()
    version: int = 1


_decoder = msgspec.json.Decoder(CompiledSet)


def encode(compiled: CompiledSet) -> bytes:
    """Encode as canonical JSON: equal sets, equal bytes. The sha256 of it names the generation's resources."""
    return canonical_json(compiled)


def decode(content: bytes) -> CompiledSet:
    """Read what ``encode`` wrote. Raises ValueError when it is something else."""
    try:
        return _decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise ValueError(f"these bytes are no compiled set: {error}") from error
