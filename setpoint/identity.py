"""Who this host is: its key, its host token, and the broker keys it knows, all kept on disk in the state directory.

gateway, celld and sandboxd use it: to open links to other hosts, to check who opens one to them, and to sign. It keeps
working with what is on disk while every broker is away (architecture.md section 5, "Broker absent").
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from setpoint import runtime
from setpoint.contracts import grant
from setpoint.contracts.hint import Role

PROOF_HEADER = "X-Setpoint-Proof"


class Identity:
    """The identity of one host. ``incarnation`` is fresh with every start of the process.

    Tokens and keys learnt from a broker are written by ``learn``; ``host_token`` is empty before the first admission.
    """

    def __init__(self, directory: Path, host: str, role: Role) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.host, self.role, self.incarnation = host, role, runtime.new_id()
        self._directory = directory
        self.key = _load_key(directory / "host.key")
        self.public_key = grant.public_text(self.key)
        self.host_token = self._read("host.token")
        self.keys: dict[str, str] = json.loads(self._read("broker-keys.json") or "{}")

    def learn(self, *, host_token: str | None = None, keys: Mapping[str, str] | None = None) -> None:
        """Keep a new host token or the current set of broker keys, on disk and in memory."""
        if keys and dict(keys) != self.keys:  # before the token: whoever finds a token can verify it
            self.keys = dict(keys)
            write_private(self._directory / "broker-keys.json", json.dumps(self.keys).encode())
        if host_token:
            self.host_token = host_token
            write_private(self._directory / "host.token", host_token.encode())

    def headers(self, audience: str) -> dict[str, str]:
        """Return the handshake headers that prove this host to ``audience`` (a host id, or ``broker``)."""
        proof = grant.sign_proof(
            self.key, host=self.host, audience=audience, incarnation=self.incarnation, now_s=runtime.now_s()
        )
        return {"Authorization": f"Bearer {self.host_token}", PROOF_HEADER: proof}

    def check_peer(self, headers: Mapping[str, str]) -> tuple[grant.HostClaims, grant.Proof]:
        """Verify the handshake headers of a host that opens a link to this one. Raises grant.TokenRefused."""
        return check_peer(headers, self.keys, self.host)

    def _read(self, name: str) -> str:
        path = self._directory / name
        return path.read_text().strip() if path.exists() else ""


def check_peer(
    headers: Mapping[str, str], keys: Mapping[str, str], audience: str
) -> tuple[grant.HostClaims, grant.Proof]:
    """Verify handshake headers against broker keys for the server named ``audience``. Raises grant.TokenRefused."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise grant.TokenRefused("no host token")
    now_s = runtime.now_s()
    claims = grant.verify_host_token(token, keys, now_s)
    return claims, grant.verify_proof(headers.get(PROOF_HEADER, ""), claims, audience, now_s)


def open_private(path: str, flags: int) -> int:
    """Open a file that only its owner may even read: an ``opener`` for lock files, which any reader could hold."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # an earlier version made it readable
    return descriptor


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def _load_key(path: Path) -> Ed25519PrivateKey:
    if path.exists():
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    key = Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes_raw())
    return key
