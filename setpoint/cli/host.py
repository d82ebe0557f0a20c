"""``setpoint host ls``: the hosts a broker knows. It speaks to the broker, with the operator's key."""

from __future__ import annotations

import click

from setpoint.cli import context
from setpoint.client.api import Client
from setpoint.contracts.problem import Problem

COLUMNS = (
    ("HOST", "host"),
    ("ROLE", "role"),
    ("STATE", "state"),
    ("ADDRESS", "address"),
    ("SESSIONS", "sessions"),
    ("LEASE AGE", "lease_age_s"),
)


@click.group()
def host() -> None:
    """See the hosts that run cells and sandboxes."""


@host.command("ls")
def list_() -> None:
    """List all hosts, with their state and load."""
    chosen = context.settings()
    if not chosen.operator_key:
        raise Problem("unauthenticated", "host ls needs the operator's key: set SETPOINT_OPERATOR_KEY_FILE")
    problem: Problem | None = None
    for broker in chosen.brokers.split(","):
        try:
            with Client(f"http://{broker}", chosen.operator_key) as api:
                context.emit(api.call("GET", "/v1/hosts")["items"], COLUMNS)
                return
        except Problem as error:
            problem = error
            if error.code != "unavailable":
                raise
    raise problem or Problem("unavailable", "no broker is configured")
