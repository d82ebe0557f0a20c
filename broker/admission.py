"""Whether a host that asks to join is admitted: every rule but the look at the join token itself.

Pure: what the handshake showed, the broker keys, what is bound already and the time are arguments; ``links`` asks in
the order of this file and answers with what comes back. Nothing here is looser for a host that has a join token: it
only stands in for the host token, never for the proof that the host holds its key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from setpoint.contracts import codec, grant, ids
from setpoint.contracts.hint import Join, Role

AUDIENCE: Final = "broker"
CAPACITY_BYTES_MAX: Final = 4096
_TOKEN_CHARS_MAX: Final = 256
_ADDRESS: Final = re.compile(
    r"^(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):([0-9]{1,5})$"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a host is not admitted, in the words of a Refused frame."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What the handshake carried, unverified: the host token (empty: none) and the proof."""

    host_token: str = ""
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """A host id that somebody holds already: the key and the role it is bound to."""

    role: Role
    public_key: str


def malformed(join: Join) -> Refusal | None:
    """Check every field of a Join that will be stored or sent on."""
    fault = next((text for holds, text in _rules(join) if not holds), None)
    if fault is None:
        try:
            grant.public_key(join.public_key)
        except grant.TokenRefused as error:
            fault = f"public_key: {error}"
    return None if fault is None else Refusal("invalid", fault)


def capacity_fault(capacity: dict[str, object]) -> str | None:
    """Say what is wrong with a capacity document, None when it can be kept."""
    if len(codec.pack(capacity)) > CAPACITY_BYTES_MAX:
        return f"capacity is larger than {CAPACITY_BYTES_MAX} bytes"
    unstorable = codec.unstorable(capacity)
    return f"capacity holds {unstorable}" if unstorable else None


def unproven(join: Join, shown: Shown, now_s: int) -> Refusal | None:
    """Check that whoever joins holds the private half of the key it names, here and now, as this incarnation."""
    claimed = grant.HostClaims(join.host, join.role, join.public_key, 0)
    try:
        proof = grant.verify_proof(shown.proof, claimed, AUDIENCE, now_s)
    except grant.TokenRefused as error:
        return Refusal("unauthenticated", str(error))
    if proof.incarnation != join.incarnation:
        return Refusal("unauthenticated", "proof: of another incarnation")
    return None


def uncertified(join: Join, shown: Shown, keys: Mapping[str, str], now_s: int) -> Refusal | None:
    """Check the host token of a host that showed no valid join token: it must certify exactly this host."""
    if not shown.host_token:
        return Refusal("unauthenticated", "neither a host token nor a valid join token")
    try:
        claims = grant.verify_host_token(shown.host_token, keys, now_s)
    except grant.TokenRefused as error:
        return Refusal("unauthenticated", str(error))
    if (claims.host, claims.role, claims.public_key) != (join.host, join.role, join.public_key):
        return Refusal("forbidden", "the host token certifies another host, role or key")
    return None


def taken(join: Join, bound: Sequence[Bound]) -> Refusal | None:
    """Check that the host id is not bound to another key or role: that never changes silently."""
    for other in bound:
        if other.public_key != join.public_key:
            return Refusal("conflict", f"host id {join.host} belongs to another key; choose another SETPOINT_HOST_ID")
        if other.role != join.role:
            return Refusal("conflict", f"host id {join.host} belongs to a {other.role} host")
    return None


def _rules(join: Join) -> list[tuple[bool, str]]:
    fault = capacity_fault(join.capacity)
    return [
        (ids.is_name(join.host), "host is not a legal name"),
        (ids.is_uuid(join.incarnation), "incarnation is not a UUID"),
        (len(join.join_token) <= _TOKEN_CHARS_MAX, "join_token is too long"),
        (join.role == "gateway" or _is_address(join.address), "address is not host:port"),
        (join.role != "sandbox" or ids.is_uuid(join.ledger_id), "ledger_id of a sandbox host is not a UUID"),
        (fault is None, fault or ""),
    ]


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 65536
