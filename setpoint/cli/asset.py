"""``setpoint status | evaluate | sync | cancel``: the assets of a session."""

from __future__ import annotations

import shlex
from typing import Any

import click

from setpoint.cli import context, progress, wait

_NOTHING = "nothing is selected"
COLUMNS = (
    ("ASSET", "name"),
    ("STATE", "state"),
    ("KNOWN", "known"),
    ("WHY", "why"),
    ("FAILURES", "failures"),
    ("NEXT", "next"),
)
SESSION = click.option("--session", "-s", "named", help="Session name or id (default: the project here).")
WAIT = click.option("--wait/--no-wait", "waits", default=True, help="Wait until the command has ended.")
EXCLUDE = click.option("--exclude", "-x", multiple=True, metavar="SELECTOR", help="Leave these assets out.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would run.")
TIMEOUT = click.option("--timeout", default=600.0, show_default=True, help="Longest wait, in seconds.")


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
    told = asset.get("reasons") or []
    reasons.extend(str(reason["message"]) for reason in told if reason.get("code") == "EvaluationFailing")
    busy = asset.get("state") in ("syncing", "evaluating")  # what comes next is decided when that has ended
    following = None if busy else asset.get("cooldown_until") or asset.get("next_due")
    return {**asset, "why": "; ".join(reasons), "next": following}


def selected(assets: list[dict[str, Any]], select: tuple[str, ...], exclude: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the assets that selectors choose, in the order they come in. Raises Problem as the selectors do."""
    if not select and not exclude:
        return assets
    from setpoint.contracts.resource.select import graph_of
    from setpoint.contracts.resource.select import select as select_

    upstreams = {asset["name"]: asset.get("upstreams", []) for asset in assets}
    labels = {asset["name"]: asset.get("labels", {}) for asset in assets}
    chosen = set(select_(select, exclude, graph_of(upstreams, labels)))
    return [asset for asset in assets if asset["name"] in chosen]


@click.command()
@click.argument("assets", nargs=-1, metavar="[SELECTOR]...")
@SESSION
@EXCLUDE
@click.option("--check", is_flag=True, help="Exit 1 unless every asset shown is Ready.")
def status(assets: tuple[str, ...], named: str | None, exclude: tuple[str, ...], check: bool) -> None:
    """Show the assets of the session (none selected: all): their state, why, and when they are looked at next."""
    name = context.session_of(named)
    with context.client() as api:
        found = [row(asset) for asset in api.pages(f"/v1/sessions/{name}/assets")]
    shown = selected(found, assets, exclude)
    context.emit(shown, COLUMNS, empty=f"session {name} has no assets yet; next: setpoint apply DIR -s {name}")
    if check and not all(asset.get("state") == "ready" for asset in shown):
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)


def run(named: str | None, kind: str, payload: dict[str, Any], waits: bool, timeout: float) -> None:
    """Send a command, wait for its end when asked to, print it. Leaves with the documented code when it did not do."""
    name = context.session_of(named)
    with context.client() as api:
        answer = api.command(name, kind, payload)
        if waits:
            try:
                answer = wait.for_command(api, name, answer["command_id"], timeout, progress.show)
            except TimeoutError:
                context.note(f"setpoint: {kind} has not ended after {timeout:g} s; it goes on")
                raise click.exceptions.Exit(context.EXIT_TIMEOUT) from None
    if payload.get("dry_run") and answer["status"] == "succeeded":
        _foretold(answer["result"])
        return
    context.emit(answer, (("COMMAND", "command_id"), ("TYPE", "type"), ("STATUS", "status")))
    if waits and answer["status"] != "succeeded":
        message = (answer.get("result") or {}).get("message", "")
        context.note(f"setpoint: {kind} {answer['status']}" + (f": {message}" if message else ""))
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)


def _foretold(result: dict[str, Any]) -> None:
    """Print what a dry run says would be done, one asset a row."""
    assets = result["assets"]
    rows = [{"asset": item["asset"], "runs": _would_run(item)} for item in assets]
    context.emit(assets if context.as_json() else rows, (("ASSET", "asset"), ("WOULD RUN", "runs")), empty=_NOTHING)
    if more := result["count"] - len(assets):
        context.note(f"and {more} more")


def _would_run(item: dict[str, Any]) -> str:
    conditions = [condition["name"] for condition in item.get("conditions", ())]
    stages = [f"{stage['stage']}: {shlex.join(stage['args'])}" for stage in item.get("stages", ())]
    return "; ".join([*conditions, *stages])


def chosen(select: tuple[str, ...], exclude: tuple[str, ...], dry_run: bool = False) -> dict[str, Any]:
    """Return the payload of a command that takes selectors."""
    payload: dict[str, Any] = {"select": list(select)}
    return payload | ({"exclude": list(exclude)} if exclude else {}) | ({"dry_run": True} if dry_run else {})


@click.command()
@click.argument("assets", nargs=-1, metavar="[SELECTOR]...")
@SESSION
@EXCLUDE
@DRY_RUN
@WAIT
@TIMEOUT
def evaluate(
    assets: tuple[str, ...], named: str | None, exclude: tuple[str, ...], dry_run: bool, waits: bool, timeout: float
) -> None:
    """Evaluate the selected assets now (none selected: all). Selectors: name, +name, name+2, label:key=value."""
    run(named, "evaluate", chosen(assets, exclude, dry_run), waits or dry_run, timeout)


@click.command()
@click.argument("assets", nargs=-1, required=True, metavar="SELECTOR...")
@SESSION
@EXCLUDE
@click.option("--stage", "stages", multiple=True, type=click.Choice(["pre", "run", "post"]), help="Only these stages.")
@DRY_RUN
@WAIT
@TIMEOUT
def sync(
    assets: tuple[str, ...],
    named: str | None,
    exclude: tuple[str, ...],
    stages: tuple[str, ...],
    dry_run: bool,
    waits: bool,
    timeout: float,
) -> None:
    """Sync the selected assets now, in dependency order, whatever their state."""
    payload = chosen(assets, exclude, dry_run) | ({"stages": list(stages)} if stages else {})
    run(named, "sync", payload, waits or dry_run, timeout)


@click.command()
@click.argument("asset", required=False)
@click.option("--command", "command_id", help="Cancel this command and what it started.")
@SESSION
@WAIT
@TIMEOUT
def cancel(asset: str | None, command_id: str | None, named: str | None, waits: bool, timeout: float) -> None:
    """Cancel the running sync of ASSET, or a command."""
    if (asset is None) == (command_id is None):
        raise click.UsageError("name either an ASSET or --command ID")
    payload = {"asset": asset} if asset else {"command_id": command_id}
    run(named, "cancel", payload, waits, timeout)
