"""What a route is: where it is, what it does, what it may answer. The router and the OpenAPI document need it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.edge import Edge

Handler = Callable[[Edge, web.Request], Awaitable[web.StreamResponse]]

EVERYWHERE: Final = ("unauthenticated", "invalid-request", "unavailable", "internal")
"""Problems that any route behind a key may answer."""

BODY: Final = ("unsupported-media-type", "payload-too-large", "unknown-field", "validation-failed")
"""Problems of any route that takes a JSON body."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    ``answers`` maps a status to (what it means, shape or media type): a shape is a type of ``shapes``, ``page of`` it,
    or a media type. ``problems`` are those beyond EVERYWHERE. ``needs_key`` is False for the public paths alone;
    those have no handler here, because the application shares theirs with every other daemon.
    """

    method: str
    path: str
    handler: Handler | None
    summary: str
    answers: tuple[tuple[int, str, object], ...]
    problems: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: Any = None
    needs_key: bool = True
    alias: bool = False


@dataclass(frozen=True, slots=True)
class PageOf:
    """A page whose items have this shape (None: any object)."""

    shape: Any = None
