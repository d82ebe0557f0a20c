"""``setpoint history`` and ``setpoint inspect``: what was done about an asset, and what it changed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from setpoint.cli import asset, context, table

_HISTORY = (
    ("STARTED", "started_at"),
    ("WHAT", "what"),
    ("STATUS", "status"),
    ("VERDICT", "verdict"),
    ("WHY", "shown"),
    ("EXECUTION", "execution_id"),
)
_CONDITIONS = (("  CONDITION", "shown"), ("BEFORE", "before"), ("AFTER", "after"), ("WHY", "reason"))
_LIMIT = click.option(
    "--limit", "-n", default=20, show_default=True, type=click.IntRange(1, 500), help="At most so many."
)


@click.command()
@click.argument("asset_name", metavar="ASSET")
@asset.SESSION
@_LIMIT
def history(asset_name: str, named: str | None, limit: int) -> None:
    """List the syncs and evaluations of ASSET, newest first. A sync's verification is part of it."""
    entries = _read(asset_name, named, limit, "all")
    found = [{**entry, "what": f"{entry['kind']} ({entry['why']})"} for entry in entries]
    if context.settings().output != "json":
        found = [{**entry, "shown": explained(entry)} for entry in found]
    context.emit(found, _HISTORY)


@click.command()
@click.argument("asset_name", metavar="ASSET")
@asset.SESSION
@_LIMIT
@click.option("--changed-only", is_flag=True, help="Only conditions that hold, or fail to, since the sync.")
def inspect(asset_name: str, named: str | None, limit: int, changed_only: bool) -> None:
    """Show each condition of ASSET before and after each of its syncs, newest first."""
    entries = [compared(entry, changed_only) for entry in _read(asset_name, named, limit, "sync")]
    if context.settings().output == "json":
        context.emit(entries)
        return
    if not entries:
        context.note(f"{asset_name} has not been synced")
    for entry in entries:
        click.echo(f"{entry['why']} sync {entry['status']}  {entry['started_at']}  {entry['execution_id']}")
        if entry["conditions"]:
            table.write([{**one, "shown": f"  {one['name']}"} for one in entry["conditions"]], _CONDITIONS)


def explained(entry: dict[str, Any]) -> str:
    """Return why an entry ended as it did; what had no answer, or does not hold, is named with what it said."""
    reason = str(entry.get("reason", ""))
    wanted = "unknown" if reason == "unknown" else "drifted" if entry.get("verdict") == "drifted" else None
    said = (one for one in entry.get("conditions", []) if wanted and one.get("after") == wanted and one.get("reason"))
    first = next(said, None)
    if first is None:
        return reason
    return f"{reason}: {first['name']}: {first['reason']}" if reason else f"{first['name']}: {first['reason']}"


def compared(entry: dict[str, Any], changed_only: bool) -> dict[str, Any]:
    """Return a sync with its conditions, or those alone that changed."""
    conditions = [
        one for one in entry.get("conditions", []) if not changed_only or one.get("before") != one.get("after")
    ]
    return {**entry, "conditions": conditions}


def _read(asset_name: str, named: str | None, limit: int, kind: str) -> list[dict[str, Any]]:
    name, asked = context.session_of(named), quote(asset_name, safe="")
    with context.client() as api:
        api.call("GET", f"/v1/sessions/{name}/assets/{asked}")  # so that a wrong name is said to be wrong
        found = api.call("GET", f"/v1/sessions/{name}/assets/{asked}/history", limit=limit, kind=kind)
    return list(found["items"])
