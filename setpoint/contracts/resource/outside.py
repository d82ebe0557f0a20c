"""What a person writes for Connection, Identity and Origin: resources that speak of systems outside. See spec.py.

database.py says which connections are carried out, inline.py where an identity applies, support.py what is not yet.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from setpoint.contracts.limits import PROJECT_PATH_BYTES_MAX
from setpoint.contracts.resource.scalars import Env, Interval, Shape, Text, Timeout, not_empty
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import ApiVersion, Metadata

_SCHEME: Final = re.compile(r"[A-Za-z0-9+._-]*:")


def inner_path(text: str) -> str:
    """Return a path below the project in its plain form (``./a//b`` is ``a/b``; the project itself is ``.``).

    Raises ValueError with what would be right for any that may lead elsewhere.
    """
    if not text or text.startswith(("/", "~")):
        raise ValueError(f"{excerpt(text)} is not relative to the project")
    if _SCHEME.match(text):
        raise ValueError(f"{excerpt(text)} is not a file of the project")
    if not text.isprintable() or len(text.encode()) > PROJECT_PATH_BYTES_MAX:
        raise ValueError(f"a path has at most {PROJECT_PATH_BYTES_MAX} bytes, all printable")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or "\\" in text:
        raise ValueError(f"{excerpt(text)} may lead out of the project: it has '..' or '\\'")
    return "/".join(parts) or "."


def _inner(text: str) -> str:
    try:
        return inner_path(text)
    except ValueError as error:
        raise PydanticCustomError("bad-path", "{text}", {"text": str(error)}) from None


def _inner_file(text: str) -> str:
    path = _inner(text)
    if path == "." or text.endswith("/"):
        raise PydanticCustomError("bad-path", "{text}", {"text": f"{excerpt(text)} is a directory, not a file"})
    return path


InnerPath = Annotated[str, AfterValidator(_inner)]
"""A directory or file of the project, relative to its root."""

InnerFile = Annotated[str, AfterValidator(_inner_file)]
"""A file of the project or of the session's workspace, relative to its root."""


class DbtCloud(Shape):
    """Where the jobs of a dbt project run besides."""

    credentials_file: Text | None = None


class DbtConnection(Shape):
    """A profile of dbt, resolved by the ``profiles.yml`` of the project in ``profilesDir`` (default: its root)."""

    type: Literal["dbt"]
    profile: Text
    target: Text | None = None
    profiles_dir: InnerPath = "."
    dbt_cloud: DbtCloud | None = None
    identity: str | None = None


class DuckDbConnection(Shape):
    """A DuckDB file of the workspace."""

    type: Literal["duckdb"]
    path: InnerFile
    identity: str | None = None


class SqliteConnection(Shape):
    """A SQLite file of the workspace."""

    type: Literal["sqlite"]
    path: InnerFile
    identity: str | None = None


class BigQueryConnection(Shape):
    """A dataset of BigQuery."""

    type: Literal["bigquery"]
    project: Text
    dataset: Text
    execution_project: Text | None = None
    method: Literal["oauth", "service-account"] = "oauth"
    keyfile: Text | None = None
    timeout: Timeout | None = None
    location: Text | None = None
    identity: str | None = None


class SnowflakeConnection(Shape):
    """A schema of Snowflake."""

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


class PostgresConnection(Shape):
    """A database of a Postgres server."""

    type: Literal["postgres"]
    host: Text
    port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    database: Text
    user: Text
    schema_: Text | None = Field(default=None, alias="schema")
    timeout: Timeout | None = None
    identity: str | None = None


ConnectionSpec = (
    DbtConnection | DuckDbConnection | SqliteConnection | BigQueryConnection | SnowflakeConnection | PostgresConnection
)


class ConnectionFile(Shape):
    """A document of kind Connection."""

    api_version: ApiVersion
    kind: Literal["Connection"]
    metadata: Metadata
    spec: Annotated[ConnectionSpec, Field(discriminator="type")]


class IdentitySpec(Shape):
    """The environment of whoever it is that a command runs as."""

    type: Literal["env"]
    env: Annotated[Env, AfterValidator(not_empty)]


class IdentityFile(Shape):
    """A document of kind Identity."""

    api_version: ApiVersion
    kind: Literal["Identity"]
    metadata: Metadata
    spec: IdentitySpec


class DefaultSync(Shape):
    """The sync of every model of an Origin, instead of ``dbt run``."""

    sync: str
    with_: dict[str, str] = Field(default_factory=dict, alias="with")


class OriginSpec(Shape):
    """A project of another tool that is read into assets. ``interval``: look at its tests this often."""

    type: Literal["DBT"]
    connection: Text
    project_dir: InnerPath
    default_sync: DefaultSync | None = None
    auto_sync: bool | None = None
    env: Env = Field(default_factory=dict)
    interval: Interval | None = None


class OriginFile(Shape):
    """A document of kind Origin."""

    api_version: ApiVersion
    kind: Literal["Origin"]
    metadata: Metadata
    spec: OriginSpec
