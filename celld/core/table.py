"""Two persistent collections: a map and a sorted set that share what a change leaves alone.

The state of a session is made of these, so that folding an event costs the same whether the session has ten assets
or ten thousand, and the state before a decision stays whole until the decision is committed. Iteration order follows
from the keys alone, never from a hash seed, so that every process folds the same log to the same state.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Generic, TypeVar

V = TypeVar("V")

_BUCKETS: Final = 128
_CHUNK_MAX: Final = 64
_NAMES_KEPT: Final = 1 << 15

Entry = tuple[int, str]
"""An instant (microseconds since the epoch) and the name of an asset."""


class Table(Generic[V]):
    """A map from names to values. ``with_`` and ``without`` return a new one; the old one stays as it was."""

    __slots__ = ("_buckets", "_size")

    def __init__(self, entries: Iterable[tuple[str, V]] = ()) -> None:
        buckets: list[dict[str, V]] = [{} for _ in range(_BUCKETS)]
        for key, value in entries:
            buckets[_bucket_of(key)][key] = value
        self._buckets = tuple(buckets)
        self._size = sum(map(len, buckets))

    def get(self, key: str) -> V | None:
        """Return the value of ``key``, or None."""
        return self._buckets[_bucket_of(key)].get(key)

    def __getitem__(self, key: str) -> V:
        return self._buckets[_bucket_of(key)][key]

    def __contains__(self, key: str) -> bool:
        return key in self._buckets[_bucket_of(key)]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        """Yield the keys sorted."""
        return iter(sorted(key for bucket in self._buckets for key in bucket))

    def unsorted(self) -> Iterator[str]:
        """Yield the keys in an order that only depends on what was set: for whoever needs any, not all."""
        return (key for bucket in self._buckets if bucket for key in bucket)

    def values(self) -> Iterator[V]:
        """Yield the values by sorted key."""
        return (self[key] for key in self)

    def with_(self, key: str, value: V) -> Table[V]:
        """Return this map with ``key`` set."""
        place = _bucket_of(key)
        bucket = self._buckets[place]
        return self._changed(place, {**bucket, key: value}, self._size + (key not in bucket))

    def without(self, key: str) -> Table[V]:
        """Return this map without ``key``; the same map when it is not there."""
        place = _bucket_of(key)
        if key not in self._buckets[place]:
            return self
        bucket = dict(self._buckets[place])
        del bucket[key]
        return self._changed(place, bucket, self._size - 1)

    def changed_since(self, older: Table[V]) -> list[str]:
        """Return the keys, sorted, whose value is another object than in ``older``, also those that left."""
        if self._buckets is older._buckets:
            return []
        keys: set[str] = set()
        for now, then in zip(self._buckets, older._buckets, strict=True):
            if now is not then:
                keys.update(key for key, value in now.items() if then.get(key) is not value)
                keys.update(key for key in then if key not in now)
        return sorted(keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._buckets == other._buckets

    def _changed(self, place: int, bucket: dict[str, V], size: int) -> Table[V]:
        new: Table[V] = Table.__new__(Table)
        buckets = list(self._buckets)
        buckets[place] = bucket
        new._buckets = tuple(buckets)
        new._size = size
        return new


class Agenda:
    """A sorted set of (instant, name): which asset may have something to do, and since or from when."""

    __slots__ = ("_chunks",)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        ordered = sorted(set(entries))
        self._chunks = tuple(tuple(ordered[i : i + _CHUNK_MAX]) for i in range(0, len(ordered), _CHUNK_MAX))

    def add(self, entry: Entry) -> Agenda:
        """Return this set with ``entry``."""
        if not self._chunks:
            return _agenda(((entry,),))
        place = self._place(entry)
        chunk = self._chunks[place]
        at = bisect_left(chunk, entry)
        chunk = (*chunk[:at], entry, *chunk[at:])
        half = len(chunk) // 2
        return self._with(place, [chunk] if len(chunk) <= _CHUNK_MAX else [chunk[:half], chunk[half:]])

    def remove(self, entry: Entry) -> Agenda:
        """Return this set without ``entry``. Raises KeyError when it is not there: an index is out of step."""
        place = self._place(entry) if self._chunks else 0
        chunk = self._chunks[place] if self._chunks else ()
        at = bisect_left(chunk, entry)
        if at == len(chunk) or chunk[at] != entry:
            raise KeyError(entry)
        left = (*chunk[:at], *chunk[at + 1 :])
        return self._with(place, [left] if left else [])

    def first(self) -> Entry | None:
        """Return the earliest entry, or None."""
        return self._chunks[0][0] if self._chunks else None

    def next_after(self, at: int) -> int | None:
        """Return the earliest instant later than ``at``, or None."""
        place = bisect_right(self._chunks, at, key=lambda chunk: chunk[-1][0])
        if place == len(self._chunks):
            return None
        chunk = self._chunks[place]
        return chunk[bisect_right(chunk, at, key=lambda entry: entry[0])][0]

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order."""
        return (entry for chunk in self._chunks for entry in chunk)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Agenda) and list(self) == list(other)

    def _with(self, place: int, parts: list[tuple[Entry, ...]]) -> Agenda:
        chunks = list(self._chunks)
        chunks[place : place + 1] = parts
        return _agenda(tuple(chunks))

    def _place(self, entry: Entry) -> int:
        return min(bisect_left(self._chunks, entry, key=lambda chunk: chunk[-1]), len(self._chunks) - 1)


def _agenda(chunks: tuple[tuple[Entry, ...], ...]) -> Agenda:
    new: Agenda = Agenda.__new__(Agenda)
    new._chunks = chunks
    return new


@lru_cache(_NAMES_KEPT)
def _bucket_of(key: str) -> int:
    return zlib.crc32(key.encode()) % _BUCKETS
