"""Tokens as an attacker would make them: any header, any claims, any key. Used by the tests of grants."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from setpoint.contracts import grant

NOW = 1_795_000_000
EPOCH = (1, 4)


def key_of(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))


BROKER, HOST, OTHER = key_of(1), key_of(2), key_of(3)
KEYS = {"b1": grant.public_text(BROKER)}
CELL = grant.HostClaims("c1", "cell", grant.public_text(HOST), NOW + 60)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


@dataclass(frozen=True)
class Forged:
    """A token in its parts; ``text`` signs them as they are."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    key: Ed25519PrivateKey

    @property
    def text(self) -> str:
        signed = self._signed
        return f"{signed}.{encoded(self.key.sign(signed.encode()))}"

    @property
    def unsigned(self) -> str:
        return f"{self._signed}."

    def hmac(self, secret: bytes) -> str:
        signed = self._signed
        return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def with_header(self, **more: Any) -> Forged:
        return replace(self, header={**self.header, **more})

    def with_claims(self, **more: Any) -> Forged:
        return replace(self, claims={**self.claims, **more})

    def without(self, name: str) -> Forged:
        return replace(self, claims={key: value for key, value in self.claims.items() if key != name})

    @property
    def _signed(self) -> str:
        return ".".join(encoded(json.dumps(part).encode()) for part in (self.header, self.claims))


@dataclass(frozen=True)
class Kind:
    """One kind of token: a good one in its parts, how it is verified, and how long it may live at most."""

    name: str
    good: Forged
    verify: Callable[[str, int], object]
    life_s: int


def _host() -> Kind:
    claims = {"iss": "b1", "aud": "setpoint-hosts", "sub": "c1", "role": "cell", "cnf": grant.public_text(HOST)}
    return _kind(
        "host+jwt", BROKER, claims, 7 * 24 * 3600, lambda text, now: grant.verify_host_token(text, KEYS, now), kid="b1"
    )


def _proof() -> Kind:
    claims = {"iss": "c1", "aud": "broker", "inc": "i1"}
    return _kind("proof+jwt", HOST, claims, 60, lambda text, now: grant.verify_proof(text, CELL, "broker", now))


def _grant() -> Kind:
    claims = {"iss": "c1", "aud": "s1", "ten": "t", "ses": "s", "epo": list(EPOCH)}
    return _kind("grant+jwt", HOST, claims, 600, lambda text, now: grant.verify_grant(text, CELL, "s1", now))


def _kind(
    name: str,
    key: Ed25519PrivateKey,
    claims: dict[str, Any],
    life_s: int,
    verify: Callable[[str, int], object],
    **header: str,
) -> Kind:
    times = {"iat": NOW, "exp": NOW + life_s}
    return Kind(name, Forged({"typ": name, "alg": "EdDSA", **header}, claims | times, key), verify, life_s)


KINDS = [_host(), _proof(), _grant()]
