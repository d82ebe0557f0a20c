"""The HTTP pieces every daemon shares: problem documents, health, metrics, loop lag, and the server side of links.

gateway, broker, celld and sandboxd build their aiohttp applications from these; no route of a product lives here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import prometheus_client
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from setpoint import failpoints, lag, runtime
from setpoint.contracts import codec, limits
from setpoint.contracts.grant import HostClaims, Proof, TokenRefused
from setpoint.contracts.problem import CLIENT_GONE, Problem

LOOP_LAG: Final = prometheus_client.Gauge(
    "setpoint_loop_lag_seconds", "How late the event loop woke up by its own doing, the worst of the last ten seconds"
)
REQUEST_ID: Final = web.RequestKey("request_id", str)
_HEARTBEAT_S: Final = 15.0  # finds a peer whose machine is gone; a dead process closes its socket by itself


def problem_response(problem: Problem, request_id: str = "", status: int | None = None) -> web.Response:
    """Render a Problem as ``application/problem+json``; ``status`` is a finer HTTP status than that of its code."""
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s is not None else {}
    document = problem.document(request_id) | ({} if status is None else {"status": status})
    return web.Response(
        status=status or problem.kind.status,
        body=codec.canonical_json(document),
        content_type="application/problem+json",
        headers=headers,
    )


_STATUS_CODES: Final = {400: "invalid-request", 404: "not-found", 405: "invalid-request", 413: "payload-too-large"}


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every error of a route into a problem document; what nobody expected is ``internal`` and logged."""
    request_id = runtime.new_id()
    request[REQUEST_ID] = request_id
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(problem, request_id)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = _STATUS_CODES.get(error.status, "invalid-request")
        refused = Problem(code, error.reason or "the request was refused")
        response = problem_response(refused, request_id, error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except asyncio.CancelledError:
        raise
    except ConnectionResetError:  # whoever asked is gone: nobody reads this answer, and nothing went wrong here
        return web.Response(status=CLIENT_GONE)
    except Exception:  # an entry point: the caller gets a clean 500, the log gets the rest
        runtime.log().exception("request failed", request_id=request_id, method=request.method, path=request.path)
        return problem_response(Problem("internal", "Setpoint made a mistake; the log has it"), request_id)


def add_health(
    app: web.Application, facts: Callable[[], Mapping[str, object]], ready: Callable[[], Awaitable[list[str]]]
) -> None:
    """Add ``/healthz`` (alive: ``facts``), ``/readyz`` (503 with what ``ready`` says is missing) and ``/metrics``."""

    async def healthz(request: web.Request) -> web.Response:
        body = {"status": "ok"} | dict(facts())
        if failpoints.FAILPOINTS.armed:
            body["failpoints"] = sorted(failpoints.FAILPOINTS.armed)
        return web.json_response(body)

    async def readyz(request: web.Request) -> web.Response:
        missing = await ready()
        if missing:
            raise Problem("unavailable", "not ready: " + "; ".join(missing), retry_after_s=1)
        return web.json_response({"status": "ready"})

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=prometheus_client.generate_latest(), content_type="text/plain", charset="utf-8")

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.cleanup_ctx.append(_watch_loop_lag)


async def _watch_loop_lag(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(lag.measure(LOOP_LAG.set))
    yield
    task.cancel()


async def serve_app(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start an application; returns its runner (call ``cleanup``) and the port it really listens on.

    A connection that has not sent a whole request head in ``limits.HTTP_IDLE_S_MAX`` is closed, however it dribbles.
    """
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=limits.HTTP_IDLE_S_MAX
    )
    await runner.setup()
    _ignore_odd_expectations(runner)
    site = web.TCPSite(runner, host, port, backlog=512)
    await site.start()
    return runner, int(runner.addresses[0][1])


def _ignore_odd_expectations(runner: web.AppRunner) -> None:
    """Drop ``Expect`` headers that ask for anything but 100-continue before anybody looks at them.

    aiohttp refuses them ahead of every middleware and repeats their bytes: what is no UTF-8 became a 500.
    """
    server = runner.server
    assert server is not None
    make = server.request_factory

    def make_request(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
        if message.headers.get("Expect", "100-continue").lower() != "100-continue":
            kept = CIMultiDict(message.headers)
            del kept["Expect"]
            message = message._replace(headers=CIMultiDictProxy(kept))
        return make(message, *rest)

    server.request_factory = make_request


class Peer:
    """The other end of an accepted link. ``send`` never blocks: a peer that does not read is cut off."""

    def __init__(self, socket: web.WebSocketResponse, claims: HostClaims | None, proof: Proof | None) -> None:
        self._socket, self.claims, self.proof = socket, claims, proof
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue(limits.LINK_PENDING_MAX)
        self._cut = False
        self.closed = False

    def send(self, frame: object) -> bool:
        """Queue a frame; returns False when the peer is gone or does not keep up (it is then closed)."""
        if self.closed:
            return False
        if self._outbox.full():
            self.closed = self._cut = True
            return False
        self._outbox.put_nowait(codec.pack(frame))
        return True

    def close(self) -> None:
        """Close the link from this side, after what is queued was sent. Idempotent."""
        self.closed = True
        if self._outbox.full():
            self._cut = True
        else:
            self._outbox.put_nowait(None)

    async def _write(self) -> None:
        while not self._cut and (content := await self._outbox.get()) is not None:
            await self._socket.send_bytes(content)
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"closed by the server")


async def serve_link(
    request: web.Request,
    *,
    frames: Any,
    on_frame: Callable[[Peer, Any], Awaitable[None]],
    check: Callable[[Mapping[str, str]], tuple[HostClaims, Proof]] | None,
    on_open: Callable[[Peer], None] = lambda peer: None,
    on_close: Callable[[Peer], None] = lambda peer: None,
    heartbeat_s: float = _HEARTBEAT_S,
) -> web.StreamResponse:
    """Accept a link and hand each frame of the union ``frames`` to ``on_frame``, in order.

    ``check`` verifies the handshake headers (401 when they do not hold); None accepts anybody and leaves it to the
    first frame. ``on_frame`` is awaited before the next frame is read: start a task for anything long.
    A peer that answers no ping for one and a half ``heartbeat_s`` is cut off.
    """
    claims: HostClaims | None = None
    proof: Proof | None = None
    if check is not None:
        try:
            claims, proof = check(request.headers)
        except TokenRefused as error:
            raise Problem("unauthenticated", str(error)) from error
    socket = web.WebSocketResponse(compress=False, max_msg_size=limits.LINK_FRAME_BYTES_MAX, heartbeat=heartbeat_s)
    await socket.prepare(request)
    peer = Peer(socket, claims, proof)
    unpack = codec.Unpacker(frames)
    writer = asyncio.create_task(peer._write())
    on_open(peer)
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY or peer.closed:
                continue
            try:
                frame = unpack(message.data)
            except codec.FrameRefused as error:
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:100])
                break
            await on_frame(peer, frame)
    finally:
        peer.closed = True
        writer.cancel()
        on_close(peer)
        # Awaited, so that what the writer met on a socket that broke under it is seen here and not by the collector.
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writer
    return socket
