"""Tokens: who a host is (host token), that it is here now (proof), and what it may do for a session (grant).

Ed25519 JWTs; the algorithm is the verifier's choice, ``typ`` differs per kind, all claims are required, audiences are
exact, lifetimes are capped by the verifier (architecture.md section 6, RFC 8725). The broker certifies hosts; a host
signs its own proofs and, when it is a cell host, the grants of sessions it owns. Verification is offline.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from setpoint.contracts import limits
from setpoint.contracts.hint import Role

_ALGORITHM: Final = "EdDSA"
_HOSTS_AUDIENCE: Final = "setpoint-hosts"
_LAST_LETTERS: Final = "AQgw"  # 64 bytes leave four zero bits in their last base64url letter


class TokenRefused(Exception):
    """A token does not hold. The text says which rule it broke and never contains the token."""


class HostClaims(msgspec.Struct, frozen=True):
    """A verified host token: the broker says that ``public_key`` (base64url) is host ``host`` in ``role``."""

    host: str
    role: Role
    public_key: str
    expires_s: int


class Proof(msgspec.Struct, frozen=True):
    """A verified proof: the peer holds the host's key and runs as ``incarnation``."""

    host: str
    incarnation: str


class Grant(msgspec.Struct, frozen=True):
    """A verified grant: cell host ``issuer`` acts for a session under ``epoch`` on ``sandbox_host``."""

    issuer: str
    sandbox_host: str
    tenant: str
    session: str
    epoch: tuple[int, int]
    expires_s: int


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Write the public half of a key as base64url without padding."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.urlsafe_b64encode(public.public_bytes_raw()).rstrip(b"=").decode()


def public_key(text: str) -> Ed25519PublicKey:
    """Read a base64url public key. Raises TokenRefused when it is none, or is not written the one way we write it."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError) as error:
        raise TokenRefused("not an Ed25519 public key") from error
    if public_text(key) != text:  # keys are compared as texts
        raise TokenRefused("not an Ed25519 public key in its canonical form")
    return key


def sign_host_token(
    key: Ed25519PrivateKey, kid: str, *, host: str, role: Role, host_key: str, now_s: int, life_s: int | None = None
) -> str:
    """Certify a host: broker key ``key`` (published under ``kid``) vouches for ``host_key`` for seven days."""
    claims = {"iss": kid, "aud": _HOSTS_AUDIENCE, "sub": host, "role": role, "cnf": host_key}
    return _sign(key, "host+jwt", claims, now_s, life_s or limits.HOST_TOKEN_S, kid=kid)


def verify_host_token(token: str, keys: Mapping[str, str], now_s: int) -> HostClaims:
    """Check a host token against the brokers' public keys (kid -> base64url)."""
    kid = _header(token, "host+jwt").get("kid")
    if not isinstance(kid, str) or kid not in keys:
        raise TokenRefused("host token: signed by a key that no broker published")
    claims = _verify(token, "host+jwt", public_key(keys[kid]), _HOSTS_AUDIENCE, now_s, limits.HOST_TOKEN_S)
    if claims["role"] not in ("cell", "sandbox", "gateway"):
        raise TokenRefused("host token: unknown role")
    public_key(claims["cnf"])
    return HostClaims(claims["sub"], claims["role"], claims["cnf"], claims["exp"])


def sign_proof(key: Ed25519PrivateKey, *, host: str, audience: str, incarnation: str, now_s: int) -> str:
    """Prove to the host named ``audience`` (or ``broker``) that the caller holds ``host``'s key, for a minute."""
    claims = {"iss": host, "aud": audience, "inc": incarnation}
    return _sign(key, "proof+jwt", claims, now_s, limits.PROOF_S)


def verify_proof(token: str, host: HostClaims, audience: str, now_s: int) -> Proof:
    """Check that the peer that showed ``host`` also holds its key and means this ``audience``."""
    _header(token, "proof+jwt")
    claims = _verify(token, "proof+jwt", public_key(host.public_key), audience, now_s, limits.PROOF_S)
    if claims["iss"] != host.host:
        raise TokenRefused("proof: not by the host of the host token")
    return Proof(host.host, str(claims["inc"]))


def sign_grant(
    key: Ed25519PrivateKey,
    *,
    host: str,
    sandbox_host: str,
    tenant: str,
    session: str,
    epoch: tuple[int, int],
    now_s: int,
) -> str:
    """Let this cell host act for a session it owns on one sandbox host, for ten minutes."""
    claims = {"iss": host, "aud": sandbox_host, "ten": tenant, "ses": session, "epo": list(epoch)}
    return _sign(key, "grant+jwt", claims, now_s, limits.GRANT_S)


def verify_grant(token: str, host: HostClaims, sandbox_host: str, now_s: int) -> Grant:
    """Check a grant by the cell host on whose link it came."""
    if host.role != "cell":
        raise TokenRefused("grant: only cell hosts grant")
    _header(token, "grant+jwt")
    claims = _verify(token, "grant+jwt", public_key(host.public_key), sandbox_host, now_s, limits.GRANT_S)
    if claims["iss"] != host.host:
        raise TokenRefused("grant: not by the host of this link")
    try:
        epoch = msgspec.convert(claims["epo"], tuple[int, int])
    except msgspec.ValidationError as error:
        raise TokenRefused("grant: malformed epoch") from error
    return Grant(host.host, sandbox_host, str(claims["ten"]), str(claims["ses"]), epoch, claims["exp"])


_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "host+jwt": ("iss", "aud", "sub", "role", "cnf", "iat", "exp"),
    "proof+jwt": ("iss", "aud", "inc", "iat", "exp"),
    "grant+jwt": ("iss", "aud", "ten", "ses", "epo", "iat", "exp"),
}


def _sign(
    key: Ed25519PrivateKey, kind: str, claims: dict[str, Any], now_s: int, life_s: int, kid: str | None = None
) -> str:
    headers = {"typ": kind} | ({"kid": kid} if kid else {})
    return jwt.encode(claims | {"iat": now_s, "exp": now_s + life_s}, key, algorithm=_ALGORITHM, headers=headers)


def _header(token: str, kind: str) -> dict[str, Any]:
    if len(token) > limits.TOKEN_BYTES_MAX or not token.isascii():
        raise TokenRefused(f"{kind}: too long, or not a token")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenRefused(f"{kind}: not a token") from error
    if header.get("typ") != kind or header.get("alg") != _ALGORITHM or set(header) - {"typ", "alg", "kid"}:
        raise TokenRefused(f"{kind}: wrong kind of token")
    # The last letter of a signature carries bits that mean nothing: one token must have one text.
    if token[-1:] not in _LAST_LETTERS:
        raise TokenRefused(f"{kind}: signature not in its canonical form")
    return header


def _verify(token: str, kind: str, key: Ed25519PublicKey, audience: str, now_s: int, life_s_max: int) -> dict[str, Any]:
    options: Any = {
        "require": list(_REQUIRED[kind]),
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
        "strict_aud": True,
    }
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[_ALGORITHM], audience=audience, options=options)
    except jwt.PyJWTError as error:
        raise TokenRefused(f"{kind}: {error}") from error
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int:
        raise TokenRefused(f"{kind}: times must be whole seconds")
    if expires - issued > life_s_max or issued > now_s + limits.CLOCK_LEEWAY_S:
        raise TokenRefused(f"{kind}: lifetime longer than allowed, or issued in the future")
    if now_s > expires + limits.CLOCK_LEEWAY_S:
        raise TokenRefused(f"{kind}: expired")
    return claims
