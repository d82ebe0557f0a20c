"""The schema versions that this code ships: ``versions/NNNN_word.sql``, in order, each with its checksum.

The runner applies them, the door asks for the newest. A version that has been released is never edited: its checksum is
recorded in the database, and the runner refuses to go on over an edited one.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).with_name("versions")
_FILE: Final = re.compile(r"^(\d{4})_([a-z][a-z0-9_]*)\.sql$")


@dataclass(frozen=True, slots=True)
class Version:
    """One step of the schema. ``checksum`` is the SHA-256 of the file in hex."""

    version: int
    name: str
    checksum: str
    script: str


def known(folder: Path = _FOLDER) -> tuple[Version, ...]:
    """Return the versions in ``folder``, ordered and without a gap. Raises ValueError for anything else in there."""
    found: list[Version] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.match(path.name)
        if match is None:
            raise ValueError(f"{path.name} is not named NNNN_word.sql")
        content = path.read_bytes()
        found.append(Version(int(match[1]), match[2], hashlib.sha256(content).hexdigest(), content.decode("utf-8")))
    if [step.version for step in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the versions do not count from 1 without a gap: {[step.version for step in found]}")
    return tuple(found)


@functools.cache
def newest() -> int:
    """Return the number of the newest version this code knows."""
    return known()[-1].version
