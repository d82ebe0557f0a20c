"""The settings of one gateway, read once from the environment. All faults are reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from setpoint.objects import open_store
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
    brokers = tuple(filter(None, (part.strip() for part in env.text("SETPOINT_BROKERS", " ").split(","))))
    for broker in brokers:
        name, _, number = broker.rpartition(":")
        if not name or not number.isdigit() or not 0 < int(number) < 65536:
            env.faults.append(f"SETPOINT_BROKERS: {broker!r} is not host:port")
    objects = env.text("SETPOINT_OBJECTS", str(state_dir / "objects"))
    config = Config(
        database_url=env.secret("SETPOINT_DATABASE_URL"),
        host=host,
        port=port,
        state_dir=state_dir,
        brokers=brokers,
        join_token=env.secret("SETPOINT_JOIN_TOKEN", required=False),
        objects=objects,
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
    try:
        open_store(config.objects)
    except ValueError as error:
        env.faults.append(str(error))
    except OSError as error:
        env.faults.append(f"SETPOINT_OBJECTS={config.objects}: {error.strerror}")
