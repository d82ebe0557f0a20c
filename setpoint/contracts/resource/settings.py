"""What a person writes in ``setpoint.yaml`` (or ``nagi.yaml``), and the settings that come of it. Called by compile."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import Field

from setpoint.contracts.resource.model import Settings
from setpoint.contracts.resource.scalars import Duration, OrphanTimeout, Shape, Text, Timeout

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Seconds = Annotated[int, Field(ge=1, le=366 * 86_400)]


class _Backend(Shape):
    type: Literal["local", "gcs", "s3"] = "local"
    bucket: Text | None = None
    region: Text | None = None
    prefix: Text | None = None


class _Slack(Shape):
    channel: Text


class _Notify(Shape):
    slack: _Slack | None = None


class _Export(Shape):
    connection: Text
    dataset: Text
    format: Literal["jsonl", "duckdb"] = "jsonl"
    interval: Duration = 1800.0
    timeout: Timeout | None = None


class ProjectFile(Shape):
    """The settings file of a project. Every key is optional, and so is the file."""

    default_timeout: Timeout = 3600.0
    max_evaluate_concurrency: _Count | None = None
    max_sync_concurrency: _Count | None = None
    max_consecutive_sync_failures: _Count = 3
    cooldown_initial_secs: _Seconds = 30
    cooldown_max_secs: _Seconds = 1800
    orphan_timeout: OrphanTimeout = 600.0
    backend: _Backend | None = None
    state_dir: Text | None = None
    nagi_dir: Text | None = None
    notify: _Notify | None = None
    export: _Export | None = None
    termination_grace_period_seconds: Annotated[int, Field(ge=0)] | None = None
    max_controllers: _Count | None = None
    lock_ttl_seconds: _Seconds = 3600
    lock_retry_interval_seconds: _Seconds = 900
    lock_retry_max_attempts: _Count = 3


def to_settings(written: ProjectFile) -> Settings:
    """Turn what was written into what the core obeys. A cooldown's ceiling is never below its start.

    Values that are the defaults are left as such, so that writing a default down changes no byte of the encoding.
    """
    values = {
        "default_timeout_s": written.default_timeout,
        "max_evaluate_concurrency": written.max_evaluate_concurrency,
        "max_sync_concurrency": written.max_sync_concurrency,
        "max_consecutive_sync_failures": written.max_consecutive_sync_failures,
        "cooldown_initial_s": float(written.cooldown_initial_secs),
        "cooldown_max_s": float(max(written.cooldown_initial_secs, written.cooldown_max_secs)),
        "orphan_timeout_s": written.orphan_timeout,
        "lock_retry_interval_s": float(written.lock_retry_interval_seconds),
        "lock_retry_max_attempts": written.lock_retry_max_attempts,
        "lock_ttl_s": float(written.lock_ttl_seconds),
    }
    defaults = Settings()
    return msgspec.structs.replace(defaults, **{k: v for k, v in values.items() if v != getattr(defaults, k)})
