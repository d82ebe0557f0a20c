"""What of a project could not be read, and so what may be defined there all the same. Called by compile and its rooms.

A name is reported as unknown only when no such place may define it: nobody is told of a mistake that is none once the
file is mended. Knows names and words, and no resource.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from setpoint.contracts.limits import MANIFEST_FILE_BYTES_MAX

_WORD: Final = re.compile(rb"[A-Za-z0-9._-]+")
_MADE: Final = frozenset({"Asset", "Conditions", "Sync"})
"""The kinds of what an Origin makes."""


@dataclass(frozen=True)
class Unread:
    """``words`` of files that are no YAML, ``origins`` by name whose resources are missing ("": of any name).

    ``anything``: there is more than can be said, so no name is certainly unknown.
    """

    words: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    anything: bool = False

    def with_file(self, content: bytes) -> Unread:
        """Add a file that could not be read."""
        if len(content) > MANIFEST_FILE_BYTES_MAX:
            return replace(self, anything=True)
        return replace(self, words=self.words.union(word.decode() for word in _WORD.findall(content)))

    def may_define(self, kind: str, name: str) -> bool:
        """Tell whether a resource of this kind and name may be in what could not be read."""
        return self.anything or name in self.words or self.may_make(kind, name)

    def may_make(self, kind: str, name: str) -> bool:
        """Tell whether an Origin that could not be read may make a resource of this kind and name."""
        if kind not in _MADE or not (self.origins or "Origin" in self.words):
            return False
        of_files = self.words if "Origin" in self.words else frozenset()
        return "" in self.origins or any(origin in self.origins or origin in of_files for origin in _makers(name))


def _makers(name: str) -> Iterator[str]:
    """Yield the names of the Origins that could make a resource of this name (see dbt_assets.py)."""
    plain = name.removeprefix("dbt-tests-")
    for end in range(len(plain)):
        if plain[end] == "." or plain.startswith("-dbt-", end):
            yield plain[:end]
