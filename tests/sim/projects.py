"""Random projects for simulated sessions. Times are short, so that much happens in little time.

A stage says in its argv what it mends: ``("do", SYNC/STAGE, "c00,c01")``.
"""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from setpoint.contracts.codec import canonical_json, sha256_hex
from setpoint.contracts.resource.model import (
    CompiledAsset,
    CompiledSet,
    CompiledSync,
    Condition,
    Pair,
    Settings,
    Stage,
    encode,
)

LOCKS: Final = ("warehouse", "lake")
_LIMITS: Final = (None, None, 1, 2)


def project(random: Random, count: int) -> CompiledSet:
    """Return a project of ``count`` assets in a random graph."""
    names = [f"n{place}" for place in range(count)]
    assets = [_asset(random, name, names[:place]) for place, name in enumerate(names)]
    return CompiledSet({asset.name: asset for asset in assets}, _settings(random))


def variant(random: Random, before: CompiledSet) -> CompiledSet:
    """Return a project after some edits: assets changed, gone or new."""
    names = list(before.assets)
    assets: dict[str, CompiledAsset] = {}
    for place, name in enumerate(names):
        drawn = random.random()
        if drawn < 0.15 and len(names) > 1:
            continue
        above = [other for other in names[:place] if other in assets]
        old = before.assets[name]
        if drawn < 0.45 or not set(old.upstreams) <= set(above):
            assets[name] = _asset(random, name, above)
        else:
            assets[name] = old
    if not assets or random.random() < 0.3:
        fresh = next(name for place in range(9) if (name := f"m{place}") not in assets)
        assets[fresh] = _asset(random, fresh, list(assets))
    settings = before.settings if random.random() < 0.7 else _settings(random)
    return CompiledSet(assets, settings)


def blob(compiled: CompiledSet) -> tuple[str, bytes]:
    """Return a compiled set as the object store has it: its name and its content."""
    content = encode(compiled)
    return sha256_hex(content), content


def _settings(random: Random) -> Settings:
    return Settings(
        cooldown_initial_s=random.choice((2.0, 5.0)),
        cooldown_max_s=random.choice((10.0, 40.0)),
        lock_retry_interval_s=random.choice((1.0, 5.0)),
        lock_retry_max_attempts=random.choice((1, 3)),
        max_sync_concurrency=random.choice(_LIMITS),
        max_evaluate_concurrency=random.choice(_LIMITS),
        orphan_timeout_s=random.choice((15.0, 30.0)),
    )


def _asset(random: Random, name: str, above: list[str]) -> CompiledAsset:
    chosen = tuple(sorted(upstream for upstream in above if random.random() < 0.45))
    if random.random() < 0.1:
        return _digested(CompiledAsset(name, name, upstreams=chosen))
    return _digested(
        CompiledAsset(
            name,
            name,
            upstreams=chosen,
            pairs=tuple(_pair(random, place) for place in range(random.choice((1, 1, 2, 3)))),
            auto_sync_on_drift=random.random() > 0.12,
            auto_sync_on_change=random.random() < 0.3,
            upstream_policy=random.choice(("any", "any", "all")),
        )
    )


def _pair(random: Random, place: int) -> Pair:
    names = [f"c{place}{i}" for i in range(random.choice((1, 1, 2)))]
    conditions = tuple(
        Condition(
            name,
            ("test", name),
            interval_s=random.choice((None, 7.0, 20.0, 45.0)),
            check_at=random.choice((None, None, None, None, None, "* * * * *")),
            cache_ttl_s=random.choice((0.0, 0.0, 15.0)),
        )
        for name in names
    )
    if random.random() < 0.08:
        return Pair("-".join(names), conditions)
    return Pair("-".join(names), conditions, _sync(random, f"fix{place}", names))


def _sync(random: Random, name: str, mends: list[str]) -> CompiledSync:
    def stage(word: str) -> Stage:
        return Stage(("do", f"{name}/{word}", ",".join(mends)))

    shape = random.choice(("run", "pre run", "pre run post"))
    return CompiledSync(
        name,
        run=stage("run"),
        pre=stage("pre") if "pre" in shape else None,
        post=stage("post") if "post" in shape else None,
        lock_key=random.choice((None, None, *LOCKS)),
    )


def _digested(asset: CompiledAsset) -> CompiledAsset:
    return msgspec.structs.replace(asset, digest=sha256_hex(canonical_json(asset)))
