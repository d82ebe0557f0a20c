"""Bytes from strangers into a JSON value, strictly and at bounded cost. Pure.

Stricter than the standard library: no duplicate keys, no NaN or infinity, nothing nested deeper than JSON_DEPTH_MAX,
no text that Postgres cannot hold. The depth is known before anything recursive sees the bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, Final, NoReturn

from setpoint.contracts import codec
from setpoint.contracts.limits import JSON_DEPTH_MAX, JSON_VALUES_MAX
from setpoint.contracts.problem import Problem

# Always matches at a quote, so the scan is linear even when the string never ends.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")  # which kind a bracket is does not matter for the depth
_RISKY: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_INTEGER_CHARS_MAX: Final = 19
_INTEGER_MAX: Final = 2**63 - 1


def parse(content: bytes) -> object:
    """Return the JSON value in ``content``. Raises Problem invalid-request saying what is wrong with it.

    Raises Problem payload-too-large for what would be too many values: the parser holds the interpreter for all of it.
    """
    # Commas and brackets in texts count too: nothing that is taken here has nearly so many of either.
    if sum(content.count(sign) for sign in (b",", b"[", b"{")) > JSON_VALUES_MAX:
        raise Problem("payload-too-large", f"the body has more than {JSON_VALUES_MAX} values")
    too_deep = _is_deeper(content, JSON_DEPTH_MAX)
    try:
        value: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except UnicodeDecodeError as error:
        raise Problem("invalid-request", f"the body is not UTF-8 from byte {error.start} on") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem("invalid-request", f"the body is not JSON: {error.msg} at {where}") from error
    if too_deep:
        raise _depth_problem()
    if _RISKY.search(content) and (fault := codec.unstorable(value)):
        raise Problem("invalid-request", f"the body contains {fault}, which cannot be stored")
    return value


def _is_deeper(content: bytes, depth: int) -> bool:
    """Tell whether brackets nest deeper than ``depth``; raises at once when they are too deep to be parsed safely.

    Each pass takes away the innermost pairs, so a well-formed value of depth n is gone after n passes.
    """
    if content.count(b"[") + content.count(b"{") <= depth:
        return False
    brackets = _STRING.sub(_nothing, content).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    if len(brackets) > 2 * depth:
        raise _depth_problem()
    return bool(brackets)


def _nothing(_: re.Match[bytes]) -> bytes:
    """Replace a string by nothing: a function, so that the interpreter can turn to other threads in between."""
    return b""


def _depth_problem() -> Problem:
    return Problem(
        "invalid-request",
        f"the body is nested deeper than {JSON_DEPTH_MAX} levels, or its brackets do not match",
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise Problem(
            "invalid-request",
            f"the body has the key {twice[:64]!r} twice in one object",
        )
    return found


def _no_constant(word: str) -> NoReturn:
    raise Problem("invalid-request", f"the body contains {word}, which is not JSON")


def _bounded_int(text: str) -> int:
    if len(text.lstrip("-")) > _INTEGER_CHARS_MAX or abs(int(text)) > _INTEGER_MAX:
        raise Problem("invalid-request", "the body contains an integer of more than 64 bits")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Problem("invalid-request", "the body contains a number that is too large")
    return value
