"""``setpoint-migrate``: the operator's door to the schema.

The DSN is that of setpoint_migrate, in SETPOINT_DATABASE_URL or the file named by SETPOINT_DATABASE_URL_FILE. Results
go to stdout (a new secret is shown once, there), everything else to stderr.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from migrations import admin, runner
from migrations.door import Refused
from migrations.outcome import Fault
from setpoint.runtime import EXIT_FAILED, Env, new_secret

T = TypeVar("T")


@click.group(help=__doc__)
def cli() -> None:
    """Collect the commands below."""


@cli.command()
def up() -> None:
    """Bring the schema to the newest version."""
    done = _run(lambda: runner.migrate(_dsn()))
    click.echo(f"applied: {', '.join(map(str, done))}" if done else "nothing to apply", err=True)


@cli.command()
def status() -> None:
    """List the versions and whether each is applied. Exits 1 unless all are."""
    states = _run(lambda: runner.status(_dsn()))
    for item in states:
        click.echo(f"{item.version:04d} {item.name} {item.state}")
    if any(item.state != "applied" for item in states):
        raise SystemExit(1)


@cli.command()
def restored() -> None:
    """Run this once after a restore or a lossy failover, before any daemon starts."""
    incarnation, sessions = _run(lambda: admin.restored(_dsn()))
    click.echo(f"cluster incarnation {incarnation}; {sessions} sessions made due", err=True)


@cli.command()
@click.argument("name")
def tenant(name: str) -> None:
    """Make a tenant, or find it by its name, and print its id."""
    click.echo(_run(lambda: admin.ensure_tenant(_dsn(), name)))


@cli.command()
@click.argument("tenant_name")
@click.option("--name", default="default", help="What the key is for, to recognise it by.")
def key(tenant_name: str, name: str) -> None:
    """Make an API key for a tenant and print it, once."""
    tenant_id = _run(lambda: admin.find_tenant(_dsn(), tenant_name))
    if tenant_id is None:
        print(f"setpoint-migrate: there is no tenant {tenant_name!r}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)
    click.echo(_run(lambda: admin.ensure_api_key(_dsn(), tenant_id, name)))


@cli.command("join-token")
@click.option("--valid-s", default=admin.JOIN_TOKEN_S, show_default=True, help="For how many seconds it admits hosts.")
def join_token(valid_s: float) -> None:
    """Make a token that admits hosts and print it, once."""
    token = new_secret()
    _run(lambda: admin.ensure_join_token(_dsn(), token, valid_s))
    click.echo(token)


def main() -> None:
    """Run the command line."""
    cli(prog_name="setpoint-migrate")


def _dsn() -> str:
    env = Env(os.environ)
    dsn = env.secret("SETPOINT_DATABASE_URL")
    env.finish("setpoint-migrate")
    return dsn


def _run(act: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await act()

    try:
        return asyncio.run(body())
    except (Refused, Fault) as error:
        print(f"setpoint-migrate: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


if __name__ == "__main__":
    main()
