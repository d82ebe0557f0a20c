"""``setpoint events`` and ``setpoint logs``: what happened, and what it printed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from setpoint.cli import context, narrate, table
from setpoint.client.api import Client
from setpoint.contracts.problem import Problem

_SESSION = click.option("--session", "-s", "named", help="Session name or id (default: the project here).")
_FOLLOW = click.option("--follow", "-f", "follows", is_flag=True, help="Go on as more comes; Ctrl-C stops it.")
_POLL_S = 0.5


def _show(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event, sort_keys=True))
        return
    colour, text = narrate.line(event)
    table.line(text, colour)


@click.command()
@_SESSION
@_FOLLOW
@click.option("--after", default=0, show_default=True, help="Start after this seq.")
def events(named: str | None, follows: bool, after: int) -> None:
    """Show the events of the session, oldest first. With -o json: one JSON object a line."""
    name, as_json = context.session_of(named), context.as_json()
    with context.client() as api:
        if follows:
            from setpoint.client.sse import follow

            for event in follow(api, name, after, note=context.note):
                _show(event, as_json)
            return
        while page := api.events_page(name, after):
            for event in page:
                _show(event, as_json)
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
    """Show what the latest execution of ASSET printed; -f goes on to the next ones.

    What went to stdout is printed on stdout, what went to stderr on stderr. With -o json: one JSON object a line, of
    execution_id, step, name, stream and text.
    """
    name = context.session_of(named)
    with context.client() as api:
        api.call(
            "GET", f"/v1/sessions/{name}/assets/{quote(asset, safe='')}"
        )  # a wrong name is told apart from silence
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
    as_json, printed = context.as_json(), False
    for step in execution["steps"]:
        how = f"exit {step['exit_code']}" if step.get("exit_code") is not None else step.get("status", "")
        context.note(f"-- {step.get('name', step['index'])}: {how}")
        for stream in ("stdout", "stderr"):
            for content in _output(api, session, execution["id"], step["index"], stream, follows):
                printed = printed or bool(content)
                if as_json:
                    _print_object(execution["id"], step, stream, content)
                else:
                    sink = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
                    sink.write(content)
                    sink.flush()
    if not printed:
        context.note("(it printed nothing)")


def _print_object(execution_id: str, step: dict[str, Any], stream: str, content: bytes) -> None:
    if content:
        text = content.decode(errors="replace")
        found = {"execution_id": execution_id, "step": step["index"], "name": step.get("name"), "stream": stream}
        click.echo(json.dumps(found | {"text": text}))


def _output(api: Client, session: str, execution: str, step: int, stream: str, follows: bool) -> Iterator[bytes]:
    """Yield the pieces of one stream of one step; when following, until the step has ended."""
    offset, at_end = 0, False
    while not at_end:
        try:
            content, next_offset, at_end = api.output(session, execution, step, stream, offset)
        except Problem as problem:
            if problem.code != "not-found":
                raise
            return
        yield content
        if next_offset == offset and not at_end:
            if not follows:
                return
            time.sleep(_POLL_S)
        offset = next_offset
