"""Frames of the links that carry hints and heartbeats: gateway <-> celld, any host <-> broker (proto/links.md).

Nothing here carries authority: every one of these frames may be lost, and a poll finds what it said.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from setpoint.contracts.reply import OutputIs, Refused

Role = Literal["cell", "sandbox", "gateway"]
"""What a host is. The broker certifies it in the host token."""


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value of these links; unknown fields are ignored."""


# Gateway -> celld


class Poke(Struct, tag="poke", frozen=True):
    """The inbox of a session grew, or a new session is due: look now. No answer."""

    tenant: str
    session: str


class ReadSessionOutput(Struct, tag="read_output", frozen=True):
    """Read a run's output, relayed by the owner of its session to its sandbox host. Answer: OutputIs or Refused."""

    id: int
    tenant: str
    session: str
    run_id: str
    step: int
    stream: Literal["stdout", "stderr"]
    offset: int
    limit: int


# celld -> gateway


class Moved(Struct, tag="moved", frozen=True):
    """The heads of these sessions moved: (tenant, session, head_seq). Sent to every connected gateway."""

    heads: tuple[tuple[str, str, int], ...]


ToCelld = Poke | ReadSessionOutput
FromCelld = Moved | OutputIs | Refused


# Host -> broker, over /ws


class Join(Struct, tag="join", frozen=True):
    """First frame of a host: who it is. ``join_token`` is needed only while it has no host token yet.

    The handshake always carries a proof of ``public_key``; a refused join is answered and then the link is closed.
    """

    id: int
    host: str
    role: Role
    public_key: str
    incarnation: str
    address: str = ""
    ledger_id: str = ""
    join_token: str = ""
    capacity: dict[str, Any] = {}


class Beat(Struct, tag="beat", frozen=True):
    """Heartbeat with capacity, every limits.LEASE_RENEW_S. No answer."""

    capacity: dict[str, Any] = {}


class Place(Struct, tag="place", frozen=True):
    """Ask which host to use for a session; ``sticky`` is the one it had. Answer: ``Placed`` or ``Refused``."""

    id: int
    role: Literal["cell", "sandbox"]
    session: str
    sticky: str = ""
    avoid: str = ""


# Broker -> host


class Welcome(Struct, tag="welcome", frozen=True):
    """The host is admitted: its certificate, and the broker keys that verify others' (kid -> base64url public key).

    Pushed again with ``id`` 0 when another broker's key appears or the certificate is HOST_TOKEN_RENEW_S old.
    """

    id: int
    host_token: str
    keys: dict[str, str]


class Placed(Struct, tag="placed", frozen=True):
    """Use this host."""

    id: int
    host: str
    address: str
    incarnation: str


ToBroker = Join | Beat | Place
FromBroker = Welcome | Placed | Refused
