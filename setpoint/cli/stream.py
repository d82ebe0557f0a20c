"""``setpoint events`` and ``setpoint logs``: what happened, and what it printed."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from setpoint.cli import context, narrate
from setpoint.client.api import Client
from setpoint.contracts.problem import Problem

_SESSION = click.option("--session", "-s", "named", help="Session name or id (default: the project here).")
_FOLLOW = click.option("--follow", "-f", "follows", is_flag=True, help="Go on as more comes; Ctrl-C stops it.")
_POLL_S = 0.5


def show(event: dict[str, Any]) -> None:
    """Print one event on stdout: a line for a person, or JSON with ``-o json``."""
    if context.settings().output == "json":
        click.echo(json.dumps(event, sort_keys=True))
        return
    colour, text = narrate.line(event)
    click.secho(text, fg=colour)


@click.command()
@_SESSION
@_FOLLOW
@click.option("--after", default=0, show_default=True, help="Start after this seq.")
def events(named: str | None, follows: bool, after: int) -> None:
    """Show the events of the session, oldest first."""
    name = context.session_of(named)
    with context.client() as api:
        if follows:
            from setpoint.client.sse import follow

            for event in follow(api, name, after, note=context.note):
                show(event)
            return
        while page := api.events_page(name, after):
            for event in page:
                show(event)
            after = int(page[-1]["seq"])


def _latest(api: Client, session: str, asset: str) -> dict[str, Any] | None:
    """Return the asset's newest execution that ran something in a sandbox, by its place in the log."""
    found = api.call("GET", f"/v1/sessions/{session}/executions", asset=asset, limit=1)
    return found["items"][0] if found["items"] else None


@click.command()
@click.argument("asset")
@_SESSION
@_FOLLOW
@click.option("--execution", help="This execution instead of the latest.")
def logs(asset: str, named: str | None, follows: bool, execution: str | None) -> None:
    """Show what the latest execution of ASSET printed; -f goes on to the next ones."""
    name = context.session_of(named)
    with context.client() as api:
        chosen = api.call("GET", f"/v1/sessions/{name}/executions/{execution}") if execution else None
        found = chosen or _latest(api, name, asset)
        if found is None and not follows:
            raise Problem("not-found", f"asset {asset} of session {name} has not run anything yet")
        last = ""
        while True:
            if found is not None and found["id"] != last:
                _print_execution(api, name, found, follows)
                last = found["id"]
            if not follows or execution:
                return
            time.sleep(_POLL_S)
            found = _latest(api, name, asset)


def _print_execution(api: Client, session: str, execution: dict[str, Any], follows: bool) -> None:
    context.note(f"== {execution['kind']} {execution['id']} {execution['status']}")
    for step in execution["steps"]:
        for stream, sink in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
            offset, at_end = 0, False
            while not at_end:
                try:
                    content, next_offset, at_end = api.output(session, execution["id"], step["index"], stream, offset)
                except Problem as problem:
                    if problem.code != "not-found":
                        raise
                    break
                sink.write(content)
                sink.flush()
                if next_offset == offset and not at_end:
                    if not follows:
                        break
                    time.sleep(_POLL_S)
                offset = next_offset
