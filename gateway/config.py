"""The settings of one gateway, read once from the environment. All faults are reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from setpoint.runtime import Env, host_name


@dataclass(frozen=True, slots=True)
class Config:
    """What a gateway is told.

    ``database_url``: DSN of setpoint_gateway. ``host``, ``port``: where it listens, port 0 takes a free one.
    ``state_dir``: its host key and token, nothing else. ``brokers``: ``host:port`` of each; none means no placement and
    no hints, only slower. ``objects``: the object store, shared with all cell and sandbox hosts.
    """

    database_url: str = field(repr=False)
    host: str
    port: int
    state_dir: Path
    brokers: tuple[str, ...]
    join_token: str = field(repr=False)
    objects: str
    host_id: str


def from_env(environ: Mapping[str, str]) -> Config:
    """Read the settings; exits with 2 and one line per fault when there are any."""
    env = Env(environ)
    host, port = env.listen("SETPOINT_LISTEN", "127.0.0.1:8080")
    state_dir = env.state_dir()
    config = Config(
        database_url=env.secret("SETPOINT_DATABASE_URL"),
        host=host,
        port=port,
        state_dir=state_dir,
        brokers=env.brokers(),
        join_token=env.secret("SETPOINT_JOIN_TOKEN", required=False),
        objects=env.objects(),
        host_id=host_name(environ, "gateway"),
    )
    _check_places(env, config)
    env.finish("setpoint-gateway")
    return config


def _check_places(env: Env, config: Config) -> None:
    """Note directories that cannot be used, so that they come up now and not at the first upload."""
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        env.faults.append(f"SETPOINT_STATE_DIR={config.state_dir}: {error.strerror}")
