"""The public paths: alive, ready, metrics, and the description of the API. Their handlers are ``setpoint.web``'s."""

from __future__ import annotations

from typing import Final

from gateway.route import Route

_TEXT: Final = "text/plain"

ROUTES: Final = (
    Route("GET", "/healthz", None, "Is the process alive", ((200, "It is.", dict),), needs_key=False),
    Route("GET", "/readyz", None, "Can it serve", ((200, "It can.", dict),), ("unavailable",), needs_key=False),
    Route("GET", "/metrics", None, "Metrics of this process", ((200, "Prometheus text.", _TEXT),), needs_key=False),
    Route("GET", "/openapi.json", None, "This document", ((200, "OpenAPI 3.1.", dict),), needs_key=False),
)
