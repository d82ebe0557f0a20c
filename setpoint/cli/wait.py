"""Waiting for what a command started: its end, and the assets' convergence. Bounded, and driven by the event stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from setpoint.client.api import Client
from setpoint.client.sse import follow
from setpoint.contracts.event import COMMAND_ENDS

Json = dict[str, Any]


def for_command(
    api: Client, session: str, command_id: str, timeout_s: float, show: Callable[[Json], None] = lambda event: None
) -> Json:
    """Wait until a command has ended and return its state. Raises TimeoutError; ``show`` gets each event on the way."""
    state = api.command_state(session, command_id)
    after = int(state.get("seq_before", 0))
    deadline_s = time.monotonic() + timeout_s
    if state["status"] in ("queued", "accepted"):
        for event in follow(api, session, after, deadline_s=deadline_s):
            show(event)
            if event["type"] in COMMAND_ENDS and event.get("command_id") == command_id:
                break
            if event["type"] == "session.closed":
                break
    return api.command_state(session, command_id)


def is_settled(asset: Mapping[str, Any]) -> bool:
    """Tell whether an asset is Ready with nothing running or pending."""
    pending = asset.get("pending") or {}
    return asset.get("state") == "ready" and not any(value not in (None, False, "none") for value in pending.values())


def is_stuck(asset: Mapping[str, Any]) -> bool:
    """Tell whether only a person can bring an asset on: it is suspended."""
    return asset.get("state") == "suspended"


def for_convergence(
    api: Client, session: str, after: int, timeout_s: float, show: Callable[[Json], None] = lambda event: None
) -> list[Json]:
    """Wait until every asset is Ready and settled, or one is suspended; return the assets.

    Raises TimeoutError. The assets are read again after each event that can change the answer, so a quiet session
    costs one open connection and nothing else.
    """
    deadline_s = time.monotonic() + timeout_s
    assets = list(api.pages(f"/v1/sessions/{session}/assets"))
    if not _done(assets):
        for event in follow(api, session, after, deadline_s=deadline_s):
            show(event)
            after = int(event["seq"])
            if str(event["type"]).startswith(_TELLING):
                assets = list(api.pages(f"/v1/sessions/{session}/assets"))
                if _done(assets):
                    break
    for event in api.events_page(session, after):  # what led to the answer that was just read
        show(event)
    return assets


_TELLING: Final = ("asset.", "sync.succeeded", "sync.failed", "sync.outcome", "evaluation.completed", "resources.")


def _done(assets: list[Json]) -> bool:
    if any(is_stuck(asset) for asset in assets):
        return True
    return bool(assets) and all(is_settled(asset) for asset in assets)
