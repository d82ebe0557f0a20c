"""Who may ask for what: every request of a link is held against its grant, and keep-alives against what went before.

The host asks here before anything else. A grant binds tenant, session and epoch; the link's host token says who signs.
Nothing here is durable: floors are the ledger's.
"""

from __future__ import annotations

from typing import Any, Final

from setpoint import runtime
from setpoint.contracts import grant
from setpoint.contracts.run import Epoch
from setpoint.web import Peer

_GRANTS_MAX: Final = 4096
_OWNERS_MAX: Final = 65536


class Authority:
    """The verified grants of this host's links, remembered until they expire, and who owns which session."""

    def __init__(self, sandbox_host: str) -> None:
        self._sandbox_host = sandbox_host
        self._verified: dict[tuple[str, str, str], grant.Grant] = {}
        self._owners: dict[str, tuple[str, Epoch]] = {}

    def check(self, peer: Peer, text: str, session: str, epoch: Epoch | None = None) -> grant.Grant:
        """Return the grant when it holds for this session (and epoch, when one is claimed). Raises TokenRefused."""
        assert peer.claims is not None
        now_s = runtime.now_s()
        key = (peer.claims.host, peer.claims.public_key, text)
        held = self._verified.pop(key, None)
        if held is None or now_s > held.expires_s:
            held = grant.verify_grant(text, peer.claims, self._sandbox_host, now_s)
        self._verified[key] = held
        _forget_oldest(self._verified, _GRANTS_MAX)
        if held.session != session:
            raise grant.TokenRefused("grant: of another session")
        if epoch is not None and held.epoch != epoch:
            raise grant.TokenRefused("grant: of another epoch")
        return held

    def admitted(self, peer: Peer, session: str, epoch: Epoch) -> None:
        """Note that the ledger let this host speak for a session under this epoch."""
        assert peer.claims is not None
        self._owners.pop(session, None)
        self._owners[session] = (peer.claims.host, epoch)
        _forget_oldest(self._owners, _OWNERS_MAX)

    def owns(self, peer: Peer, session: str, epoch: Epoch) -> bool:
        """Tell whether this host was the last to speak for the session, under this epoch.

        A keep-alive carries no grant: it prolongs only what its sender was allowed to start or adopt.
        """
        assert peer.claims is not None
        known = self._owners.pop(session, None)
        if known is None:
            return False
        self._owners[session] = known
        return known == (peer.claims.host, epoch)


def _forget_oldest(known: dict[Any, Any], count_max: int) -> None:
    """Keep a dictionary, ordered by last use, within its bound."""
    while len(known) > count_max:
        del known[next(iter(known))]
