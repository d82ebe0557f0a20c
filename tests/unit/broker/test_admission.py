"""The rules of admission, each with what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.admission import Bound, Refusal, Shown, capacity_fault, malformed, taken, uncertified, unproven
from setpoint.contracts import grant
from setpoint.contracts.hint import Join

NOW = 1_795_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BROKER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEYS = {"b1": grant.public_text(BROKER_KEY)}
INCARNATION = "019aa5a0-0000-7000-8000-000000000001"


def join(**more: Any) -> Join:
    fields: dict[str, Any] = {
        "id": 1,
        "host": "c1",
        "role": "cell",
        "public_key": grant.public_text(KEY),
        "incarnation": INCARNATION,
        "address": "127.0.0.1:8082",
    }
    return Join(**(fields | more))


def proof(**more: Any) -> str:
    fields: dict[str, Any] = {"host": "c1", "audience": "broker", "incarnation": INCARNATION, "now_s": NOW}
    return grant.sign_proof(more.pop("key", KEY), **(fields | more))


def token(**more: Any) -> str:
    fields: dict[str, Any] = {"host": "c1", "role": "cell", "host_key": grant.public_text(KEY), "now_s": NOW}
    return grant.sign_host_token(more.pop("key", BROKER_KEY), more.pop("kid", "b1"), **(fields | more))


def code(refusal: Refusal | None) -> str:
    return "" if refusal is None else refusal.code


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "[::1]:65535", "cell-1.example.internal:8082", "h:80"],
)
def test_well_formed_addresses(address: str) -> None:
    assert malformed(join(address=address)) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":1",
        "h:",
        "h:0",
        "h:65536",
        "h:99999",
        "h:1/",
        "h:1\n",
        "-h:1",
        "h-:1",
        "u@h:1",
        "h :1",
        "http://h:1",
        "[::1]",
    ],
)
def test_malformed_addresses(address: str) -> None:
    assert code(malformed(join(address=address))) == "invalid"


def test_a_gateway_needs_no_address_and_a_sandbox_host_a_ledger() -> None:
    assert malformed(join(role="gateway", address="")) is None
    assert code(malformed(join(role="sandbox"))) == "invalid"
    assert malformed(join(role="sandbox", ledger_id=INCARNATION)) is None


def test_capacity_is_small_and_storable() -> None:
    assert capacity_fault({"slots": 4, "note": "ü"}) is None
    assert capacity_fault({"note": "x" * 4096}) == "capacity is larger than 4096 bytes"
    assert capacity_fault({"deep": [{"x": "\x00"}]}) == "capacity holds a NUL character"


def test_the_proof_must_be_of_the_named_key_host_incarnation_audience_and_time() -> None:
    assert unproven(join(), Shown(proof=proof()), NOW) is None
    other = Ed25519PrivateKey.generate()
    wrong = {
        "none": "",
        "another key": proof(key=other),
        "another host": proof(host="c2"),
        "another audience": proof(audience="b1"),
        "another incarnation": proof(incarnation="019aa5a0-0000-7000-8000-000000000002"),
        "old": proof(now_s=NOW - 91),
        "of the future": proof(now_s=NOW + 31),
        "a host token": token(),
    }
    for name, text in wrong.items():
        assert code(unproven(join(), Shown(proof=text), NOW)) == "unauthenticated", name


def test_the_host_token_must_certify_exactly_this_host() -> None:
    assert uncertified(join(), Shown(host_token=token()), KEYS, NOW) is None
    cases = {
        "": "unauthenticated",
        token(kid="b2"): "unauthenticated",
        token(key=KEY): "unauthenticated",
        token(now_s=NOW - 7 * 24 * 3600 - 31): "unauthenticated",
        proof(): "unauthenticated",
        token(host="c2"): "forbidden",
        token(role="gateway"): "forbidden",
        token(host_key=grant.public_text(BROKER_KEY)): "forbidden",
    }
    for text, expected in cases.items():
        assert code(uncertified(join(), Shown(host_token=text), KEYS, NOW)) == expected


def test_a_host_id_keeps_its_key_and_its_role() -> None:
    mine, other = grant.public_text(KEY), grant.public_text(BROKER_KEY)
    assert taken(join(), []) is None
    assert taken(join(), [Bound("cell", mine)]) is None
    assert code(taken(join(), [Bound("cell", other)])) == "conflict"
    assert code(taken(join(), [Bound("sandbox", mine)])) == "conflict"
    assert code(taken(join(), [Bound("cell", mine), Bound("cell", other)])) == "conflict"
