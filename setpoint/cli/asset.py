"""``setpoint status | evaluate | sync | cancel``: the assets of a session."""

from __future__ import annotations

from typing import Any

import click

from setpoint.cli import context, progress, wait

COLUMNS = (
    ("ASSET", "name"),
    ("STATE", "state"),
    ("KNOWN", "known"),
    ("WHY", "why"),
    ("FAILURES", "failures"),
    ("NEXT", "next"),
)
_SESSION = click.option("--session", "-s", "named", help="Session name or id (default: the project here).")
_WAIT = click.option("--wait/--no-wait", "waits", default=True, help="Wait until the command has ended.")
_TIMEOUT = click.option("--timeout", default=600.0, show_default=True, help="Longest wait, in seconds.")


def row(asset: dict[str, Any]) -> dict[str, Any]:
    """Add to an asset the two columns that a person asks for first: why, and what happens next."""
    reasons = []
    if asset.get("blocked_by"):
        reasons.append("blocked by " + ", ".join(asset["blocked_by"]))
    if asset.get("suspended"):
        reasons.append("suspended: " + str(asset["suspended"].get("reason", "")))
    reasons.extend(
        f"{condition['conditionName']}: {condition['status']['reason']}"
        for condition in (asset.get("last_evaluation") or {}).get("conditions", [])
        if condition["status"].get("reason")
    )
    busy = asset.get("state") in ("syncing", "evaluating")  # what comes next is decided when that has ended
    following = None if busy else asset.get("cooldown_until") or asset.get("next_due")
    return {**asset, "why": "; ".join(reasons), "next": following}


@click.command()
@_SESSION
@click.option("--check", is_flag=True, help="Exit 1 unless every asset is Ready.")
def status(named: str | None, check: bool) -> None:
    """Show each asset of the session: its state, why, and when it is looked at next."""
    name = context.session_of(named)
    with context.client() as api:
        assets = [row(asset) for asset in api.pages(f"/v1/sessions/{name}/assets")]
    context.emit(assets, COLUMNS, empty=f"session {name} has no assets yet; next: setpoint apply DIR -s {name}")
    if check and not all(asset.get("state") == "ready" for asset in assets):
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)


def _run(named: str | None, kind: str, payload: dict[str, Any], waits: bool, timeout: float) -> None:
    name = context.session_of(named)
    with context.client() as api:
        answer = api.command(name, kind, payload)
        if waits:
            try:
                answer = wait.for_command(api, name, answer["command_id"], timeout, progress.show)
            except TimeoutError:
                context.note(f"setpoint: {kind} has not ended after {timeout:g} s; it goes on")
                raise click.exceptions.Exit(context.EXIT_TIMEOUT) from None
    context.emit(answer, (("COMMAND", "command_id"), ("TYPE", "type"), ("STATUS", "status")))
    if waits and answer["status"] != "succeeded":
        message = (answer.get("result") or {}).get("message", "")
        context.note(f"setpoint: {kind} {answer['status']}" + (f": {message}" if message else ""))
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)


@click.command()
@click.argument("assets", nargs=-1)
@_SESSION
@_WAIT
@_TIMEOUT
def evaluate(assets: tuple[str, ...], named: str | None, waits: bool, timeout: float) -> None:
    """Evaluate ASSETS now (none named: all of them)."""
    _run(named, "evaluate", {"select": list(assets)}, waits, timeout)


@click.command()
@click.argument("assets", nargs=-1, required=True)
@_SESSION
@click.option("--stage", "stages", multiple=True, type=click.Choice(["pre", "run", "post"]), help="Only these stages.")
@_WAIT
@_TIMEOUT
def sync(assets: tuple[str, ...], named: str | None, stages: tuple[str, ...], waits: bool, timeout: float) -> None:
    """Sync ASSETS now, in dependency order, whatever their state."""
    payload: dict[str, Any] = {"select": list(assets)} | ({"stages": list(stages)} if stages else {})
    _run(named, "sync", payload, waits, timeout)


@click.command()
@click.argument("asset", required=False)
@click.option("--command", "command_id", help="Cancel this command and what it started.")
@_SESSION
@_WAIT
@_TIMEOUT
def cancel(asset: str | None, command_id: str | None, named: str | None, waits: bool, timeout: float) -> None:
    """Cancel the running sync of ASSET, or a command."""
    if (asset is None) == (command_id is None):
        raise click.UsageError("name either an ASSET or --command ID")
    payload = {"asset": asset} if asset else {"command_id": command_id}
    _run(named, "cancel", payload, waits, timeout)
