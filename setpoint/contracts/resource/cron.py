"""When a cron expression comes next, by the clock on a wall somewhere. Called by the shapes and by the core.

Clocks are changed twice a year in many places. An expression that names its hours means events of a day: a time that
the clocks leap over comes as much later, one that they show twice comes once, the first time. One whose hours are
``*`` or ``*/n`` means a rhythm: it goes by the clock as it is, so a time that never is shown does not come and one that
is shown twice comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAP: Final = timedelta(hours=3)
"""No clock is set forward or back by more than this (a change of the date line apart)."""

_MICROSECOND: Final = timedelta(microseconds=1)


def next_tick(expression: str, timezone: str, after: int) -> int:
    """Return the first instant later than ``after`` (microseconds since the epoch) that the expression names.

    Both were checked: ``comes`` holds, and the time zone is one of ``timezones``.
    """
    zone = ZoneInfo(timezone)
    since = _EPOCH + timedelta(microseconds=after)
    start = _wall(since, zone)
    first: datetime = _read(expression).get_next(datetime, start_time=start)
    offset = _offset(since, zone)
    found = first - offset
    if all(_offset(at, zone) == offset for at in (since - _LEAP, found - _LEAP, found + _LEAP)):
        return _microseconds(found)
    return _microseconds(_search(expression, zone, since, start))


@lru_cache(maxsize=1024)
def _read(expression: str) -> croniter:
    """Read an expression, which takes ten times as long as to ask it for an instant. Give every question its start."""
    return croniter(expression, _EPOCH)


def comes(expression: str) -> bool:
    """Tell whether a well-formed expression names any instant at all: the 30th of February never comes."""
    try:
        croniter(expression, _EPOCH).get_next(datetime)
    except ValueError:
        return False
    return True


@cache
def timezones() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones())


def _search(expression: str, zone: tzinfo, since: datetime, start: datetime) -> datetime:
    """Look through every time on the wall around a change of the clocks."""
    hourly = expression.split()[1].startswith("*")
    walls = croniter(expression, start - _LEAP)
    best: datetime | None = None
    while True:
        wall: datetime = walls.get_next(datetime)
        if best is not None and wall > _wall(best, zone) + _LEAP:
            return best
        later = [at for at in _instants(wall, zone, hourly) if at > since]
        best = min([*later, best] if best is not None else later, default=None)


def _instants(wall: datetime, zone: tzinfo, hourly: bool) -> Iterator[datetime]:
    """Yield the instants at which a wall shows this time: none, one or two; and for a leapt-over one, as much later."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    shown = _wall(first, zone) == wall
    if shown or not hourly:
        yield first
    if shown and hourly and second != first:
        yield second


def _wall(at: datetime, zone: tzinfo) -> datetime:
    """Return what a wall clock shows, to the second, written as if it were UTC."""
    return at.astimezone(zone).replace(tzinfo=UTC, fold=0, microsecond=0)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
