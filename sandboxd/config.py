"""The settings of one sandbox host, read once from the environment. All faults are reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from setpoint.contracts import limits
from setpoint.runtime import Env, host_name

_UID_FIRST: Final = 600_000
_UID_COUNT: Final = 60_000


@dataclass(frozen=True, slots=True)
class Config:
    """What a sandbox host is told.

    ``host``, ``port``: where it listens, port 0 takes a free one. ``advertise``: where cell hosts reach it, empty for
    the address it listens on. ``directory``: its own part of the state directory. ``objects``: the object store, shared
    with gateways and cell hosts. ``bwrap``: the bubblewrap to use, empty to look for one. ``mounts``: directories of
    this host that sandboxes see read-only, beside /usr. ``uids``: accounts of sandboxes, one per session, used as root;
    None when not root. ``runs_max``: runs at a time. ``unsafe``: do not isolate at all.
    ``lease_ttl_s``: the age up to which a clock token counts, the life of the cell hosts' leases.
    """

    host: str
    port: int
    advertise: str
    directory: Path
    host_id: str
    brokers: tuple[str, ...]
    join_token: str = field(repr=False)
    objects: str
    bwrap: str
    mounts: tuple[str, ...]
    uids: range | None
    runs_max: int
    unsafe: bool
    lease_ttl_s: float


def from_env(environ: Mapping[str, str]) -> Config:
    """Read the settings; exits with 2 and one line per fault when there are any."""
    env = Env(environ)
    host, port = env.listen("SETPOINT_LISTEN", "127.0.0.1:8083")
    state_dir = env.state_dir()
    first = int(env.number("SETPOINT_SANDBOX_UID_FIRST", _UID_FIRST, low=1000, high=2**31 - 2))
    count = int(env.number("SETPOINT_SANDBOX_UID_COUNT", _UID_COUNT, low=1, high=2**31 - 2))
    config = Config(
        host=host,
        port=port,
        advertise=env.text("SETPOINT_ADVERTISE", " ").strip(),
        directory=state_dir / "sandboxd",
        host_id=host_name(environ, "sandboxd"),
        brokers=env.brokers(),
        join_token=env.secret("SETPOINT_JOIN_TOKEN", required=False),
        objects=env.objects(),
        bwrap=env.text("SETPOINT_BWRAP", " ").strip(),
        mounts=tuple(filter(None, env.text("SETPOINT_SANDBOX_MOUNTS", " ").strip().split(":"))),
        uids=range(first, first + count) if os.geteuid() == 0 else None,
        runs_max=int(env.number("SETPOINT_SANDBOX_RUNS_MAX", limits.RUNS_PER_HOST_MAX, low=1, high=1024)),
        unsafe=env.choice("SETPOINT_UNSAFE_NO_ISOLATION", "no", ("yes", "no")) == "yes",
        lease_ttl_s=env.lease_ttl_s(),
    )
    _check(env, config)
    env.finish("setpoint-sandboxd")
    return config


def _check(env: Env, config: Config) -> None:
    for mount in config.mounts:
        if not mount.startswith("/") or not Path(mount).exists() or mount == "/":
            env.faults.append(f"SETPOINT_SANDBOX_MOUNTS: {mount!r} is no absolute path of something that exists")
    try:
        # Sandboxes run under other accounts and must get through to their workspaces; nothing can be listed.
        config.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        config.directory.chmod(0o711)
    except OSError as error:
        env.faults.append(f"SETPOINT_STATE_DIR: {config.directory}: {error.strerror}")
