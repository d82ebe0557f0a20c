"""``setpoint explain``: why an asset is as it is, root cause first."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from setpoint.cli import asset, context
from setpoint.cli.plain import plain


@click.command()
@click.argument("asset_name", metavar="ASSET")
@asset.SESSION
def explain(asset_name: str, named: str | None) -> None:
    """Say why ASSET is not Ready, or why nothing is happening, and what ends that."""
    name = context.session_of(named)
    with context.client() as api:
        found = api.call("GET", f"/v1/sessions/{name}/assets/{quote(asset_name, safe='')}/explanation")
    if context.settings().output == "json":
        context.emit(found)
        return
    for text in lines(found):
        click.echo(text)


def lines(found: dict[str, Any]) -> list[str]:
    """Return an explanation as lines for a person; messages hold what tenants' commands printed."""
    shown = [f"{found['name']} is {found['state'].replace('_', ' ')}"]
    if not found["reasons"]:
        shown[0] += ": nothing is due"
    for number, reason in enumerate(found["reasons"], 1):
        shown.append(f"{number}. {reason['message']}  [{reason['code']}]")
        facts = [f"since {reason['since']}"] if reason["since"] else []
        facts += [f"until: {reason['clears']}"]
        if reason["next_check"] and reason["next_check"] not in reason["clears"]:
            facts.append(f"next look at {reason['next_check']}")
        if reason["command"] and reason["command"] not in reason["clears"]:
            facts.append(f"try: {reason['command']}")
        shown.append("   " + "; ".join(facts))
    return [plain(line) for line in shown]
