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
from migrations.door import Connection, Refused, connect
from migrations.outcome import Fault
from setpoint.contracts.problem import Problem
from setpoint.runtime import EXIT_FAILED, Env

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
    incarnation, sessions = _on_connection(admin.restored)
    click.echo(f"cluster incarnation {incarnation}; {sessions} sessions made due", err=True)


@cli.command()
@click.argument("name")
def tenant(name: str) -> None:
    """Make a tenant, or find it by its name, and print its id."""
    click.echo(_on_connection(lambda connection: admin.create_tenant(connection, name)))


@cli.command()
@click.argument("tenant_name")
@click.option("--name", default="default", help="What the key is for, to recognise it by.")
def key(tenant_name: str, name: str) -> None:
    """Make an API key for a tenant and print it, once."""
    click.echo(_on_connection(lambda connection: admin.create_api_key(connection, tenant_name, name)))


@cli.command("join-token")
@click.option("--valid-s", default=admin.JOIN_TOKEN_S, show_default=True, help="For how many seconds it admits hosts.")
def join_token(valid_s: float) -> None:
    """Make a token that admits hosts and print it, once."""
    click.echo(_on_connection(lambda connection: admin.create_join_token(connection, valid_s=valid_s)))


def main() -> None:
    """Run the command line."""
    cli(prog_name="setpoint-migrate")


def _dsn() -> str:
    env = Env(os.environ)
    dsn = env.secret("SETPOINT_DATABASE_URL")
    env.finish("setpoint-migrate")
    return dsn


def _on_connection(act: Callable[[Connection], Awaitable[T]]) -> T:
    async def body() -> T:
        async with connect(_dsn()) as connection:
            return await act(connection)

    return _run(body)


def _run(act: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await act()

    try:
        return asyncio.run(body())
    except (Refused, Fault, Problem) as error:
        print(f"setpoint-migrate: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


if __name__ == "__main__":
    main()
