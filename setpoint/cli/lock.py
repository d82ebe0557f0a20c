"""``setpoint lock ls | break``: the tenant-wide locks that syncs hold."""

from __future__ import annotations

from urllib.parse import quote

import click

from setpoint.cli import context

_COLUMNS = (
    ("KEY", "key"),
    ("SESSION", "session_name"),
    ("EXECUTION", "execution_id"),
    ("SINCE", "since"),
    ("TTL S", "ttl_secs"),
    ("EXPIRED", "expired"),
)


@click.group()
def lock() -> None:
    """Look at the tenant-wide locks that syncs hold (`lockKey`), and break one."""


@lock.command("ls")
def list_locks() -> None:
    """List the locks that are held, with the sync that holds each."""
    with context.client() as api:
        context.emit(list(api.pages("/v1/locks")), _COLUMNS, empty="no lock is held")


@lock.command("break")
@click.argument("key")
@click.option("--reason", "-m", required=True, help="Why; kept in the audit log and in the holder's session.")
@click.option("--force", is_flag=True, help="Also before its time to live (lockTtlSeconds) has passed.")
def break_lock(key: str, reason: str, force: bool) -> None:
    """Take the lock KEY from the sync that holds it; that sync goes on without it.

    Make sure first that it changes nothing any more: another sync may start at once. A sync that is known to run is
    better ended with `setpoint cancel ASSET`, which gives its lock back.
    """
    with context.client() as api:
        body = {"reason": reason, "force": force}
        broken = api.call("POST", f"/v1/locks/{quote(key, safe='')}/break", body)
    held = f"execution {broken['execution_id']} of session {broken['session_id']} held it"
    context.done(broken, f"the lock {key} is free; {held}")
