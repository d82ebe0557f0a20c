"""Conditions and a Sync drawn into one pair of one asset: their texts with the variables of that pair filled in.

Called by resolve with resources whose shape is right and everything that they need. Checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from setpoint.contracts.probe import Probe
from setpoint.contracts.resource import query
from setpoint.contracts.resource.database import Database
from setpoint.contracts.resource.model import CompiledSync, Condition, Env, Pair, Stage
from setpoint.contracts.resource.spec import (
    CommandCondition,
    ConditionsFile,
    FreshnessCondition,
    SqlCondition,
    Step,
    SyncFile,
)
from setpoint.contracts.resource.template import Expander
from setpoint.contracts.resource.tree import Path

Text = tuple[Path, str]
"""A templated text of a resource and where in its document it stands."""


@dataclass(frozen=True)
class Filling:
    """What is drawn into the pairs of one asset: its texts, its database, and the identities of the project.

    ``table`` is what a Freshness condition looks at. ``cache_ttl_s`` is the asset's, for conditions that have none.
    """

    texts: Expander
    identities: Mapping[str, Mapping[str, str]]
    table: str
    database: Database | None = None
    cache_ttl_s: float | None = None


def inline_pair(conditions: ConditionsFile, sync: SyncFile | None, filling: Filling) -> Pair:
    """Make the pair of these two resources. Conditions that ask a database are left out when there is none."""
    made = (_condition(condition, filling) for condition in conditions.spec)
    return Pair(
        conditions_name=conditions.metadata.name,
        conditions=tuple(condition for condition in made if condition is not None),
        sync=None if sync is None else _sync(sync, filling),
    )


def commands(pair: Pair) -> Iterator[Condition | Stage]:
    """Yield everything in a pair that is run, probes excepted."""
    yield from (condition for condition in pair.conditions if condition.probe is None)
    if pair.sync is not None:
        yield from (stage for _, stage in pair.sync.stages())


def condition_texts(conditions: ConditionsFile) -> Iterator[Text]:
    """Yield every templated text of a Conditions resource."""
    for index, condition in enumerate(conditions.spec):
        path: Path = ("spec", index)
        match condition:
            case CommandCondition():
                yield from _command_texts(path, "run", condition.run, condition.env)
            case SqlCondition():
                yield (*path, "query"), condition.query
            case FreshnessCondition():
                yield (*path, "column"), condition.column or ""


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


def _condition(written: CommandCondition | SqlCondition | FreshnessCondition, filling: Filling) -> Condition | None:
    argv: tuple[str, ...] = ()
    env: Env = ()
    probe = None
    if isinstance(written, CommandCondition):
        argv = tuple(map(filling.texts.expand, written.run))
        env = _env(written.env, written.identity, filling)
    else:
        probe = _probe(written, filling)
        if probe is None:
            return None
    ttl_s = written.evaluate_cache_ttl if written.evaluate_cache_ttl is not None else filling.cache_ttl_s
    return Condition(
        name=written.name,
        argv=argv,
        kind=written.type,
        env=env,
        interval_s=written.interval,
        timeout_s=written.timeout,
        check_at=written.check_at,
        timezone=written.timezone or "UTC",
        cache_ttl_s=ttl_s or 0.0,
        probe=probe,
    )


def _probe(written: SqlCondition | FreshnessCondition, filling: Filling) -> Probe | None:
    database = filling.database
    if database is None:
        return None
    if isinstance(written, SqlCondition):
        return Probe(database.engine, database.path, filling.texts.expand(written.query))
    column = filling.texts.expand(written.column or "")
    return Probe(database.engine, database.path, query.newest(filling.table, column), written.max_age)


def _sync(written: SyncFile, filling: Filling) -> CompiledSync:
    spec = written.spec
    return CompiledSync(
        name=written.metadata.name,
        run=_stage(spec.run, spec.identity, filling),
        pre=None if spec.pre is None else _stage(spec.pre, spec.identity, filling),
        post=None if spec.post is None else _stage(spec.post, spec.identity, filling),
        timeout_s=spec.timeout,
        lock_key=spec.lock_key,
        orphan_timeout_s=spec.orphan_timeout,
    )


def _stage(step: Step, identity: str | None, filling: Filling) -> Stage:
    return Stage(
        argv=tuple(map(filling.texts.expand, step.args)),
        env=_env(step.env, step.identity or identity, filling),
        timeout_s=step.timeout,
    )


def _env(written: Mapping[str, str], identity: str | None, filling: Filling) -> Env:
    """Return the environment of a command: that of its identity, and over it its own."""
    own = {name: filling.texts.expand_env(value) for name, value in written.items()}
    return tuple(sorted({**filling.identities.get(identity or "", {}), **own}.items()))
