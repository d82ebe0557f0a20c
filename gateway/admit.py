"""What may enter: bodies into requests, or a Problem that says which field is wrong. Pure.

Routes call this before anything is written. It knows the shapes and the rules that need no database; whether a session
exists, is open and has room is decided under its lock by ``enqueue``.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from gateway import shapes
from setpoint.contracts import ids, limits
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.command import TYPES, lane_of, parse_command
from setpoint.contracts.problem import Fault, Problem

S = TypeVar("S", bound=shapes.Sent)

_LABELS_MAX: Final = 64
_REASON_CHARS_MAX: Final = 500
_LABEL_BYTES_MAX: Final = 8192  # jsonb prints wider than it came; the column takes 16384
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{limits.IDEMPOTENCY_KEY_CHARS_MAX}}}")


@dataclass(frozen=True, slots=True)
class Request:
    """A command that may be enqueued. ``payload`` is JSON text; ``quota`` counts commands that have not ended."""

    type: str
    lane: int
    payload: str
    quota: int


def read_as(value: object, shape: type[S], prefix: str = "") -> S:
    """Read a JSON value as ``shape``. Raises Problem with a pointer (below ``prefix``) and the nearest right name."""
    if not isinstance(value, dict):
        raise Problem(
            "validation-failed",
            "the body is a JSON object",
            errors=[_fault("an object is wanted", prefix)],
        )
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise _shape_problem(text, prefix + _pointer(path), shape.__struct_fields__) from error


def command(sent: shapes.PostCommand) -> Request:
    """Judge a command other than ``apply``, whose payload is judged with its files. Raises Problem.

    The size comes first: all that follows is then done on the loop at once, in a few milliseconds at most.
    """
    most = limits.COMMAND_PAYLOAD_BYTES_MAX
    if len(canonical_json(sent.payload)) > most:
        raise Problem("payload-too-large", f"a payload has at most {most} bytes; larger input belongs in a file")
    try:
        parse_command(sent.type, sent.payload)
    except Problem as problem:
        raise _with_hints(problem, sent.type) from problem
    return request(sent.type, sent.payload)


def request(kind: str, payload: Mapping[str, Any]) -> Request:
    """Build the request of a command whose payload has been judged."""
    lane = lane_of(kind)
    return Request(kind, lane, canonical_json(payload).decode(), limits.UNENDED_MAX[lane])


def new_session(sent: shapes.CreateSession) -> shapes.CreateSession:
    """Judge a new session: its name is legal and no id, its labels are few and short. Raises Problem."""
    if sent.name is not None and (not ids.is_name(sent.name) or ids.is_uuid(sent.name)):
        hint = "lower-case letters, digits and ._- inside, at most 128 characters, and not a UUID"
        fault = Fault("name", f"{sent.name[:64]!r} is no legal name", pointer="/name", hint=hint)
        raise Problem(
            "validation-failed",
            f"{sent.name[:64]!r} is no legal name: {hint}",
            errors=[fault],
        )
    if len(sent.labels) > _LABELS_MAX or len(canonical_json(sent.labels)) > _LABEL_BYTES_MAX:
        detail = f"at most {_LABELS_MAX} labels of together {_LABEL_BYTES_MAX} bytes are kept"
        raise Problem(
            "validation-failed",
            detail,
            errors=[Fault("labels", detail, pointer="/labels")],
        )
    return sent


def break_lock(sent: shapes.BreakLock) -> shapes.BreakLock:
    """Judge the breaking of a lock: it has a reason, and a short one. Raises Problem."""
    if not sent.reason.strip() or len(sent.reason) > _REASON_CHARS_MAX:
        detail = f"a reason of 1 to {_REASON_CHARS_MAX} characters is wanted: it is kept with who did it"
        raise Problem("validation-failed", detail, errors=[_fault(detail, "/reason")])
    return sent


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Read the Idempotency-Key, None when there is none. Raises Problem invalid-request for an unusable one."""
    key = headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            "invalid-request",
            f"Idempotency-Key is 1 to {limits.IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters",
        )
    return key


def fingerprint(method: str, route: str, subject: str, body: object) -> bytes:
    """Return what makes two requests the same one: an Idempotency-Key answers for one fingerprint only."""
    return hashlib.sha256(canonical_json([method, route, subject, body])).digest()


def tenant_of_alias(body: object, tenant_id: str, tenant_name: str) -> object:
    """Take ``tenant_id`` out of a body sent to an unversioned route. Raises Problem forbidden when it is another's."""
    if not isinstance(body, dict) or "tenant_id" not in body:
        return body
    if body["tenant_id"] not in (tenant_id, tenant_name):
        raise Problem("forbidden", "tenant_id in the body is not the tenant of this API key")
    return {key: value for key, value in body.items() if key != "tenant_id"}


def nearest(word: str, known: Collection[str]) -> str:
    """Return a hint with the nearest of a few known words, or all of them."""
    close = difflib.get_close_matches(word[:64], known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def _with_hints(problem: Problem, kind: str) -> Problem:
    """Add the nearest right name to the faults of ``parse_command``."""
    shape = TYPES.get(kind)
    if shape is None:
        return Problem(
            problem.code,
            problem.detail,
            errors=[_hinted(f, kind, TYPES) for f in problem.errors],
        )
    faults = []
    for fault in problem.errors:
        unknown = _UNKNOWN.match(fault.message)
        if unknown:
            message, pointer = (
                f"unknown field {unknown[1][:64]!r}",
                f"{fault.pointer}/{_escape(unknown[1])}",
            )
            fault = _hinted(
                Fault(fault.code, message, pointer=pointer),
                unknown[1],
                shape.__struct_fields__,
            )
        faults.append(fault)
    return Problem(
        problem.code,
        problem.detail,
        errors=faults or [_fault(problem.detail, "/payload")],
    )


def _shape_problem(text: str, pointer: str, known: Collection[str]) -> Problem:
    unknown = _UNKNOWN.match(text)
    if unknown is None:
        return Problem(
            "validation-failed",
            f"{pointer or 'the body'}: {text}",
            errors=[_fault(text, pointer)],
        )
    word = unknown[1]
    fault = Fault(
        "unknown-field",
        f"unknown field {word[:64]!r}",
        pointer=f"{pointer}/{_escape(word)}",
    )
    hinted = _hinted(fault, word, known)
    return Problem(
        "unknown-field",
        f"{pointer or 'the body'} has no field {word[:64]!r}",
        errors=[hinted],
    )


def _hinted(fault: Fault, word: str, known: Collection[str]) -> Fault:
    return Fault(fault.code, fault.message, pointer=fault.pointer, hint=nearest(word, known))


def _fault(message: str, pointer: str) -> Fault:
    return Fault("validation-failed", message, pointer=pointer)


def _pointer(path: str) -> str:
    """Turn the path of a decoding error (``$.a[0].b``) into a JSON pointer; an unnamed place ends it."""
    found = re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path)
    return "".join(f"/{_escape(name or index)}" for name, index in found)


def _escape(word: str) -> str:
    return word[:64].replace("~", "~0").replace("/", "~1")
