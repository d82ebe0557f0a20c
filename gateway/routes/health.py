"""The public paths: alive, ready, metrics, and the description of the API. Their handlers are ``setpoint.web``'s."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.edge import Edge
from gateway.route import Route


async def _shared(edge: Edge, request: web.Request) -> web.StreamResponse:
    """Stand in the table for a handler that the application adds itself."""
    raise web.HTTPNotFound


_TEXT: Final = "text/plain"

ROUTES: Final = (
    Route("GET", "/healthz", _shared, "Is the process alive", ((200, "It is.", dict),), needs_key=False),
    Route("GET", "/readyz", _shared, "Can it serve", ((200, "It can.", dict),), ("unavailable",), needs_key=False),
    Route("GET", "/metrics", _shared, "Metrics of this process", ((200, "Prometheus text.", _TEXT),), needs_key=False),
    Route("GET", "/openapi.json", _shared, "This document", ((200, "OpenAPI 3.1.", dict),), needs_key=False),
)
