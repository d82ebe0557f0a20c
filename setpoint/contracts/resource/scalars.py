"""The values that fields of a manifest take: names, durations, commands, cron expressions. Used by the shapes.

Each refuses with the fault code as the type of its error (check.py) and a text that says what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import Annotated, Any, Final, TypeVar

from croniter import croniter
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from setpoint.contracts.ids import NAME
from setpoint.contracts.limits import LEASE_TTL_S, STEP_TIMEOUT_S_MAX
from setpoint.contracts.resource.cron import comes, timezones
from setpoint.contracts.resource.duration import parse_duration_s
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.source import excerpt

_INTERVAL_S_MIN: Final = 0.1
"""A shorter timer would be a hot loop."""

_DURATION_S_MAX: Final = 366 * 86_400.0

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CRON: Final = re.compile(r"[0-9*,/-]+( +[0-9*,/-]+){4}")
_TITLE_CHARS_MAX: Final = 128


def _duration(value: object) -> float:
    try:
        seconds = parse_duration_s(value)
    except ValueError as error:
        raise PydanticCustomError("bad-duration", "{text}", {"text": str(error)}) from None
    if seconds > _DURATION_S_MAX:
        raise PydanticCustomError("bad-duration", "{text}", {"text": f"{excerpt(value)} is longer than 366 days"})
    return seconds


def _interval(seconds: float) -> float:
    if seconds < _INTERVAL_S_MIN:
        raise PydanticCustomError("bad-duration", "{text}", {"text": f"an interval is at least {_INTERVAL_S_MIN:g}s"})
    return seconds


def _timeout(seconds: float) -> float:
    if not 0 < seconds <= STEP_TIMEOUT_S_MAX:
        text = f"a timeout is more than 0 and at most {STEP_TIMEOUT_S_MAX / 3600:g}h"
        raise PydanticCustomError("bad-duration", "{text}", {"text": text})
    return seconds


def _beyond_lease(seconds: float) -> float:
    if seconds <= LEASE_TTL_S:
        text = f"orphanTimeout is more than {LEASE_TTL_S:g}s, the life of a lease, so that a run can be adopted"
        raise PydanticCustomError("bad-duration", "{text}", {"text": text})
    return seconds


def _name(text: str) -> str:
    if NAME.fullmatch(text) is None:
        rule = "1 to 128 of a-z, 0-9, '.', '_' and '-', with a letter or digit first and last"
        raise PydanticCustomError("bad-name", "{text}", {"text": f"{excerpt(text)} is not a name: {rule}"})
    return text


def _title(text: str) -> str:
    if not 1 <= len(text) <= _TITLE_CHARS_MAX or not text.isprintable() or text != text.strip():
        rule = f"1 to {_TITLE_CHARS_MAX} printable characters without spaces around them"
        raise PydanticCustomError("bad-name", "{text}", {"text": f"{excerpt(text)} is not a name: {rule}"})
    return text


def _env_name(text: str) -> str:
    if _ENV_NAME.fullmatch(text) is None:
        rule = "letters, digits and '_', no digit first"
        text = f"{excerpt(text)} is not the name of a variable: {rule}"
        raise PydanticCustomError("bad-name", "{text}", {"text": text})
    return text


def _argv(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words or not words[0]:
        raise PydanticCustomError("wrong-value", "{text}", {"text": "the first word, the program to run, is missing"})
    return words


def _cron(text: str) -> str:
    if len(text) > _TITLE_CHARS_MAX or _CRON.fullmatch(text) is None or not croniter.is_valid(text):
        rule = "minute, hour, day of month, month, day of week, e.g. '*/5 6-18 * * 1-5'"
        raise PydanticCustomError("bad-cron", "{text}", {"text": f"{excerpt(text)} is not a cron expression: {rule}"})
    if not comes(text):
        raise PydanticCustomError("bad-cron", "{text}", {"text": f"{excerpt(text)} names a day that never comes"})
    return text


def _timezone(text: str) -> str:
    if text not in timezones():
        hint = nearest_hint(text, timezones()) or "it is one such as UTC or Europe/Berlin"
        raise PydanticCustomError("wrong-value", "{text}", {"text": f"there is no time zone {excerpt(text)}; {hint}"})
    return text


T = TypeVar("T")
S = TypeVar("S", bound=Sized)


def not_empty(value: S) -> S:
    """Refuse an empty list or mapping; unlike a length in the shape it says nothing when the items are wrong."""
    if len(value) == 0:
        raise PydanticCustomError("wrong-value", "{text}", {"text": "the value must not be empty"})
    return value


ListOf = Annotated[tuple[T, ...], Strict(False)]
"""A YAML sequence; only the sequence itself is read loosely, its items are not."""

_TIME_SCHEMA: Final[dict[str, Any]] = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}
Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema(_TIME_SCHEMA)]
Interval = Annotated[float, BeforeValidator(_duration), AfterValidator(_interval), WithJsonSchema(_TIME_SCHEMA)]
Timeout = Annotated[float, BeforeValidator(_duration), AfterValidator(_timeout), WithJsonSchema(_TIME_SCHEMA)]
OrphanTimeout = Annotated[Timeout, AfterValidator(_beyond_lease)]
Name = Annotated[str, AfterValidator(_name)]
Title = Annotated[str, AfterValidator(_title)]
Text = Annotated[str, Field(min_length=1)]
Argv = Annotated[ListOf[str], AfterValidator(_argv)]
Env = dict[Annotated[str, AfterValidator(_env_name)], str]
Cron = Annotated[str, AfterValidator(_cron)]
Timezone = Annotated[str, AfterValidator(_timezone)]


class Shape(BaseModel):
    """A mapping whose unknown keys are errors and whose values are of exactly the type that is asked for."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )
