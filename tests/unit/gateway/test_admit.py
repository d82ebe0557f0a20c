"""Admission: names, keys, fingerprints, payloads and the pointers that faults carry."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import admit, shapes
from setpoint.contracts.command import TYPES
from setpoint.contracts.limits import COMMAND_PAYLOAD_BYTES_MAX, LANE_CONTROL, LANE_WORK, UNENDED_MAX
from setpoint.contracts.problem import Problem

GOOD: dict[str, dict[str, Any]] = {
    "evaluate": {},
    "sync": {"select": ["a"]},
    "cancel": {"asset": "a"},
    "suspend": {"select": ["a"]},
    "resume": {"select": ["a"]},
    "halt": {},
    "unhalt": {},
    "recover": {"reason": "mended"},
    "close": {},
    "tool": {"name": "echo", "args": {"text": "x"}},
}


def fault_of(act: Any, *args: Any) -> tuple[str, str, str]:
    with pytest.raises(Problem) as caught:
        act(*args)
    (fault,) = caught.value.errors
    return caught.value.code, fault.pointer, fault.hint


def test_every_command_type_but_apply_is_admitted() -> None:
    assert set(GOOD) | {"apply"} == set(TYPES)
    for kind, payload in GOOD.items():
        request = admit.command(shapes.PostCommand(kind, payload))
        lane = LANE_WORK if kind in ("evaluate", "sync", "tool") else LANE_CONTROL
        assert (request.type, request.lane, request.quota) == (kind, lane, UNENDED_MAX[lane])


def test_equal_payloads_are_equal_text() -> None:
    one = admit.request("sync", {"stages": ["run"], "select": ["a"]})
    two = admit.request("sync", {"select": ["a"], "stages": ["run"]})
    assert one == two


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("evaluate", {"selct": []}, ("unknown-field", "/payload/selct", "did you mean 'select'?")),
        ("evaluate", {"a/b~c": 1}, ("unknown-field", "/payload/a~1b~0c", "known are dry_run, exclude, select")),
        ("evaluate", {"select": ["a", "+"]}, ("validation-failed", "/payload/select/1", "")),
        ("resume", {"select": ["a"], "exclude": ["label:"]}, ("validation-failed", "/payload/exclude/0", "")),
        ("hallt", {}, ("validation-failed", "/type", "did you mean 'halt'?")),
        ("sync", {}, ("validation-failed", "/payload", "")),
        ("sync", {"select": []}, ("validation-failed", "/payload", "")),
        ("tool", {"name": "echo", "args": {"txt": ""}}, ("unknown-field", "/payload", "")),
    ],
)
def test_a_bad_payload_says_where(kind: str, payload: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert fault_of(admit.command, shapes.PostCommand(kind, payload)) == expected


def test_the_size_of_a_payload_is_judged_before_anything_in_it() -> None:
    words = ["+"] * COMMAND_PAYLOAD_BYTES_MAX  # each would be a fault of its own, and is not looked at
    with pytest.raises(Problem) as caught:
        admit.command(shapes.PostCommand("sync", {"select": words}))
    assert caught.value.code == "payload-too-large"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"nmae": "x"}, ("unknown-field", "/nmae", "did you mean 'name'?")),
        ({"name": 5}, ("validation-failed", "/name", "")),
        ({"labels": {"a": 1}}, ("validation-failed", "/labels", "")),
        ([], ("validation-failed", "", "")),
        (None, ("validation-failed", "", "")),
    ],
)
def test_a_bad_body_says_where(body: object, expected: tuple[str, str, str]) -> None:
    assert fault_of(admit.read_as, body, shapes.CreateSession) == expected


def test_a_field_inside_a_list_has_its_index() -> None:
    body = {"files": [{"path": "a", "sha256": "0" * 64}, {"path": "b", "sha256": "x"}]}
    code, pointer, _ = fault_of(admit.read_as, body, shapes.ApplyProject, "/payload")
    assert (code, pointer.rsplit("/", 1)[1]) == ("validation-failed", "sha256")


def test_a_fingerprint_is_of_everything_that_makes_a_request() -> None:
    base = ("POST", "/r", "s", {"a": 1, "b": [2]})
    assert admit.fingerprint(*base) == admit.fingerprint("POST", "/r", "s", {"b": [2], "a": 1})
    others = [("PUT", *base[1:]), ("POST", "/q", *base[2:]), (*base[:2], "t", base[3]), (*base[:3], {"a": 1})]
    assert len({admit.fingerprint(*other) for other in [base, *others]}) == 5


@pytest.mark.parametrize("key", ["a", "x" * 255, "!~", "0b0b7c0e-3f9b"])
def test_a_good_key_is_kept(key: str) -> None:
    assert admit.idempotency_key({"Idempotency-Key": key}) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a\n", "\0"])
def test_a_bad_key_is_refused(key: str) -> None:
    with pytest.raises(Problem, match="Idempotency-Key"):
        admit.idempotency_key({"Idempotency-Key": key})


def test_no_key_is_no_key() -> None:
    assert admit.idempotency_key({}) is None


def test_the_tenant_of_an_alias_must_be_the_keys() -> None:
    for named in ("t-id", "t-name"):
        assert admit.tenant_of_alias({"tenant_id": named, "name": "x"}, "t-id", "t-name") == {"name": "x"}
    assert admit.tenant_of_alias({"name": "x"}, "t-id", "t-name") == {"name": "x"}
    assert admit.tenant_of_alias([1], "t-id", "t-name") == [1]
    for foreign in ("other", None, 5, ["t-id"], ""):
        with pytest.raises(Problem, match="forbidden"):
            admit.tenant_of_alias({"tenant_id": foreign}, "t-id", "t-name")


def test_a_session_name_is_a_name_and_no_id() -> None:
    admit.new_session(shapes.CreateSession("a.b-c_9"))
    for bad in ("", "A", "a" * 129, "01a1fdcd-d2e4-7ea3-806f-c8fb7952501a"):
        with pytest.raises(Problem, match="no legal name"):
            admit.new_session(shapes.CreateSession(bad))
