"""Events as a stream: one block each, on lines that a client can parse, joined into one write."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from setpoint.contracts.event import Event

DATA = st.dictionaries(st.text(max_size=8), st.text(max_size=40) | st.integers(-9, 9), max_size=4)


@given(st.lists(DATA, max_size=5))
def test_blocks_are_read_back_whatever_the_data(data: list[dict[str, object]]) -> None:
    events = [Event(n, "asset.ready", n, "s", (1, 2), {"d": repr(item)}) for n, item in enumerate(data, start=1)]
    content = sse.block(events)
    blocks = content.decode().split("\n\n")
    assert blocks.pop() == ""
    assert len(blocks) == len(events)
    for block, event in zip(blocks, events, strict=True):
        identifier, kind, text = block.split("\n")
        assert (identifier, kind) == (f"id: {event.seq}", "event: asset.ready")
        assert json.loads(text.removeprefix("data: ")) == event.as_json()


def test_a_line_break_in_the_data_is_no_line_break_of_the_stream() -> None:
    event = Event(7, "asset.ready", 0, "s", (1, 2), {"x": "a\nb\r\nc\u2028d"})
    assert sse.block([event]).count(b"\n") == 4


def test_a_reset_has_no_id() -> None:
    assert b"id:" not in sse.reset(5)
    assert sse.reset(5).startswith(b'event: reset\ndata: {"after":0,"head_seq":5,')


def test_a_heartbeat_is_a_comment() -> None:
    assert sse.HEARTBEAT.startswith(b":")
