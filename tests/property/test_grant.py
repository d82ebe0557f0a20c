"""Whatever is done to a token, it verifies as what was signed or not at all."""

from __future__ import annotations

import string
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts import grant
from setpoint.contracts.grant import TokenRefused
from tests.unit.contracts.forge import HOST, KINDS, NOW, Forged, Kind

kinds = st.sampled_from(KINDS)
LETTERS = string.ascii_letters + string.digits + "-_.="
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def refused(kind: Kind, text: str, now_s: int = NOW) -> None:
    with pytest.raises(TokenRefused):
        kind.verify(text, now_s)


@given(kinds, st.data())
def test_a_token_with_one_letter_changed_is_refused(kind: Kind, data: st.DataObject) -> None:
    text = kind.good.text
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(LETTERS).filter(lambda letter: letter != text[place]))
    refused(kind, text[:place] + letter + text[place + 1 :])


@given(kinds, st.data())
def test_a_token_with_a_piece_cut_out_put_in_or_doubled_is_refused(kind: Kind, data: st.DataObject) -> None:
    text = kind.good.text
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    piece = data.draw(st.text(LETTERS, min_size=1, max_size=8))
    for changed in (text[:start] + text[end:], text[:start] + piece + text[start:], text[:end] + text[start:]):
        if changed != text:
            refused(kind, changed)


@given(kinds, kinds, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_parts_of_different_tokens_do_not_make_one(one: Kind, other: Kind, taken: tuple[bool, bool, bool]) -> None:
    parts = zip(one.good.text.split("."), other.good.text.split("."), taken, strict=True)
    mixed = ".".join(second if is_taken else first for first, second, is_taken in parts)
    if mixed != one.good.text:
        refused(one, mixed)


@given(kinds, st.binary(min_size=32, max_size=32))
def test_no_other_key_signs_it(kind: Kind, secret: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    if key.public_key() != kind.good.key.public_key():
        refused(kind, Forged(kind.good.header, kind.good.claims, key).text)


@given(
    kinds, st.dictionaries(st.sampled_from(["typ", "alg", "kid", "jwk", "jku", "crit", "x5c", "cty"]), JSON, min_size=1)
)
def test_a_header_that_says_anything_else_is_refused(kind: Kind, more: dict[str, Any]) -> None:
    header = {**kind.good.header, **more}
    # A proof or grant ignores a kid: its key is its host's.
    ignored = {"kid"} if kind is not KINDS[0] and isinstance(header.get("kid", ""), str) else set()
    if {k: v for k, v in header.items() if k not in ignored} != dict(kind.good.header):
        refused(kind, Forged(header, kind.good.claims, kind.good.key).text)


@given(kinds, st.data())
def test_a_claim_of_any_other_value_is_refused_or_is_what_is_read(kind: Kind, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(kind.good.claims)))
    value = data.draw(JSON)
    try:
        read = kind.verify(kind.good.with_claims(**{name: value}).text, NOW)
    except TokenRefused:
        return
    if name in ("aud", "role", "cnf"):
        assert value == kind.good.claims[name]
    if name == "iss" and kind is not KINDS[0]:
        assert value == "c1"
    if name == "epo":
        assert isinstance(read, grant.Grant)
        assert list(read.epoch) == value
    if name == "exp":
        assert isinstance(value, int)
        assert NOW - 30 <= value <= NOW + kind.life_s


@given(kinds, st.integers(-(10**7), 10**7))
def test_outside_its_life_a_token_is_refused(kind: Kind, offset_s: int) -> None:
    if -30 <= offset_s <= kind.life_s + 30:
        kind.verify(kind.good.text, NOW + offset_s)
    else:
        refused(kind, kind.good.text, NOW + offset_s)


@given(kinds, st.text(max_size=200))
def test_any_text_is_refused_as_a_token(kind: Kind, text: str) -> None:
    refused(kind, text)


@given(
    st.text(min_size=1, max_size=20),
    st.text(min_size=1, max_size=20),
    st.tuples(st.integers(0, 99), st.integers(0, 2**60)),
)
def test_a_grant_holds_for_its_own_sandbox_host_alone(here: str, there: str, epoch: tuple[int, int]) -> None:
    text = grant.sign_grant(HOST, host="c1", sandbox_host=here, tenant="t", session="s", epoch=epoch, now_s=NOW)
    claims = grant.HostClaims("c1", "cell", grant.public_text(HOST), NOW)
    assert grant.verify_grant(text, claims, here, NOW).epoch == epoch
    if here != there:
        with pytest.raises(TokenRefused):
            grant.verify_grant(text, claims, there, NOW)
