"""``setpoint suspend | resume | halt | unhalt | recover``: what is stopped and goes on again."""

from __future__ import annotations

from typing import Any

import click

from setpoint.cli import asset

_ASSETS = click.argument("assets", nargs=-1, required=True, metavar="SELECTOR...")
_REASON = click.option("--reason", "-m", default="", help="Why; shown by status, explain and events.")


@click.command()
@_ASSETS
@asset.SESSION
@asset.EXCLUDE
@_REASON
@asset.WAIT
@asset.TIMEOUT
def suspend(
    assets: tuple[str, ...], named: str | None, exclude: tuple[str, ...], reason: str, waits: bool, timeout: float
) -> None:
    """Stop automatic syncs of the selected assets until `resume`; they are evaluated as before."""
    asset.run(named, "suspend", asset.chosen(assets, exclude) | _because(reason), waits, timeout)


@click.command()
@_ASSETS
@asset.SESSION
@asset.EXCLUDE
@asset.WAIT
@asset.TIMEOUT
def resume(assets: tuple[str, ...], named: str | None, exclude: tuple[str, ...], waits: bool, timeout: float) -> None:
    """Lift the suspension of the selected assets and forget their failures; what is owed then goes on."""
    asset.run(named, "resume", asset.chosen(assets, exclude), waits, timeout)


@click.command()
@asset.SESSION
@_REASON
@asset.WAIT
@asset.TIMEOUT
def halt(named: str | None, reason: str, waits: bool, timeout: float) -> None:
    """Stop automatic syncs of the whole session until `unhalt`; assets are evaluated as before."""
    asset.run(named, "halt", _because(reason), waits, timeout)


@click.command()
@asset.SESSION
@asset.WAIT
@asset.TIMEOUT
def unhalt(named: str | None, waits: bool, timeout: float) -> None:
    """Lift the halt: what it alone kept from syncing is looked at first."""
    asset.run(named, "unhalt", {}, waits, timeout)


@click.command()
@asset.SESSION
@click.option("--reason", "-m", required=True, help="What was mended; kept in the log and in the audit log.")
@asset.WAIT
@asset.TIMEOUT
def recover(named: str | None, reason: str, waits: bool, timeout: float) -> None:
    """Take a failed session up again, once the cause that its `session.failed` names is mended.

    Its log is folded anew; what was queued is done then. It fails again when the cause is still there.
    """
    asset.run(named, "recover", {"reason": reason}, waits, timeout)


def _because(reason: str) -> dict[str, Any]:
    return {"reason": reason} if reason else {}
