"""The broker's own signing key: made on first start, kept in the state directory, and shown to the world as a JWK.

``app`` opens it before anything else. The private half never leaves the file and this object; the public half goes to
``signing_keys``. A state directory belongs to one running broker: it is locked for as long as the process lives.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from setpoint.contracts import grant
from setpoint.contracts.hint import Role
from setpoint.identity import write_private

KIND: Final = "broker"
"""The kind under which brokers' keys stand in ``signing_keys``; keys of any other kind certify nobody."""

_KID_CHARS: Final = 16


class KeyUnusable(Exception):
    """The signing key cannot be used; the text is one line for the operator and never contains the key."""


class SigningKey:
    """The key of one broker. ``kid`` follows from the public half, so the same key always has the same name."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_bytes = key.public_key().public_bytes_raw()
        self.public_text = grant.public_text(key)
        self.kid = hashlib.sha256(self.public_bytes).hexdigest()[:_KID_CHARS]

    def certify(self, *, host: str, role: Role, host_key: str, now_s: int) -> str:
        """Return a host token that vouches for ``host_key`` for seven days."""
        return grant.sign_host_token(self._key, self.kid, host=host, role=role, host_key=host_key, now_s=now_s)


def open_key(state_dir: Path) -> SigningKey:
    """Return the key kept in ``state_dir``, made now when there is none, and lock the directory for this process.

    Raises KeyUnusable when another broker has the directory, others may read the key, or the file holds no key.
    """
    _lock(state_dir / "broker.lock")
    path = state_dir / "broker.key"
    try:
        if not path.exists():
            write_private(path, Ed25519PrivateKey.generate().private_bytes_raw())
        if path.stat().st_mode & 0o077:
            raise KeyUnusable(f"{path} may be read by others: its mode must be 0600")
        return SigningKey(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
    except ValueError as error:
        raise KeyUnusable(f"{path} does not hold an Ed25519 key") from error
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}") from error


def jwks(keys: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """Return public keys (kid -> base64url) as a JSON Web Key Set (RFC 7517, RFC 8037)."""
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": public}
            for kid, public in sorted(keys.items())
        ]
    }


def _lock(path: Path) -> None:
    try:
        # Left open on purpose: the lock is the descriptor's, and goes with the process however it ends.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise KeyUnusable(f"{path.parent} is in use by another broker") from error
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}") from error
