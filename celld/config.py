"""The settings of one celld: a frozen value read from the environment, all faults at once (exit 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from setpoint.contracts import ids, limits
from setpoint.runtime import Env, host_name


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a cell host.

    ``listen``: where gateways connect and health is asked; port 0 takes a free one. ``advertise``: what others are
    told, empty for the bound address. ``brokers``: host:port each; none are needed once the host holds a token.
    ``join_token``: admits the host the first time. ``objects``: the object store, a directory. ``lease_ttl_s``: how
    long its sessions stay its own when it falls silent. ``hibernate_after_s``: after how long without an input a
    session is put to sleep, if its next timer is as far away again. ``cells_per_process``: how many sessions of one
    tenant may share a process.
    """

    database_url: str
    state_dir: Path
    listen: tuple[str, int]
    advertise: str
    brokers: tuple[str, ...]
    join_token: str
    objects: str
    host: str
    lease_ttl_s: float = limits.LEASE_TTL_S
    hibernate_after_s: float = limits.HIBERNATE_AFTER_S
    cells_per_process: int = limits.CELLS_PER_PROCESS


def from_env(environ: Mapping[str, str]) -> Config:
    """Read the settings; exits with 2 and a line per fault when some are wrong."""
    env = Env(environ)
    hibernate_after_s = env.duration_s("SETPOINT_HIBERNATE_AFTER", limits.HIBERNATE_AFTER_S)
    if hibernate_after_s < limits.HIBERNATE_AFTER_S_MIN:
        env.faults.append(f"SETPOINT_HIBERNATE_AFTER is shorter than {limits.HIBERNATE_AFTER_S_MIN:g}s")
    cells_per_process = int(
        env.number("SETPOINT_CELLS_PER_PROCESS", limits.CELLS_PER_PROCESS, low=1, high=limits.CELLS_PER_PROCESS_MAX)
    )
    state_dir = env.state_dir()
    host = environ.get("SETPOINT_HOST_ID") or host_name(environ, "celld")
    if not ids.is_name(host):
        env.faults.append(f"SETPOINT_HOST_ID={host!r} is no legal name")
    config = Config(
        database_url=env.secret("SETPOINT_DATABASE_URL"),
        state_dir=state_dir,
        listen=env.listen("SETPOINT_LISTEN", "127.0.0.1:8082"),
        advertise=env.text("SETPOINT_ADVERTISE", ""),
        brokers=env.brokers(),
        join_token=env.secret("SETPOINT_JOIN_TOKEN", required=False),
        objects=env.objects(),
        host=host,
        lease_ttl_s=env.lease_ttl_s(),
        hibernate_after_s=hibernate_after_s,
        cells_per_process=cells_per_process,
    )
    env.finish("celld")
    return config
