"""What a person writes for Connection, Identity and Origin: resources that speak of systems outside. See spec.py.

Their shape is checked already; what they stand for is not carried out yet (support.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from setpoint.contracts.resource.scalars import Env, Shape, Text, Timeout, not_empty
from setpoint.contracts.resource.spec import ApiVersion, Metadata


class _DbtCloud(Shape):
    credentials_file: Text | None = None


class _Dbt(Shape):
    type: Literal["dbt"]
    profile: Text
    target: Text | None = None
    profiles_dir: Text | None = None
    dbt_cloud: _DbtCloud | None = None
    identity: str | None = None


class _BigQuery(Shape):
    type: Literal["bigquery"]
    project: Text
    dataset: Text
    execution_project: Text | None = None
    method: Literal["oauth", "service-account"] = "oauth"
    keyfile: Text | None = None
    timeout: Timeout | None = None
    location: Text | None = None
    identity: str | None = None


class _DuckDb(Shape):
    type: Literal["duckdb"]
    path: Text
    identity: str | None = None


class _Snowflake(Shape):
    type: Literal["snowflake"]
    account: Text
    user: Text
    database: Text
    schema_: Text = Field(alias="schema")
    warehouse: Text
    private_key_path: Text
    role: Text | None = None
    timeout: Timeout | None = None
    identity: str | None = None


class ConnectionFile(Shape):
    """A document of kind Connection."""

    api_version: ApiVersion
    kind: Literal["Connection"]
    metadata: Metadata
    spec: Annotated[_Dbt | _BigQuery | _DuckDb | _Snowflake, Field(discriminator="type")]


class _IdentitySpec(Shape):
    type: Literal["env"]
    env: Annotated[Env, AfterValidator(not_empty)]


class IdentityFile(Shape):
    """A document of kind Identity."""

    api_version: ApiVersion
    kind: Literal["Identity"]
    metadata: Metadata
    spec: _IdentitySpec


class _DefaultSync(Shape):
    sync: str
    with_: dict[str, str] = Field(default_factory=dict, alias="with")


class _OriginSpec(Shape):
    type: Literal["DBT"]
    connection: Text
    project_dir: Text
    default_sync: _DefaultSync | None = None
    auto_sync: bool | None = None
    env: Env = Field(default_factory=dict)


class OriginFile(Shape):
    """A document of kind Origin."""

    api_version: ApiVersion
    kind: Literal["Origin"]
    metadata: Metadata
    spec: _OriginSpec
