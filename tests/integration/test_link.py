"""Both ends of a daemon link on real sockets: order, answers, loss, reconnection, bounds, and who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts import codec, grant, hint, limits
from setpoint.contracts.grant import HostClaims, Proof, TokenRefused
from setpoint.contracts.reply import Refused
from setpoint.identity import Identity
from setpoint.link import LinkClient, LinkDown
from setpoint.web import Peer, problems, serve_app, serve_link

BOUND_S = 15.0
CLAIMS = HostClaims("c1", "cell", "key", 0)
T = TypeVar("T")
OnFrame = Callable[[Peer, Any], Awaitable[None]]


class Late(logging.Handler):
    """Keeps what aiohttp has to say of requests that failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@dataclass
class Server:
    """A link server whose every event is kept and can be waited for."""

    on_frame: OnFrame
    frames: Any = hint.ToBroker
    is_open_to_all: bool = True
    heartbeat_s: float = 30.0
    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    got: list[Any] = field(default_factory=list)
    closed: list[Peer] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        app = web.Application(middlewares=[problems])
        app.router.add_get("/link", self._serve)
        app.router.add_get("/ws", self._serve)
        self._runner, self.port = await serve_app(app, "127.0.0.1", self.port)

    async def stop(self) -> None:
        for peer in self.peers:
            peer.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND_S), self.changed:
            await self.changed.wait_for(holds)

    def check(self, headers: Mapping[str, str]) -> tuple[HostClaims, Proof]:
        if headers.get("Authorization") != "Bearer good":
            raise TokenRefused("not good")
        return CLAIMS, Proof("c1", "i1")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await serve_link(
            request,
            frames=self.frames,
            on_frame=self._frame,
            check=None if self.is_open_to_all else self.check,
            on_open=lambda peer: self._note(self.peers, peer),
            on_close=lambda peer: self._note(self.closed, peer),
            heartbeat_s=self.heartbeat_s,
        )

    async def _frame(self, peer: Peer, frame: Any) -> None:
        self._note(self.got, frame)
        await self.on_frame(peer, frame)

    def _note(self, events: list[Any], what: object) -> None:
        events.append(what)
        task = asyncio.create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def silent(peer: Peer, frame: Any) -> None:
    """Answer nothing."""


async def answering(peer: Peer, frame: Any) -> None:
    """Answer a Place with its own session as the host."""
    if isinstance(frame, hint.Place):
        peer.send(hint.Placed(frame.id, frame.session, "a", "i"))


@contextlib.asynccontextmanager
async def serving(on_frame: OnFrame = answering, **more: Any) -> AsyncIterator[Server]:
    server = Server(on_frame, **more)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class Client:
    """A LinkClient with what it was told."""

    link: LinkClient
    up: asyncio.Event
    down: asyncio.Event
    pushed: asyncio.Queue[Any]

    async def ask(self, session: str, timeout_s: float = BOUND_S) -> Any:
        return await self.link.request(hint.Place(self.link.next_id(), "cell", session), timeout_s)


@contextlib.asynccontextmanager
async def client_of(server: Server, **headers: str) -> AsyncIterator[Client]:
    up, down, pushed = asyncio.Event(), asyncio.Event(), asyncio.Queue[Any]()

    def went_down() -> None:
        up.clear()
        down.set()

    link = LinkClient(
        url=lambda: f"ws://127.0.0.1:{server.port}/link",
        headers=lambda: headers,
        replies=hint.FromBroker,
        on_push=pushed.put_nowait,
        on_up=up.set,
        on_down=went_down,
        name="test",
    )
    task = asyncio.create_task(link.run())
    try:
        yield Client(link, up, down, pushed)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def socket_to(server: Server) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{server.port}/link", compression=None, proxy=None, close_timeout=1) as socket:
        yield socket


async def within(what: Awaitable[T]) -> T:
    async with asyncio.timeout(BOUND_S):
        return await what


async def received(socket: ClientConnection) -> bytes:
    """Return the next frame. Raises ConnectionClosed."""
    async with asyncio.timeout(BOUND_S):
        return await socket.recv(decode=False)


async def until_closed(socket: ClientConnection) -> list[bytes]:
    """Return all frames up to the end of the link."""
    frames: list[bytes] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames.append(await received(socket))
    return frames


async def test_many_questions_at_once_each_get_their_own_answer() -> None:
    async with serving() as server, client_of(server) as client:
        await within(client.up.wait())
        answers = await asyncio.gather(*(client.ask(f"s{n}") for n in range(200)))
        assert [answer.host for answer in answers] == [f"s{n}" for n in range(200)]
        assert [frame.session for frame in server.got] == [f"s{n}" for n in range(200)], "frames arrive in order"


async def test_answers_may_come_in_any_order() -> None:
    asked: list[hint.Place] = []

    async def backwards(peer: Peer, frame: Any) -> None:
        asked.append(frame)
        if len(asked) == 5:
            for question in reversed(asked):
                peer.send(hint.Placed(question.id, question.session, "a", "i"))

    async with serving(backwards) as server, client_of(server) as client:
        await within(client.up.wait())
        answers = await asyncio.gather(*(client.ask(f"s{n}") for n in range(5)))
        assert [answer.host for answer in answers] == [f"s{n}" for n in range(5)]


async def test_a_frame_that_answers_nothing_is_a_push_and_a_late_answer_too() -> None:
    async with serving(silent) as server, client_of(server) as client:
        await within(client.up.wait())
        with pytest.raises(TimeoutError):
            await client.ask("s", timeout_s=0.05)
        await server.until(lambda: len(server.got) == 1)
        late = hint.Placed(server.got[0].id, "late", "a", "i")
        assert server.peers[0].send(late)
        assert await within(client.pushed.get()) == late
        assert server.peers[0].send(hint.Welcome(0, "t", {}))
        assert await within(client.pushed.get()) == hint.Welcome(0, "t", {})


async def test_without_a_connection_a_question_fails_at_once_and_a_frame_is_dropped() -> None:
    link = LinkClient(url=lambda: "ws://127.0.0.1:9/link", headers=dict, replies=hint.FromBroker)
    assert not link.connected
    assert not link.send(hint.Beat())
    with pytest.raises(LinkDown):
        await link.request(hint.Place(link.next_id(), "cell", "s"), 1)


async def test_a_lost_link_fails_what_waits_and_comes_back_by_itself() -> None:
    server = Server(silent)
    await server.start()
    async with client_of(server) as client:
        await within(client.up.wait())
        waiting = asyncio.ensure_future(client.ask("s"))
        await server.until(lambda: len(server.got) == 1)
        await server.stop()
        with pytest.raises(LinkDown):
            await waiting
        await within(client.down.wait())
        assert not client.link.connected
        server.on_frame = answering
        await server.start()
        try:
            await within(client.up.wait())
            assert (await client.ask("again")).host == "again"
        finally:
            await server.stop()


async def test_a_link_that_is_cancelled_while_it_goes_down_ends() -> None:
    server = Server(silent)
    await server.start()
    up = asyncio.Event()
    link = LinkClient(
        url=lambda: f"ws://127.0.0.1:{server.port}/link",
        headers=lambda: {"Authorization": "Bearer good"},
        replies=hint.FromBroker,
        on_up=up.set,
    )
    task = asyncio.create_task(link.run())
    await within(up.wait())
    stopping = asyncio.create_task(server.stop())
    while link.connected:
        await asyncio.sleep(0)
    task.cancel()  # at the very moment at which it waits for its writer
    await within(asyncio.wait({task}))
    assert task.cancelled()
    await stopping


async def test_the_handshake_is_checked_and_a_refusal_is_a_problem() -> None:
    async with serving(is_open_to_all=False) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with socket_to(server):
                pass
        assert refused.value.response.status_code == 401
        assert b'"code":"unauthenticated"' in (refused.value.response.body or b"")
        assert server.peers == []
        async with client_of(server, Authorization="Bearer good") as client:
            await within(client.up.wait())
            assert client.link.refused_status is None
            assert server.peers[0].claims == CLAIMS
            assert server.peers[0].proof == Proof("c1", "i1")


async def test_a_refused_client_knows_why_and_tries_again_with_new_headers() -> None:
    headers = {"Authorization": "Bearer bad"}
    tried = asyncio.Event()

    def shown() -> dict[str, str]:
        if link.refused_status == 401:
            headers["Authorization"] = "Bearer good"
            tried.set()
        return headers

    async with serving(is_open_to_all=False) as server:
        up = asyncio.Event()
        link = LinkClient(
            url=lambda: f"ws://127.0.0.1:{server.port}/link", headers=shown, replies=hint.FromBroker, on_up=up.set
        )
        task = asyncio.create_task(link.run())
        await within(up.wait())
        assert tried.is_set()
        assert link.refused_status is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"\x00" * 50, codec.pack({"type": "nothing"}), codec.pack(hint.Poke("t", "s")), codec.pack([1, 2])],
    ids=range(6),
)
async def test_what_is_no_frame_ends_the_link(content: bytes) -> None:
    async with serving() as server, socket_to(server) as socket:
        await socket.send(content)
        with pytest.raises(ConnectionClosed) as ended:
            await received(socket)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1008
        assert server.got == []
        await server.until(lambda: len(server.closed) == 1)


async def test_a_frame_larger_than_allowed_ends_the_link() -> None:
    async with serving() as server, socket_to(server) as socket:
        with pytest.raises(ConnectionClosed, match="1009"):
            await asyncio.gather(socket.send(b"x" * (limits.LINK_FRAME_BYTES_MAX + 1)), received(socket))
        assert server.got == []


async def test_text_messages_are_ignored() -> None:
    async with serving() as server, socket_to(server) as socket:
        await socket.send("hello")
        await socket.send(codec.pack(hint.Place(1, "cell", "s")))
        assert codec.Unpacker(hint.FromBroker)(await received(socket)) == hint.Placed(1, "s", "a", "i")
        assert len(server.got) == 1


async def test_closing_a_peer_sends_what_is_queued_first_and_hears_nothing_more() -> None:
    async def farewell(peer: Peer, frame: Any) -> None:
        for n in range(50):
            assert peer.send(hint.Placed(n, "h", "a", "i"))
        peer.close()
        peer.close()
        assert not peer.send(hint.Placed(99, "h", "a", "i"))

    async with serving(farewell) as server, socket_to(server) as socket:
        await socket.send(codec.pack(hint.Beat()))
        unpack = codec.Unpacker(hint.FromBroker)
        assert [unpack(content).id for content in await until_closed(socket)] == list(range(50))
        await server.until(lambda: len(server.closed) == 1)
        assert len(server.got) == 1


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async with serving(silent, heartbeat_s=0.5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b"101" in await within(reader.readline())
        await server.until(lambda: len(server.peers) == 1)
        peer, large = server.peers[0], hint.Placed(1, "h" * 100_000, "a", "i")
        sent = 0
        async with asyncio.timeout(BOUND_S):
            while peer.send(large):
                sent += 1
                await asyncio.sleep(0)
        assert limits.LINK_PENDING_MAX <= sent < 10 * limits.LINK_PENDING_MAX
        assert peer.closed
        await server.until(lambda: len(server.closed) == 1)  # its heart does not beat either
        writer.close()


async def test_a_peer_that_goes_away_in_the_middle_is_noticed() -> None:
    async with serving(silent) as server:
        socket = await connect(f"ws://127.0.0.1:{server.port}/link", compression=None, proxy=None)
        await server.until(lambda: len(server.peers) == 1)
        socket.transport.abort()
        await server.until(lambda: server.closed == server.peers)
        assert not server.peers[0].send(hint.Welcome(0, "t", {}))


class Admission:
    """A broker reduced to its answers: refuses as often as told, then admits; closes a link that begins otherwise."""

    def __init__(self, identity: Identity, refusals: int = 0) -> None:
        self.identity, self.refusals = identity, refusals
        self.joins: list[hint.Join] = []
        self.firsts: list[str] = []
        self._known: set[Peer] = set()

    def has_seen(self, joins: int) -> bool:
        return len(self.joins) == joins

    async def __call__(self, peer: Peer, frame: Any) -> None:
        if peer not in self._known:
            self._known.add(peer)
            self.firsts.append(type(frame).__name__)
        if not isinstance(frame, hint.Join):
            return
        self.joins.append(frame)
        if self.refusals:
            self.refusals -= 1
            peer.send(Refused(frame.id, "unauthenticated", "unknown"))
            peer.close()
            return
        peer.send(hint.Welcome(frame.id, "token", {"b1": "key"}))


@contextlib.asynccontextmanager
async def joining(tmp_path: Path, refusals: int = 0) -> AsyncIterator[tuple[Server, Admission, BrokerLink]]:
    identity = Identity(tmp_path, "c1", "cell")
    admission = Admission(identity, refusals)
    async with serving(admission) as server:
        link = BrokerLink(identity, [f"127.0.0.1:{server.port}"], join_token="join", address="127.0.0.1:9")
        task = asyncio.create_task(link.run())
        try:
            yield server, admission, link
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_host_joins_first_on_each_connection(tmp_path: Path) -> None:
    async with joining(tmp_path) as (server, admission, _):
        for n in range(1, 4):
            await server.until(functools.partial(admission.has_seen, n))
            server.peers[-1].close()
        assert admission.firsts == ["Join"] * 3
        assert all(join.join_token == "join" for join in admission.joins), "the token it got verifies with no key"


async def test_a_host_keeps_what_is_pushed_to_it(tmp_path: Path) -> None:
    async with joining(tmp_path) as (server, admission, link):
        await server.until(lambda: len(admission.joins) == 1)
        server.peers[-1].send(hint.Welcome(0, "newer", {"b1": "key", "b2": "other"}))
        # An answer that comes after the push: what was pushed has been taken in by then.
        server.on_frame = answering
        placed = await within(link.place("cell", "s", timeout_s=BOUND_S))
        assert placed == hint.Placed(placed.id if placed else 0, "s", "a", "i")
        again = Identity(tmp_path, "c1", "cell")
        assert (again.host_token, set(again.keys)) == ("newer", {"b1", "b2"})


async def test_a_host_that_no_broker_knows_shows_its_join_token(tmp_path: Path) -> None:
    broker = Ed25519PrivateKey.generate()
    identity = Identity(tmp_path, "c1", "cell")
    token = grant.sign_host_token(
        broker, "b0", host="c1", role="cell", host_key=identity.public_key, now_s=runtime.now_s()
    )
    identity.learn(host_token=token, keys={"b0": grant.public_text(broker)})
    async with joining(tmp_path, refusals=1) as (server, admission, link):
        assert link.admitted.is_set(), "what is on disk is enough to work with"
        await server.until(lambda: len(admission.joins) == 2)
        assert [join.join_token for join in admission.joins] == ["", "join"]


async def test_a_peer_that_leaves_before_its_link_is_accepted_is_no_error() -> None:
    over = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        async with asyncio.timeout(BOUND_S):
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0)
        try:
            return await serve_link(request, frames=hint.ToBroker, on_frame=_nothing, check=None)
        finally:
            over.set()

    async def _nothing(peer: Peer, frame: object) -> None:
        raise AssertionError("nobody is there")

    app = web.Application(middlewares=[problems])
    app.router.add_get("/link", late)
    heard = Late()
    logging.getLogger("aiohttp.server").addHandler(heard)
    runner, port = await serve_app(app, "127.0.0.1", 0)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await writer.drain()
        writer.close()
        async with asyncio.timeout(BOUND_S):
            await over.wait()
    finally:
        await runner.cleanup()
        logging.getLogger("aiohttp.server").removeHandler(heard)
    assert heard.said == []
