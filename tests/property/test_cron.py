"""Cron against a naive oracle that looks at every minute, in zones and at days where the clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from setpoint.contracts.resource.cron import next_tick

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu")
DAYS = ((3, 14), (3, 28), (4, 4), (7, 1), (10, 3), (10, 31), (11, 7))
CHANGES = [datetime(2027, month, day, tzinfo=UTC) for month, day in DAYS]
MINUTE = timedelta(minutes=1)
HOURLY = ("*/7 * * * *", "0,30 * * * *", "15 */2 * * *", "* * * * *")
DAILY = ("30 2 * * *", "0 3 * * *", "15,45 1-3 * * *", "0 0 * * 0", "*/20 2,3 * * *")


def matches(expression: str, wall: datetime) -> bool:
    """Tell whether a wall shows what the expression names (numbers, lists, ranges and steps, as above)."""
    shown = (wall.minute, wall.hour, wall.day, wall.month, wall.isoweekday() % 7)
    return all(_holds(field, value) for field, value in zip(expression.split(), shown, strict=True))


def _holds(field: str, value: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        inside = span == "*" or int(low) <= value <= int(high or low)
        if inside and value % int(step or 1) == 0:
            return True
    return False


def oracle(expression: str, zone: str, after: datetime) -> datetime | None:
    """Look at each minute: a rhythm ticks whenever the wall matches; an event of a day once, late when leapt over."""
    hourly = expression.split()[1].startswith("*")
    there = ZoneInfo(zone)
    ticks: list[datetime] = []
    seen: set[datetime] = set()
    before: datetime | None = None
    for n in range(-12 * 60, 36 * 60):
        at = after.replace(second=0) + timedelta(minutes=n)
        wall = at.astimezone(there).replace(tzinfo=UTC, fold=0)
        leapt = (wall - before) // MINUTE - 1 if before is not None else 0
        lost = [wall + MINUTE * k for k in range(-leapt, 0)] if not hourly else []
        ticks += [at + (gone - wall) + leapt * MINUTE for gone in lost if matches(expression, gone)]
        if matches(expression, wall) and (hourly or wall not in seen):
            ticks.append(at)
        seen.add(wall)
        before = wall
    return min((tick for tick in ticks if tick > after), default=None)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(HOURLY + DAILY),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.integers(-600, 1500),
    st.integers(0, 59),
)
def test_the_next_tick_is_what_looking_at_every_minute_finds(
    expression: str, zone: str, day: datetime, minute: int, second: int
) -> None:
    after = day + timedelta(minutes=minute, seconds=second)
    wanted = oracle(expression, zone, after)
    found = next_tick(expression, zone, int(after.timestamp()) * 1_000_000)
    at = datetime.fromtimestamp(found / 1_000_000, UTC)
    assert wanted is None or at == wanted
    assert wanted is not None or at >= after + timedelta(hours=35)
