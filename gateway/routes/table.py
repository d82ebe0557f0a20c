"""All routes of the public API. The router and the OpenAPI document are made of this one table."""

from __future__ import annotations

from typing import Final

from gateway.route import Route
from gateway.routes import assets, blobs, commands, events, executions, fencing, health, locks, sessions

ROUTES: Final[tuple[Route, ...]] = (
    *sessions.ROUTES,
    *commands.ROUTES,
    *events.ROUTES,
    *assets.ROUTES,
    *executions.ROUTES,
    *fencing.ROUTES,
    *locks.ROUTES,
    *blobs.ROUTES,
    *health.ROUTES,
)
