"""``setpoint-sandboxd``: the entry point of tier 4. Settings come from the environment; flags win over it.

Before it listens it holds the lock of its directory, has proven that it can isolate, and that nothing of an earlier
process is left. Exit codes: 0 stopped, 2 wrong settings or no isolation, 1 anything else.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from sandboxd import warden
from sandboxd.app import Parts, serve
from sandboxd.config import Config, from_env
from sandboxd.jail.driver import Jail, JailMissing
from sandboxd.jail.find import Quarters, find_jail
from sandboxd.jail.kit import make_kit
from sandboxd.jail.plain import PlainJail
from sandboxd.ledger import Ledger
from sandboxd.reaper import NotGone, clear_predecessor
from setpoint import runtime
from setpoint.identity import Identity


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; loopback only.  [SETPOINT_LISTEN]")
@click.option("--state-dir", metavar="DIR", help="Where ledger, keys and workspaces are.  [SETPOINT_STATE_DIR]")
@click.option(
    "--unsafe-no-isolation",
    is_flag=True,
    help="Run steps as plain processes that see this host. Every result says so.  [SETPOINT_UNSAFE_NO_ISOLATION]",
)
def main(listen: str | None, state_dir: str | None, unsafe_no_isolation: bool) -> None:
    """Run a Setpoint sandbox host."""
    flags = {
        "SETPOINT_LISTEN": listen,
        "SETPOINT_STATE_DIR": state_dir,
        "SETPOINT_UNSAFE_NO_ISOLATION": "yes" if unsafe_no_isolation else None,
    }
    config = from_env({**os.environ, **{name: value for name, value in flags.items() if value}})
    runtime.setup_logging("sandboxd", os.environ)
    lock = _lock(config.directory)
    parts = _prove(config)
    try:
        runtime.run_daemon("sandboxd", lambda stop: serve(config, parts, stop))
    finally:
        os.close(lock)


def _prove(config: Config) -> Parts:
    ledger = Ledger(config.directory / "ledger.db", runtime.new_id())
    try:
        jail = _jail(config, ledger.ledger_id)
        interrupted = clear_predecessor(ledger)
    except JailMissing as missing:
        _refuse(f"cannot isolate: {missing} (or run without isolation: --unsafe-no-isolation)")
    except NotGone as left:
        runtime.log().error("cannot start", why=str(left))
        raise SystemExit(runtime.EXIT_FAILED) from left
    if interrupted:
        runtime.log().warning("runs of an earlier process were interrupted", runs=interrupted)
    return Parts(Identity(config.directory / "identity", config.host_id, "sandbox"), jail, ledger, warden.start())


def _jail(config: Config, ledger_id: str) -> Jail:
    kit = make_kit(config.directory / "bin")
    if kit.fault:
        runtime.log().warning("SQL and Freshness conditions cannot be checked on this host", why=kit.fault)
    if config.unsafe:
        runtime.log().warning("NO ISOLATION: steps see this host's files, processes and network")
        return PlainJail(ledger_id, kit)
    uid = config.uids.stop - 1 if config.uids is not None else None
    return find_jail(Quarters(config.directory, uid, config.mounts, kit), ledger_id, config.bwrap)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _refuse(f"another sandboxd works in {directory}")
    return descriptor


def _refuse(why: str) -> NoReturn:
    print(f"setpoint-sandboxd: {why}", file=sys.stderr)
    raise SystemExit(runtime.EXIT_CONFIG)


if __name__ == "__main__":
    main()
