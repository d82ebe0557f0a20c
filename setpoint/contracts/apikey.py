"""API keys: ``sp_<key_id>_<secret>``. The id finds the row, the secret is compared by its hash.

The gateway parses what a client sends; the operator's commands make keys. The secret itself is never stored or logged.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

_KEY_ID_BYTES: Final = 10
RANDOM_BYTES: Final = _KEY_ID_BYTES + 30
"""How many random bytes ``new_api_key`` wants."""

_SHAPE: Final = re.compile(r"sp_([a-z2-7]{16})_([a-z2-7]{48})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in its two parts. The secret stays out of ``repr``, so that a log line cannot show it."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The key as a client sends it."""
        return f"sp_{self.key_id}_{self.secret}"


def new_api_key(random: bytes) -> ApiKey:
    """Make a key out of RANDOM_BYTES random bytes. Raises ValueError for any other number of them."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"an API key takes {RANDOM_BYTES} random bytes, not {len(random)}")
    return ApiKey(_word(random[:_KEY_ID_BYTES]), _word(random[_KEY_ID_BYTES:]))


def parse_api_key(text: str) -> ApiKey | None:
    """Read a key as a client sends it; None when it has not the shape of one."""
    match = _SHAPE.fullmatch(text)
    return None if match is None else ApiKey(match[1], match[2])


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a secret. It has 240 random bits, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(secret.encode()).digest()


def _word(random: bytes) -> str:
    return base64.b32encode(random).decode().lower()
