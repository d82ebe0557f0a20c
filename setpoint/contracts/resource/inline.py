"""Conditions and a Sync drawn into one pair of one asset: their texts with the variables of that pair filled in.

Called by resolve with resources whose shape is right and an expander that knows the variables. Checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from setpoint.contracts.resource.model import CompiledSync, Condition, Env, Pair, Stage
from setpoint.contracts.resource.spec import CommandCondition, ConditionsFile, Step, SyncFile
from setpoint.contracts.resource.template import Expander
from setpoint.contracts.resource.tree import Path

Text = tuple[Path, str]
"""A templated text of a resource and where in its document it stands."""


def inline_pair(
    conditions: ConditionsFile, sync: SyncFile | None, texts: Expander, cache_ttl_s: float | None = None
) -> Pair:
    """Make the pair of these two resources; ``cache_ttl_s`` is the asset's, for conditions that have none."""
    return Pair(
        conditions_name=conditions.metadata.name,
        conditions=tuple(_condition(c, texts, cache_ttl_s) for c in conditions.spec if isinstance(c, CommandCondition)),
        sync=None if sync is None else _sync(sync, texts),
    )


def commands(pair: Pair) -> Iterator[Condition | Stage]:
    """Yield everything in a pair that is run."""
    yield from pair.conditions
    if pair.sync is not None:
        yield from (stage for _, stage in pair.sync.stages())


def condition_texts(conditions: ConditionsFile) -> Iterator[Text]:
    """Yield every templated text of a Conditions resource."""
    for index, condition in enumerate(conditions.spec):
        if isinstance(condition, CommandCondition):
            yield from _command_texts(("spec", index), "run", condition.run, condition.env)


def sync_texts(sync: SyncFile) -> Iterator[Text]:
    """Yield every templated text of a Sync resource."""
    for stage in ("pre", "run", "post"):
        step: Step | None = getattr(sync.spec, stage)
        if step is not None:
            yield from _command_texts(("spec", stage), "args", step.args, step.env)


def _command_texts(path: Path, key: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Iterator[Text]:
    for index, word in enumerate(argv):
        yield (*path, key, index), word
    for name, value in env.items():
        yield (*path, "env", name), value


def _condition(written: CommandCondition, texts: Expander, cache_ttl_s: float | None) -> Condition:
    ttl_s = written.evaluate_cache_ttl if written.evaluate_cache_ttl is not None else cache_ttl_s
    return Condition(
        name=written.name,
        argv=tuple(map(texts.expand, written.run)),
        env=_env(written.env, texts),
        interval_s=written.interval,
        timeout_s=written.timeout,
        check_at=written.check_at,
        timezone=written.timezone or "UTC",
        cache_ttl_s=ttl_s or 0.0,
    )


def _sync(written: SyncFile, texts: Expander) -> CompiledSync:
    spec = written.spec
    return CompiledSync(
        name=written.metadata.name,
        run=_stage(spec.run, texts),
        pre=None if spec.pre is None else _stage(spec.pre, texts),
        post=None if spec.post is None else _stage(spec.post, texts),
        timeout_s=spec.timeout,
        lock_key=spec.lock_key,
    )


def _stage(step: Step, texts: Expander) -> Stage:
    return Stage(argv=tuple(map(texts.expand, step.args)), env=_env(step.env, texts), timeout_s=step.timeout)


def _env(written: Mapping[str, str], texts: Expander) -> Env:
    return tuple((name, texts.expand(value)) for name, value in sorted(written.items()))
