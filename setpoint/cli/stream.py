"""``setpoint events`` and ``setpoint logs``: what happened, and what it printed. Following goes on by itself.

A gateway that is restarted or a session that moves to another host costs somebody who follows nothing but a moment:
events go on after the last seq, output after the last byte. Without ``-f`` an outage is an error at once.
"""

from __future__ import annotations

import codecs
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from setpoint.cli import context, narrate, table
from setpoint.client.api import Client
from setpoint.contracts.problem import Problem

T = TypeVar("T")
Json = dict[str, Any]

_SESSION = click.option("--session", "-s", "named", help="Session name or id (default: the project here).")
_FOLLOW = click.option("--follow", "-f", "follows", is_flag=True, help="Go on as more comes; Ctrl-C stops it.")
_POLL_S: Final = 0.5
_RETRY_S: Final = 1.0
_LATEST: Final = 10
"""Executions looked at in one go for those that have come since the last look."""


def _show(event: Json, as_json: bool, session: str = "") -> None:
    if as_json:
        click.echo(json.dumps(event, sort_keys=True))
        return
    colour, text = narrate.line(event)
    table.line(f"{session}  {text}" if session else text, colour)


@click.command()
@click.option(
    "--session",
    "-s",
    "named",
    multiple=True,
    help="Session name or id (default: the project here); with -f several may be given.",
)
@_FOLLOW
@click.option("--after", default=0, show_default=True, help="Start after this seq.")
def events(named: tuple[str, ...], follows: bool, after: int) -> None:
    """Show the events of the session, oldest first. With -o json: one JSON object a line.

    -f goes on where it was after any break, until the session is closed.
    """
    if len(named) > 1 and not follows:
        raise click.UsageError("several sessions can only be followed: add -f")
    with context.client() as api:
        if len(named) > 1:
            _follow_several(api, named, after)
            return
        name, as_json = context.session_of(named[0] if named else None), context.as_json()
        if follows:
            from setpoint.client.sse import follow

            for event in follow(api, name, after, note=context.note):
                _show(event, as_json)
            return
        while page := api.events_page(name, after):
            for event in page:
                _show(event, as_json)
            after = int(page[-1]["seq"])


def _follow_several(api: Client, named: tuple[str, ...], after: int) -> None:
    """Show the events of several sessions as they come, each line with the session's name."""
    from setpoint.client.sse import follow_several

    names = {str(found["id"]): str(found["name"]) for found in map(api.session, named)}
    as_json, width = context.as_json(), max(map(len, names.values()))
    for event in follow_several(api, dict.fromkeys(names, after), note=context.note):
        _show(event, as_json, names[event["session_id"]].ljust(width))


@click.command()
@click.argument("asset")
@_SESSION
@_FOLLOW
@click.option("--execution", help="This execution instead (`setpoint history`).")
def logs(asset: str, named: str | None, follows: bool, execution: str | None) -> None:
    """Show what the latest sync of ASSET printed, or its latest evaluation when it was never synced.

    -f begins with what ran last, a sync or an evaluation, and goes on to the next ones, and after any break.

    What went to stdout is printed on stdout, what went to stderr on stderr. With -o json: one JSON object a line, of
    execution_id, step, name, stream and text.
    """
    name = context.session_of(named)
    with context.client() as api:
        # A wrong name is told apart from silence.
        api.call("GET", f"/v1/sessions/{name}/assets/{quote(asset, safe='')}")
        found = [api.call("GET", f"/v1/sessions/{name}/executions/{execution}")] if execution else None
        if found is None:
            found = (not follows and _latest_sync(api, name, asset)) or _newer(api, name, asset, None)
        if not found and not follows:
            raise Problem("not-found", f"asset {asset} of session {name} has not run anything yet")
        last = ""
        while True:
            for each in found:
                _print_execution(api, name, each, follows)
                last = each["id"]
            if not follows or execution:
                return
            time.sleep(_POLL_S)
            found = _patiently(functools.partial(_newer, api, name, asset, last))


def _latest_sync(api: Client, session: str, asset: str) -> list[Json]:
    """Return the latest sync of an asset; none when it was never synced. Evaluations bury it within seconds."""
    path = f"/v1/sessions/{session}/assets/{quote(asset, safe='')}/history"
    syncs = api.call("GET", path, kind="sync", limit=1)["items"]
    return [api.call("GET", f"/v1/sessions/{session}/executions/{sync['execution_id']}") for sync in syncs]


def _newer(api: Client, session: str, asset: str, last: str | None) -> list[Json]:
    """Return the executions of an asset after ``last``, oldest first; with None the newest alone."""
    found: list[Json] = []
    after: object | None = None
    while True:
        page = api.call("GET", f"/v1/sessions/{session}/executions", asset=asset, limit=_LATEST, after=after)
        for each in page["items"]:
            if each["id"] == last:
                return found[::-1]
            found.append(each)
            if last is None:
                return found
        after = page["next"]
        if not after:
            return found[::-1]


def _patiently(ask: Callable[[], T]) -> T:
    """Ask until there is an answer, saying once why there is none. Raises Problem for what will not change."""
    has_said = False
    while True:
        try:
            return ask()
        except Problem as problem:
            if not problem.kind.retry:
                raise
            if not has_said:
                context.note(f"{problem.detail}; going on as soon as it answers")
            has_said = True
            time.sleep(_RETRY_S)


def _print_execution(api: Client, session: str, execution: Json, follows: bool) -> None:
    context.note(f"== {execution['kind']} {execution['id']} {execution['status']}")
    printed = False
    for step in execution["steps"]:
        how = f"exit {step['exit_code']}" if step.get("exit_code") is not None else step.get("status", "")
        context.note(f"-- {step.get('name', step['index'])}: {how}")
        printer = _Printer(execution["id"], step)
        for stream, content in _output(api, session, execution["id"], step["index"], follows):
            printed = printed or bool(content)
            printer.write(stream, content)
        printer.end()
    if not printed:
        context.note("(it printed nothing)")


class _Printer:
    """Prints what a step wrote: bytes as they are, or objects with text, never cut in the middle of a character."""

    def __init__(self, execution_id: str, step: Json) -> None:
        self._known = {"execution_id": execution_id, "step": step["index"], "name": step.get("name")}
        self._as_json = context.as_json()
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: decoder(errors="replace") for stream in ("stdout", "stderr")}

    def write(self, stream: str, content: bytes) -> None:
        """Print a piece of one stream."""
        if self._as_json:
            self._print_object(stream, self._decoders[stream].decode(content))
            return
        sink = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
        sink.write(content)
        sink.flush()

    def end(self) -> None:
        """Print what is left of a character that was never finished."""
        for stream, decoder in self._decoders.items():
            self._print_object(stream, decoder.decode(b"", final=True))

    def _print_object(self, stream: str, text: str) -> None:
        if text:
            click.echo(json.dumps(self._known | {"stream": stream, "text": text}))


def _output(api: Client, session: str, execution: str, step: int, follows: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the pieces of both streams of one step, as (stream, bytes); when following, until the step has ended."""
    offsets = {"stdout": 0, "stderr": 0}
    while offsets:
        has_moved = False
        for stream, offset in list(offsets.items()):
            try:
                content, offsets[stream], at_end = _read(api, session, execution, step, stream, offset, follows)
            except Problem as problem:
                if problem.code != "not-found":
                    raise
                content, at_end = b"", True
            yield stream, content
            has_moved = has_moved or at_end or offsets[stream] != offset
            if at_end:
                del offsets[stream]
        if not has_moved:
            if not follows:
                return
            time.sleep(_POLL_S)


def _read(
    api: Client, session: str, execution: str, step: int, stream: str, offset: int, follows: bool
) -> tuple[bytes, int, bool]:
    """Read a piece; a follower asks for the same offset again while the session has no owner that answers."""

    def ask() -> tuple[bytes, int, bool]:
        return api.output(session, execution, step, stream, offset)

    return _patiently(ask) if follows else ask()
