"""Tokens: what verifies, and every way in which one that nearly does is refused."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.contracts import grant
from setpoint.contracts.grant import TokenRefused
from setpoint.contracts.hint import Role
from tests.unit.contracts.forge import BROKER, CELL, EPOCH, HOST, KEYS, KINDS, NOW, OTHER, Forged, Kind

ALL = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def refused(kind: Kind, text: str, now_s: int = NOW) -> bool:
    with pytest.raises(TokenRefused) as error:
        kind.verify(text, now_s)
    assert text == "" or text not in str(error.value)
    return True


def test_what_is_signed_is_what_is_read() -> None:
    host = grant.sign_host_token(BROKER, "b1", host="c1", role="cell", host_key=grant.public_text(HOST), now_s=NOW)
    claims = grant.verify_host_token(host, KEYS, NOW)
    assert claims == grant.HostClaims("c1", "cell", grant.public_text(HOST), NOW + 7 * 24 * 3600)
    proof = grant.sign_proof(HOST, host="c1", audience="s1", incarnation="i1", now_s=NOW)
    assert grant.verify_proof(proof, claims, "s1", NOW) == grant.Proof("c1", "i1")
    pass_ = grant.sign_grant(HOST, host="c1", sandbox_host="s1", tenant="t", session="s", epoch=EPOCH, now_s=NOW)
    assert grant.verify_grant(pass_, claims, "s1", NOW) == grant.Grant("c1", "s1", "t", "s", EPOCH, NOW + 600)


@ALL
def test_a_token_lives_as_long_as_it_says_and_the_leeway(kind: Kind) -> None:
    text = kind.good.text
    for now_s in (NOW - 30, NOW, NOW + kind.life_s, NOW + kind.life_s + 30):
        kind.verify(text, now_s)
    for now_s in (NOW - 31, NOW + kind.life_s + 31):
        assert refused(kind, text, now_s)


@ALL
def test_a_life_longer_than_its_kind_allows_is_refused(kind: Kind) -> None:
    assert refused(kind, kind.good.with_claims(exp=NOW + kind.life_s + 1).text)
    assert refused(kind, kind.good.with_claims(iat=NOW - 1).text)


@ALL
def test_another_algorithm_is_refused_whatever_it_is_signed_with(kind: Kind) -> None:
    for name in ("none", "None", "NONE", "", None, "HS256", "ES256", "RS256", "Ed25519", "EdDSA ", ["EdDSA"]):
        forged = kind.good.with_header(alg=name)
        assert refused(kind, forged.text)
        assert refused(kind, forged.unsigned)
    public = grant.public_text(kind.good.key)
    hs256 = kind.good.with_header(alg="HS256")
    assert refused(kind, hs256.hmac(public.encode()))
    assert refused(kind, hs256.hmac(kind.good.key.public_key().public_bytes_raw()))
    assert refused(kind, kind.good.unsigned)


@ALL
def test_a_key_that_comes_with_the_token_is_refused(kind: Kind) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": grant.public_text(OTHER)}
    more: dict[str, Any]
    for more in (
        {"jwk": jwk},
        {"jku": "https://x"},
        {"x5c": []},
        {"x5u": "https://x"},
        {"crit": ["exp"]},
        {"b64": False},
    ):
        assert refused(kind, Forged({**kind.good.header, **more}, kind.good.claims, OTHER).text)
        assert refused(kind, kind.good.with_header(**more).text)


@ALL
def test_another_key_is_refused(kind: Kind) -> None:
    assert refused(kind, Forged(kind.good.header, kind.good.claims, OTHER).text)


@ALL
def test_each_kind_is_refused_in_the_place_of_every_other(kind: Kind) -> None:
    for other in KINDS:
        if other is not kind:
            assert refused(kind, other.good.text)
            assert refused(kind, kind.good.with_header(typ=other.name).text)
    for name in ("JWT", "", None, kind.name.upper(), kind.name + " "):
        assert refused(kind, kind.good.with_header(typ=name).text)


@ALL
def test_every_claim_is_required_and_none_may_be_empty(kind: Kind) -> None:
    for name in kind.good.claims:
        assert refused(kind, kind.good.without(name).text)
        assert refused(kind, kind.good.with_claims(**{name: None}).text)


@ALL
def test_the_audience_is_exactly_one_text(kind: Kind) -> None:
    right = kind.good.claims["aud"]
    wrong: object
    for wrong in ("", "other", right + "x", right[:-1], right.upper(), [right], [right, "other"], {}, 1):
        assert refused(kind, kind.good.with_claims(aud=wrong).text)


@ALL
def test_times_are_whole_numbers(kind: Kind) -> None:
    wrong: object
    for wrong in ("1795000000", float(NOW), True, [NOW], {}, 1e300, -(2**70)):
        assert refused(kind, kind.good.with_claims(exp=wrong).text)
    for wrong in (str(NOW), float(NOW), False, [NOW], 2**70):
        assert refused(kind, kind.good.with_claims(iat=wrong).text)


@ALL
def test_what_is_no_token_is_refused(kind: Kind) -> None:
    body = kind.good.text
    texts = [
        "",
        ".",
        "..",
        "a.b.c",
        "…",
        "\udcff.a.b",
        body + ".",
        body + "." + body,
        " " + body,
        body + "\n",
        "A" * 4097,
    ]
    texts += [body + "A" * 4096, body.replace(".", "..", 1), body.split(".")[0], "e30.e30.e30", "bnVsbA.bnVsbA.bnVsbA"]
    assert all(refused(kind, text) for text in texts)


def test_a_host_token_needs_a_known_kid() -> None:
    kind = KINDS[0]
    for kid in ("b2", "", None, 1, ["b1"], {"b1": 1}):
        assert refused(kind, kind.good.with_header(kid=kid).text)
    bare = Forged({k: v for k, v in kind.good.header.items() if k != "kid"}, kind.good.claims, BROKER)
    assert refused(kind, bare.text)
    with pytest.raises(TokenRefused):
        grant.verify_host_token(kind.good.text, {}, NOW)
    with pytest.raises(TokenRefused):
        grant.verify_host_token(kind.good.text, {"b1": grant.public_text(OTHER)}, NOW)


@pytest.mark.parametrize(
    "claims",
    [{"role": "operator"}, {"role": ["cell"]}, {"cnf": "AAAA"}, {"cnf": 5}, {"cnf": ["x"]}, {"sub": 5}],
    ids=str,
)
def test_a_host_token_says_a_known_role_and_a_real_key(claims: dict[str, Any]) -> None:
    assert refused(KINDS[0], KINDS[0].good.with_claims(**claims).text)


def test_a_proof_and_a_grant_are_by_the_host_itself() -> None:
    for kind in KINDS[1:]:
        assert refused(kind, kind.good.with_claims(iss="c2").text)


def test_only_a_cell_host_grants() -> None:
    text = KINDS[2].good.text
    roles: tuple[Role, ...] = ("sandbox", "gateway")
    for role in roles:
        with pytest.raises(TokenRefused, match="only cell hosts"):
            grant.verify_grant(text, grant.HostClaims("c1", role, CELL.public_key, NOW), "s1", NOW)


@pytest.mark.parametrize("epoch", [1, [1], [1, 2, 3], ["1", "2"], [1, None], [True, 1], [1.5, 1], {}, "11"], ids=str)
def test_the_epoch_of_a_grant_is_a_pair_of_whole_numbers(epoch: object) -> None:
    assert refused(KINDS[2], KINDS[2].good.with_claims(epo=epoch).text)


def test_a_public_key_has_one_text() -> None:
    text = grant.public_text(HOST)
    assert grant.public_text(grant.public_key(text)) == text
    for wrong in ("", text[:-1], text + "=", text + "A", " " + text, text[:5] + "\n" + text[5:], "ü" * 43, "A" * 1000):
        with pytest.raises(TokenRefused):
            grant.public_key(wrong)
