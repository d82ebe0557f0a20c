"""The settings of one broker, read once from the environment. All faults are reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from setpoint.runtime import Env

SECRET_CHARS_MIN: Final = 16
"""A shorter join token or operator key could be guessed."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a broker is told.

    ``database_url``: DSN of setpoint_broker. ``host``, ``port``: where it listens, port 0 takes a free one.
    ``state_dir``: its signing key, nothing else; each broker has its own. ``join_token``: admits hosts beside the
    tokens of the database, empty when those are the only ones. ``operator_key``: opens ``/v1/hosts``.
    """

    database_url: str = field(repr=False)
    host: str
    port: int
    state_dir: Path
    join_token: str = field(repr=False)
    operator_key: str = field(repr=False)


def from_env(environ: Mapping[str, str]) -> Config:
    """Read the settings; exits with 2 and one line per fault when there are any."""
    env = Env(environ)
    host, port = env.listen("SETPOINT_LISTEN", "127.0.0.1:8081")
    config = Config(
        database_url=env.secret("SETPOINT_DATABASE_URL"),
        host=host,
        port=port,
        state_dir=env.state_dir(),
        join_token=env.secret("SETPOINT_JOIN_TOKEN", required=False),
        operator_key=env.secret("SETPOINT_OPERATOR_KEY"),
    )
    for name, secret in (("SETPOINT_JOIN_TOKEN", config.join_token), ("SETPOINT_OPERATOR_KEY", config.operator_key)):
        if secret and len(secret) < SECRET_CHARS_MIN:
            env.faults.append(f"{name} has fewer than {SECRET_CHARS_MIN} characters")
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        env.faults.append(f"SETPOINT_STATE_DIR={config.state_dir}: {error.strerror}")
    env.finish("setpoint-broker")
    return config
