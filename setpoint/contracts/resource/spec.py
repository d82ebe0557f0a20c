"""What a person writes for Asset, Conditions and Sync. The one truth of their shape, for reading and for documents.

compile validates documents against these models; their JSON Schema is what editors get. A field that is known here and
not carried out yet is listed in support.py. Nothing here resolves names across resources.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from setpoint.contracts.resource.scalars import (
    Argv,
    Cron,
    Duration,
    Env,
    Interval,
    ListOf,
    Name,
    OrphanTimeout,
    Shape,
    Text,
    Timeout,
    Timezone,
    Title,
    not_empty,
)

ApiVersion = Literal["setpoint.dev/v1alpha1", "nagi.io/v1alpha1"]
"""Files written for nagi.io are read unchanged."""


class Metadata(Shape):
    """Name and labels of a resource. ``annotations`` are for people and tools; nothing reads them here."""

    name: Name
    labels: dict[Title, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Head(Shape, extra="ignore"):
    """What is known of a document whose kind is not."""

    api_version: ApiVersion
    metadata: Metadata


class AutoSync(Shape):
    """The long form of ``autoSync``."""

    on_drift: bool = True
    on_change: bool = False


class OnDrift(Shape):
    """A pair: the Conditions that are to hold and the Sync for when they do not. ``with`` fills ``{{ sync.key }}``."""

    conditions: str
    sync: str | None = None
    with_: dict[str, str] = Field(default_factory=dict, alias="with")
    merge_position: Literal["beforeOrigin", "afterOrigin"] = "beforeOrigin"


class AssetSpec(Shape):
    """A unit whose state is declared: what it depends on, and its pairs from top to bottom."""

    upstreams: ListOf[str] = ()
    on_drift: ListOf[OnDrift] = ()
    auto_sync: Annotated[bool, Tag("short")] | Annotated[AutoSync, Tag("long")] = Field(
        default=True, discriminator=Discriminator(lambda value: "long" if isinstance(value, dict) else "short")
    )
    on_upstream: str | None = None
    upstream_policy: Literal["any", "all"] | None = None
    model_name: Text | None = None
    connection: str | None = None
    evaluate_cache_ttl: Duration | None = None


class _ConditionShape(Shape):
    name: Title
    interval: Interval | None = None
    timeout: Timeout | None = None
    evaluate_cache_ttl: Duration | None = None
    check_at: Cron | None = None
    timezone: Timezone | None = None


class ConditionOfNoType(_ConditionShape, extra="ignore"):
    """What is known of a condition whose type is not."""


class CommandCondition(_ConditionShape):
    """Satisfied when the command exits with 0."""

    type: Literal["Command"]
    run: Argv
    env: Env = Field(default_factory=dict)
    identity: str | None = None


class SqlCondition(_ConditionShape):
    """Satisfied when the one SELECT answers true."""

    type: Literal["SQL"]
    query: Text


class FreshnessCondition(_ConditionShape):
    """Satisfied when the table is younger than ``maxAge``."""

    type: Literal["Freshness"]
    interval: Interval
    max_age: Duration
    column: Text | None = None


Condition = Annotated[CommandCondition | SqlCondition | FreshnessCondition, Field(discriminator="type")]
Conditions = Annotated[ListOf[Condition], AfterValidator(not_empty)]


class Step(Shape):
    """One command of a sync."""

    type: Literal["Command"]
    args: Argv
    env: Env = Field(default_factory=dict)
    timeout: Timeout | None = None
    identity: str | None = None


class SyncSpec(Shape):
    """What converges an asset: ``run``, and optionally what goes before and after it."""

    run: Step
    pre: Step | None = None
    post: Step | None = None
    timeout: Timeout | None = None
    identity: str | None = None
    lock_key: Title | None = None
    orphan_timeout: OrphanTimeout | None = None


class AssetFile(Shape):
    """A document of kind Asset."""

    api_version: ApiVersion
    kind: Literal["Asset"]
    metadata: Metadata
    spec: AssetSpec


class ConditionsFile(Shape):
    """A document of kind Conditions; its conditions are ANDed."""

    api_version: ApiVersion
    kind: Literal["Conditions"]
    metadata: Metadata
    spec: Conditions


class SyncFile(Shape):
    """A document of kind Sync."""

    api_version: ApiVersion
    kind: Literal["Sync"]
    metadata: Metadata
    spec: SyncSpec
