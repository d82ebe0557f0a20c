"""The closed vocabulary of errors: statuses, exit codes, and the document that is sent."""

from __future__ import annotations

import pytest

from setpoint.contracts.problem import CODES, TYPE_PREFIX, Fault, Problem

STATUSES = {
    "invalid-request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not-found": 404,
    "conflict": 409,
    "invalid-transition": 409,
    "stale-epoch": 409,
    "gone": 410,
    "cursor-too-old": 410,
    "precondition-failed": 412,
    "payload-too-large": 413,
    "unsupported-media-type": 415,
    "validation-failed": 422,
    "unknown-field": 422,
    "dependency-cycle": 422,
    "unknown-reference": 422,
    "idempotency-mismatch": 422,
    "limit-unsupported": 422,
    "halted": 423,
    "suspended": 423,
    "locked": 423,
    "precondition-required": 428,
    "quota-exceeded": 429,
    "rate-limited": 429,
    "inbox-full": 429,
    "internal": 500,
    "no-capacity": 503,
    "unavailable": 503,
}


def test_the_codes_and_their_statuses_are_the_documented_ones() -> None:
    assert {code: kind.status for code, kind in CODES.items()} == STATUSES


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_makes_a_document(code: str) -> None:
    problem = Problem(code, "do this")
    body = problem.document("r1", "/v1/x")
    assert body == {
        "type": TYPE_PREFIX + code,
        "title": CODES[code].title,
        "status": STATUSES[code],
        "detail": "do this",
        "code": code,
        "request_id": "r1",
        "instance": "/v1/x",
    }
    assert str(problem) == f"{code}: do this"


def test_exit_codes_follow_the_statuses() -> None:
    by_status = {401: {3}, 403: {3}, 404: {4}, 409: {5}, 429: {8}, 500: {7}, 503: {7}, 400: {2}, 413: {2}}
    for kind in CODES.values():
        assert kind.exit_code in by_status.get(kind.status, {2, 4, 5})
        assert kind.exit_code in range(2, 9)


def test_what_may_pass_later_is_marked_so() -> None:
    passing = {code for code, kind in CODES.items() if kind.retry}
    assert passing == {
        "locked",
        "quota-exceeded",
        "rate-limited",
        "inbox-full",
        "internal",
        "no-capacity",
        "unavailable",
    }


def test_a_code_that_is_not_in_the_list_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Problem("teapot", "no")


def test_faults_leave_out_what_is_not_known() -> None:
    problem = Problem(
        "validation-failed", "two faults", errors=[Fault("a", "b"), Fault("c", "d", "f.yaml", 3, 7, "/x", "h")]
    )
    assert problem.document()["errors"] == [
        {"code": "a", "message": "b"},
        {"code": "c", "message": "d", "file": "f.yaml", "line": 3, "column": 7, "pointer": "/x", "hint": "h"},
    ]
