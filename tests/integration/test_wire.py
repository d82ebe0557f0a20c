"""The wire of the chaos runs: it holds, loses and delivers late, one direction at a time, and never changes a byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.wire import Wire, Wires

_BOUND_S = 10.0


class Echo:
    """A server that notes what it is sent and sends it back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.heard = b""
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    def _echo(self, peer: socket.socket) -> None:
        with peer:
            while content := _received(peer):
                with self._changed:
                    self.heard += content
                    self._changed.notify_all()
                try:
                    peer.sendall(content)
                except OSError:
                    return

    def hears(self, content: bytes) -> bool:
        """Wait until all of this has come, and nothing else."""
        with self._changed:
            return self._changed.wait_for(lambda: self.heard == content, _BOUND_S)

    def close(self) -> None:
        self._listener.close()


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(1024)
    except OSError:
        return b""


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def wire(echo: Echo) -> Iterator[Wire]:
    wires = Wires()
    yield wires.add("one", lambda: echo.port)
    wires.close()


def client(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=_BOUND_S)


def test_what_is_held_comes_late_and_whole(echo: Echo, wire: Wire) -> None:
    with client(wire) as peer:
        peer.sendall(b"one ")
        assert peer.recv(1024) == b"one "
        wire.hold()
        peer.sendall(b"two")
        until(lambda: wire.held_bytes() == 3)
        assert (echo.heard, wire.held) == (b"one ", True)
        wire.release()
        assert peer.recv(1024) == b"two"


def test_what_a_dead_sender_had_sent_is_delivered_and_a_living_one_waits(echo: Echo, wire: Wire) -> None:
    wire.hold()
    with client(wire) as living:
        living.sendall(b"living")
        with client(wire) as dead:
            dead.sendall(b"dead")
        until(lambda: wire.held_bytes() == 10)
        until(lambda: delivered(wire, echo, b"dead"))
        assert wire.held_bytes() == 6


def test_answers_are_lost_and_what_was_asked_is_done(echo: Echo, wire: Wire) -> None:
    with client(wire) as peer:
        wire.hold("answered")
        peer.sendall(b"asked")
        assert echo.hears(b"asked")
        wire.cut()
        wire.release()
        assert _received(peer) == b""


def test_a_wire_to_nowhere_refuses(wire: Wire, echo: Echo) -> None:
    echo.close()
    with client(wire) as peer:
        assert _received(peer) == b""


def delivered(wire: Wire, echo: Echo, content: bytes) -> bool:
    wire.deliver()
    return echo.heard == content


def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, with a bound."""
    pause = threading.Event()
    for _ in range(1000):
        if holds():
            return
        pause.wait(_BOUND_S / 1000)
    raise AssertionError("waited in vain")
