"""An asset's explanation from the rows of the projection, and what only the head of the session tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.shapes import Explanation, ReasonView, Session
from gateway.store.assets import Asset
from setpoint.contracts.explain import SESSION_ROW, Reason, Seen, compose, reasons_of, seen


def explanation(session: Session, asset: Asset, rows: Mapping[str, Asset], now_us: int) -> Explanation:
    """Say why ``asset`` is as it is; ``rows`` has the session's own row and what is above the asset, by name."""

    def above(name: str) -> Seen | None:
        row = rows.get(name)
        return None if row is None else seen(row.as_json())

    own = rows.get(SESSION_ROW)
    found = compose(seen(asset.as_json()), above, [*_of_head(session), *(reasons_of(own.doc) if own else ())], now_us)
    reasons = [_view(reason) for reason in (*found, *_sleep(session))]
    return Explanation(
        asset.name, asset.doc.get("state", ""), asset.doc.get("known", "not_evaluated"), asset.seq, reasons
    )


def _of_head(session: Session) -> list[Reason]:
    """Return what no cell can write down: that there is none."""
    if session.state == "open" and session.owner_host is None:
        said = "no cell host has the session"
        return [Reason("WaitingForHost", said, "", "a cell host takes it", command="setpoint host ls")]
    return []


def _sleep(session: Session) -> list[Reason]:
    """Return, after what the assets say, that nothing is done now because nothing is due."""
    if session.state != "sleeping":
        return []
    said = "nothing is due: the session sleeps and has no process"
    return [Reason("Sleeping", said, "", "a command comes, or the next check is due")]


def _view(reason: Reason) -> ReasonView:
    return ReasonView(
        reason.code, reason.message, reason.object, reason.clears, reason.since, reason.next_check, reason.command
    )
