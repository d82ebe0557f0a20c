"""Frames on a stream of bytes."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celld.cell import wire
from setpoint.contracts import cell as frames
from setpoint.contracts.codec import FrameRefused, Unpacker

unpack = Unpacker(frames.ToCell)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 9))
def test_frames_survive_any_cutting_of_the_stream(numbers: list[int], cut: int) -> None:
    stream = b"".join(wire.encode(frames.Ping("s" * n, n)) for n in numbers)
    splitter = wire.Splitter()
    found = [frame for at in range(0, len(stream), cut) for frame in splitter.feed(stream[at : at + cut])]
    assert [unpack(frame) for frame in found] == [frames.Ping("s" * n, n) for n in numbers]


def test_a_length_beyond_the_bound_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(FrameRefused):
        wire.Splitter().feed(b"\xff\xff\xff\xff")


def test_a_number_beyond_msgpack_is_refused() -> None:
    with pytest.raises(FrameRefused):
        wire.encode(frames.Deliver("s", 1, 1, frames.Delivered("c", 1, 1, "tool", {"n": 10**30})))


def test_a_blocking_reader_reads_whole_frames_and_then_the_end() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(
                wire.encode(frames.Drop("a")) + wire.encode(frames.Drop("b")) + wire.encode(frames.Drop("c"))[:-1]
            )
        found = [unpack(content) for content in wire.frames(theirs)]
    assert found == [frames.Drop("a"), frames.Drop("b")], "a frame that never became whole is the end"


def test_a_blocking_reader_hands_out_what_has_come_before_it_waits_for_more() -> None:
    ours, theirs = socket.socketpair()
    with theirs, ours:
        reader = wire.frames(theirs)
        for name in ("a", "b"):
            ours.sendall(wire.encode(frames.Drop(name)))
            assert unpack(next(reader)) == frames.Drop(name)
