"""``setpoint host``: the hosts a broker knows, and what an operator wants of them.

It speaks to a broker, with the operator's key. What it orders is noted in the database: the command may be interrupted,
and the broker may be started anew, and it is carried out all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

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
_LEFT = (("SESSION", "name"), ("ID", "session_id"), ("WHY", "why"))
_LOOK_S = 0.5
_REASON = click.option("--reason", "-m", default="", help="Why; kept in the audit log.")


@click.group()
def host() -> None:
    """See the hosts that run cells and sandboxes; empty one, or declare one dead."""


@host.command("ls")
def list_() -> None:
    """List all hosts, with their state and load."""
    context.emit(_broker(lambda api: api.call("GET", "/v1/hosts"))["items"], COLUMNS)


@host.command()
@click.argument("name", metavar="HOST")
@_REASON
def cordon(name: str, reason: str) -> None:
    """Give HOST nothing new; what it has stays there.

    A cell host takes no more sessions, a sandbox host no more workspaces, until `setpoint host uncordon`.
    """
    ordered = _order(name, "cordon", reason)
    context.done(ordered, f"{name} is cordoned{_alone(ordered)}")


@host.command()
@click.argument("name", metavar="HOST")
@_REASON
def uncordon(name: str, reason: str) -> None:
    """Let HOST serve again, after a cordon or a drain."""
    context.done(_order(name, "uncordon", reason), f"{name} takes sessions again")


@host.command()
@click.argument("name", metavar="HOST")
@_REASON
@click.option("--timeout", default=600.0, show_default=True, help="Longest wait, in seconds; 0 does not wait.")
def drain(name: str, reason: str, timeout: float) -> None:
    """Give HOST nothing new and have its sessions leave it; wait until they have.

    The sessions of a cell host go to others one after the other; their running runs go on and are adopted. Sessions
    with their workspace on a sandbox host get one elsewhere as soon as no run of theirs is open. `setpoint host
    uncordon` calls it off. Ends with 6 when sessions are left after --timeout: it goes on all the same.
    """
    ordered = _order(name, "drain", reason)
    if timeout <= 0:
        context.done(ordered, f"{name} is being drained{_alone(ordered)}")
        return
    now = _until_empty(name, timeout)
    if now["ordered"] != "drain":
        context.note(f"the drain of {name} was called off; {now['left']} sessions are there")
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)
    if now["done"]:
        asleep = f"; {now['asleep']} asleep get another workspace when they wake" if now["asleep"] else ""
        context.done(now, f"{name} is empty{asleep}")
        return
    if now["why"]:
        context.note(f"{name} cannot be emptied: {now['why']}")
    context.note(f"{now['left']} sessions are left on {name} after {timeout:g} s; it goes on:")
    context.emit(now if context.as_json() else now["sessions"], _LEFT)
    raise click.exceptions.Exit(context.EXIT_TIMEOUT)


@host.command("declare-dead")
@click.argument("name", metavar="SANDBOX_HOST")
@click.option("--reason", "-m", required=True, help="Why you know it; kept in the audit log.")
@click.option("--force", is_flag=True, help="Also while it gives signs of life.")
def declare_dead(name: str, reason: str, force: bool) -> None:
    """Say that SANDBOX_HOST will never end what it runs, so that nobody waits for that.

    Sessions with a sync there go on at once instead of after its orphan timeout: the sync's outcome is unknown, the
    asset is evaluated on another host and synced again when it has drifted. Make sure first that the machine is off:
    a run that goes on there would run beside the new one. The host may come back, started anew.
    """
    body = {"reason": reason, "force": force}
    dead = _broker(lambda api: api.call("POST", f"/v1/hosts/{quote(name, safe='')}/declare-dead", body))
    context.done(dead, f"{name} is dead to all; its sessions get workspaces elsewhere")


def _until_empty(name: str, timeout_s: float) -> dict[str, Any]:
    """Look until nothing is left on a host, or the time is over; say on stderr when the count changes."""
    deadline_s, before = time.monotonic() + timeout_s, -1
    while True:
        now = _broker(lambda api: api.call("GET", f"/v1/hosts/{quote(name, safe='')}/drain"))
        if now["left"] != before and not now["done"]:
            context.note(f"{name}: {now['left']} sessions left" + (f" ({now['why']})" if now["why"] else ""))
        before = now["left"]
        if now["done"] or now["ordered"] != "drain" or time.monotonic() >= deadline_s:
            return now
        time.sleep(min(_LOOK_S, max(0.0, deadline_s - time.monotonic())))


def _order(name: str, word: str, reason: str) -> dict[str, Any]:
    path = f"/v1/hosts/{quote(name, safe='')}/{word}"
    return _broker(lambda api: api.call("POST", path, {"reason": reason}))


def _alone(ordered: dict[str, Any]) -> str:
    """Warn when no other host takes what this one does not."""
    if ordered["others"]:
        return ""
    if ordered["role"] == "cell":
        return "; no other cell host takes sessions: new and sleeping ones wait until one does"
    return "; no other sandbox host takes workspaces: sessions without one wait until one does"


def _broker(ask: Callable[[Client], dict[str, Any]]) -> dict[str, Any]:
    """Ask the brokers one after the other until one can be reached. Raises Problem."""
    chosen = context.settings()
    if not chosen.operator_key:
        raise Problem("unauthenticated", "this needs the operator's key: set SETPOINT_OPERATOR_KEY_FILE")
    problem: Problem | None = None
    for broker in chosen.brokers.split(","):
        try:
            with Client(f"http://{broker}", chosen.operator_key) as api:
                return ask(api)
        except Problem as error:
            problem = error
            if error.code != "unavailable":
                raise
    raise problem or Problem("unavailable", "no broker is configured")
