"""A password as Postgres keeps it, so that the password itself is in no statement. Pure; ``runner.bootstrap`` calls it.

``ALTER ROLE ... PASSWORD`` takes no parameters: whatever it holds may end up in the server's log (log_statement, or
the statement of an error) and in statistics of statements.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

ROUNDS: Final = 4096
"""What Postgres itself uses by default."""


def verifier(password: str, salt: bytes) -> str:
    """Return the SCRAM-SHA-256 verifier of a password, which Postgres takes in the password's place.

    ``salt`` is 16 fresh random bytes. Raises ValueError for a password that is not printable ASCII: clients prepare
    others (SASLprep) before they hash them, and what is prepared otherwise would never match.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("a database password is made of printable ASCII characters")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(_sign(salted, b"Client Key")).digest()
    words = [base64.b64encode(word).decode() for word in (salt, stored, _sign(salted, b"Server Key"))]
    return f"SCRAM-SHA-256${ROUNDS}:{words[0]}${words[1]}:{words[2]}"


def _sign(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
