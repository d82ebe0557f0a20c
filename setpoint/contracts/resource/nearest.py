"""The nearest right word for a misspelt one. Called wherever a fault can say what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_WORD_CHARS_MAX = 64
_CANDIDATES_MAX = 1000


def nearest_hint(word: str, candidates: Collection[str]) -> str:
    """Return ``did you mean 'x'?``, or the few candidates there are, or nothing. Its cost is bounded."""
    if len(word) > _WORD_CHARS_MAX or not candidates:
        return ""
    folded = word.casefold()
    same = [name for name in candidates if len(name) == len(word) and name.casefold() == folded]
    if same:
        return f"did you mean {min(same)!r}?"
    close = [name for name in candidates if abs(len(name) - len(word)) <= 3]
    if len(close) > _CANDIDATES_MAX:
        close = [name for name in close if name[:1] == word[:1] and name[-1:] == word[-1:]]
    found = difflib.get_close_matches(word, sorted(close)[:_CANDIDATES_MAX], n=1, cutoff=0.6)
    if found:
        return f"did you mean {found[0]!r}?"
    return f"known are {', '.join(sorted(candidates))}" if len(candidates) <= 12 else ""
