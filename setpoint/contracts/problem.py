"""The closed vocabulary of expected errors: HTTP status, exit code of the CLI, and whether a retry can help.

The gateway and the broker render a Problem as ``application/problem+json``; the CLI turns it into an exit code.
An error that is not in ``CODES`` is a bug and ends as ``internal``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

TYPE_PREFIX: Final = "https://setpoint.dev/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means to each reader: ``status`` for HTTP, ``exit_code`` for the CLI, ``retry`` for a client."""

    status: int
    exit_code: int
    retry: bool
    title: str


CODES: Final[Mapping[str, Kind]] = {
    "invalid-request": Kind(400, 2, False, "The request is not well formed"),
    "unauthenticated": Kind(401, 3, False, "The credential is missing, unknown or revoked"),
    "forbidden": Kind(403, 3, False, "The credential does not allow this"),
    "not-found": Kind(404, 4, False, "There is no such object"),
    "conflict": Kind(409, 5, False, "Another object is in the way"),
    "invalid-transition": Kind(409, 5, False, "The object is not in a state that allows this"),
    "stale-epoch": Kind(409, 5, False, "A newer owner has taken over"),
    "gone": Kind(410, 4, False, "The object is no more"),
    "cursor-too-old": Kind(410, 5, False, "The cursor is older than what is kept"),
    "precondition-failed": Kind(412, 5, False, "The object has changed since it was read"),
    "payload-too-large": Kind(413, 2, False, "The body is larger than allowed"),
    "unsupported-media-type": Kind(415, 2, False, "The content type is not understood here"),
    "validation-failed": Kind(422, 2, False, "The content breaks a rule"),
    "unknown-field": Kind(422, 2, False, "A field is not known"),
    "dependency-cycle": Kind(422, 2, False, "The assets depend on each other in a circle"),
    "unknown-reference": Kind(422, 2, False, "A name refers to nothing"),
    "idempotency-mismatch": Kind(422, 5, False, "The Idempotency-Key was used for another request"),
    "limit-unsupported": Kind(422, 2, False, "A limit cannot be enforced on this host"),
    "halted": Kind(423, 5, False, "Syncs of the session are halted"),
    "suspended": Kind(423, 5, False, "The asset is suspended"),
    "locked": Kind(423, 5, True, "Another execution holds the lock"),
    "precondition-required": Kind(428, 5, False, "The request must name the version it changes"),
    "quota-exceeded": Kind(429, 8, True, "A quota is used up"),
    "rate-limited": Kind(429, 8, True, "Too many requests"),
    "inbox-full": Kind(429, 8, True, "Too many commands of this session have not ended"),
    "internal": Kind(500, 7, True, "Setpoint made a mistake"),
    "no-capacity": Kind(503, 7, True, "No host has room"),
    "unavailable": Kind(503, 7, True, "A part of the service cannot be reached"),
}

CLIENT_GONE: Final = 499  # in logs only; never sent


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in what a person wrote, and where: ``line`` and ``column`` count from 1, 0 means unknown.

    ``code`` is stable and finer than a problem code, e.g. ``yaml.duplicate-key``; ``pointer`` is an RFC 6901 pointer
    into a JSON body; ``hint`` says what to type instead. A warning is about something that is accepted all the same.
    """

    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    pointer: str = ""
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def as_json(self) -> dict[str, object]:
        """Return the fault as the ``errors[]`` element of a problem document, empty fields left out."""
        fields: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "hint": self.hint,
            "severity": "" if self.severity == "error" else self.severity,
        }
        return {key: value for key, value in fields.items() if value}


class Problem(Exception):
    """An expected error on its way to the caller. ``code`` is one of CODES; ``detail`` says what to do."""

    def __init__(
        self, code: str, detail: str, *, errors: Sequence[Fault] = (), retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.kind = CODES[code]
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s

    def document(self, request_id: str = "", instance: str = "") -> dict[str, object]:
        """Return the RFC 9457 document of this problem."""
        body: dict[str, object] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = [fault.as_json() for fault in self.errors]
        if request_id:
            body["request_id"] = request_id
        if instance:
            body["instance"] = instance
        return body
