"""What every request passes before its route: identity, the key, and bounds that no route may forget.

``app`` puts the count outermost, so that it sees every answer as it is sent, then the making of problem documents, then
the gate. This knows routes only by whether they are public.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.auth import Authenticator
from gateway.edge import PRINCIPAL
from setpoint.contracts.problem import Problem
from setpoint.web import REQUEST_ID

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PUBLIC: Final = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
"""Paths that need no key; everything else does."""

_KEYS_IN_QUERY: Final = frozenset({"api_key", "apikey", "access_token", "token", "key", "authorization"})
_REQUESTS: Final = prometheus_client.Counter(
    "setpoint_gateway_requests", "Requests by route and status", ["route", "method", "status"]
)


def gate(authenticator: Authenticator) -> Middleware:
    """Return the middleware that lets a request in. Raises Problem unauthenticated, unsupported-media-type."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in PUBLIC:
            return await handler(request)
        if _KEYS_IN_QUERY & {name.lower() for name in request.query}:
            raise Problem("unauthenticated", "a key in a URL ends up in logs: send it in the Authorization header")
        request[PRINCIPAL] = await authenticator.check(request.headers)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem("unsupported-media-type", "compressed bodies are not taken")
        return await handler(request)

    return middleware


@web.middleware
async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count requests by the pattern of their route, never by their path: the labels stay few."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    response = await handler(request)
    _REQUESTS.labels(route, request.method, str(response.status)).inc()
    return response


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put on every answer what a client and a cache must know. Called when a response is about to be sent."""
    response.headers["Setpoint-Request-Id"] = request.get(REQUEST_ID, "")
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
