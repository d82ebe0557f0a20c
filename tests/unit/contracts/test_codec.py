"""Encodings: equal values give equal bytes, frames come back as they went, and nothing unstorable gets through."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts import codec, hint, run

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=20))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert codec.canonical_json(value) == codec.canonical_json(turned)
    assert msgspec.json.decode(codec.canonical_json(value)) == value


def test_canonical_json_is_pinned() -> None:
    assert codec.canonical_json({"b": [1, None, "ü"], "a": {"d": True, "c": 1.5}}) == (
        '{"a":{"c":1.5,"d":true},"b":[1,null,"ü"]}'.encode()
    )
    assert codec.sha256_hex(b"x") == hashlib.sha256(b"x").hexdigest()


@given(
    st.one_of(
        st.builds(hint.Poke, st.text(max_size=40), st.text(max_size=40)),
        st.builds(
            hint.ReadSessionOutput,
            *(st.integers(0, 2**31), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)),
            *(st.integers(0, 99), st.sampled_from(["stdout", "stderr"]), st.integers(0, 2**40), st.integers(0, 2**20)),
        ),
    )
)
def test_a_frame_comes_back_as_it_went(frame: object) -> None:
    assert codec.Unpacker(hint.ToCelld)(codec.pack(frame)) == frame


def test_an_unknown_field_is_ignored_so_that_an_older_side_understands() -> None:
    newer = msgspec.msgpack.encode({"type": "beat", "capacity": {"slots": 1}, "from_the_future": [1, 2]})
    assert codec.Unpacker(hint.ToBroker)(newer) == hint.Beat({"slots": 1})


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused_and_nothing_else(content: bytes) -> None:
    for union in (hint.ToBroker, hint.FromBroker, hint.ToCelld, hint.FromCelld, run.Request, run.Reply):
        try:
            codec.Unpacker(union)(content)
        except codec.FrameRefused:
            continue


def test_a_frame_of_another_link_is_refused() -> None:
    with pytest.raises(codec.FrameRefused):
        codec.Unpacker(hint.ToBroker)(codec.pack(hint.Poke("t", "s")))


@given(JSON)
def test_text_that_was_made_storable_is_storable(value: object) -> None:
    if codec.unstorable(value) is None:
        assert "\x00" not in str(value)
    assert codec.unstorable(codec.storable_text(str(value))) is None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("a\x00b", "a NUL character"),
        ("\ud800", "a lone surrogate"),
        ({"k\x00": 1}, "a NUL character"),
        ([{"deep": ["ok", "\udfff"]}], "a lone surrogate"),
        (("x", 1, None), None),
        ({"k": "ü😀"}, None),
    ],
    ids=range(6),
)
def test_what_postgres_cannot_hold_is_found_wherever_it_is(value: object, fault: str | None) -> None:
    assert codec.unstorable(value) == fault


def test_text_is_made_storable_with_one_mark_for_each_bad_character() -> None:
    assert codec.storable_text("a\x00b\ud800c😀") == "a\ufffdb\ufffdc😀"
