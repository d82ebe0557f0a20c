"""``setpoint session ls | create | close``."""

from __future__ import annotations

import click

from setpoint.cli import context, progress, wait
from setpoint.contracts.problem import Problem

COLUMNS = (("NAME", "name"), ("ID", "id"), ("STATE", "state"), ("HEAD", "head_seq"), ("CREATED", "created_at"))


@click.group()
def session() -> None:
    """List, create and close sessions: a session is one project's durable reconcile workspace."""


@session.command("ls")
def list_() -> None:
    """List the sessions of this key's tenant."""
    with context.client() as api:
        found = list(api.pages("/v1/sessions"))
        if not context.as_json():  # a session without a name goes by its id; said once, a line fits a terminal
            found = [{**item, "name": None} if item["name"] == item["id"] else item for item in found]
        context.emit(
            found,
            COLUMNS,
            empty="no session yet; next: setpoint session create NAME, or setpoint apply DIR",
        )


@session.command()
@click.argument("name", required=False)
def create(name: str | None) -> None:
    """Create a session, named NAME or by its id."""
    with context.client() as api:
        context.emit(api.create_session(name), COLUMNS)


@session.command()
@click.argument("name")
@click.option("--wait/--no-wait", "waits", default=True, help="Wait until it is closed.")
@click.option("--timeout", default=60.0, show_default=True, help="Longest wait, in seconds.")
def close(name: str, waits: bool, timeout: float) -> None:
    """Close session NAME: what runs is cancelled, then it takes no more commands."""
    with context.client() as api:
        answer = api.command(name, "close", {})
        if waits:
            answer = wait.for_command(api, name, answer["command_id"], timeout, progress.show)
            if answer["status"] != "succeeded":
                raise Problem("conflict", f"closing {name} ended as {answer['status']}")
        context.emit(answer, (("COMMAND", "command_id"), ("STATUS", "status")))
