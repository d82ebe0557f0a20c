"""Which clock tokens, runs and paths are let in."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sandboxd.core.admit import path_fault, spec_fault, token_fault
from sandboxd.workspace import ManifestRefused, parse_manifest
from setpoint.contracts import limits
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.probe import Probe
from setpoint.contracts.run import ClockToken, RunSpec, Step

NOW = ClockToken("boot", "ledger", "inc", 1000.0)
ID = "00000000-0000-4000-8000-000000000001"
SPEC = RunSpec(ID, ID, ID, (1, 1), 1, 1, (Step(0, "tool", "t", ("true",), 1.0),))


def test_a_token_is_good_for_a_lease_and_not_longer() -> None:
    assert token_fault(NOW, NOW, 3.0) is None
    assert token_fault(replace(NOW, clock_s=997.0), NOW, 3.0) is None
    assert "old" in str(token_fault(replace(NOW, clock_s=996.9), NOW, 3.0))
    assert token_fault(replace(NOW, clock_s=1.0), NOW, age_s_max=None) is None


@pytest.mark.parametrize("field", ["boot_id", "ledger_id", "incarnation"])
def test_a_token_of_elsewhere_is_refused_at_any_age(field: str) -> None:
    other = replace(NOW, **{field: "other"})
    assert token_fault(other, NOW, 3.0) and token_fault(other, NOW, age_s_max=None)


def test_a_token_from_the_future_is_refused() -> None:
    assert "ahead" in str(token_fault(replace(NOW, clock_s=1000.1), NOW, 3.0))


def test_a_plain_run_is_let_in() -> None:
    assert spec_fault(SPEC) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "x"},
        {"session": "../x"},
        {"tenant": ""},
        {"steps": ()},
        {"steps": SPEC.steps * 2},
        {"steps": tuple(replace(SPEC.steps[0], index=n) for n in range(limits.RUN_STEPS_MAX + 1))},
        {"steps": (replace(SPEC.steps[0], argv=()),)},
        {"steps": (replace(SPEC.steps[0], argv=("a", "\ud800")),)},
        {"steps": (replace(SPEC.steps[0], timeout_s=limits.STEP_TIMEOUT_S_MAX + 1),)},
        {"steps": (replace(SPEC.steps[0], timeout_s=float("nan")),)},
        {"steps": (replace(SPEC.steps[0], env=(("", "x"),)),)},
        {"orphan_timeout_s": 0.0},
        {"orphan_timeout_s": float("nan")},
    ],
)
def test_a_run_that_cannot_be_carried_out_is_named(changes: dict[str, object]) -> None:
    assert spec_fault(replace(SPEC, **changes))


ASKED = Probe("sqlite", "data/sales.db", "SELECT true")


def asking(**changes: object) -> RunSpec:
    step = Step(0, "condition", "c", (), 1.0, probe=replace(ASKED, **changes))
    return replace(SPEC, steps=(step,))


def test_a_probe_needs_no_command() -> None:
    assert spec_fault(asking()) is None
    assert spec_fault(asking(max_age_s=0.0)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/etc/passwd"},
        {"path": "../other/sales.db"},
        {"path": ""},
        {"query": ""},
        {"query": "SELECT '\0'"},
        {"query": "\ud800"},
        {"query": "x" * (limits.ARGUMENT_BYTES_MAX + 1)},
        {"max_age_s": -1.0},
        {"max_age_s": float("nan")},
        {"max_age_s": float("inf")},
    ],
)
def test_a_probe_that_cannot_be_asked_is_named(changes: dict[str, object]) -> None:
    assert str(spec_fault(asking(**changes))).startswith("step 0: ")


@pytest.mark.parametrize("path", ["a", "a/b.txt", "..a/b", "ä/ö", "a b", "-", "a/..b"])
def test_ordinary_paths_are_let_in(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "..", "../a", "a/..", "a/../b", "a//b", "a/", ".", "./a", "a\0", "a\\b"]
)
def test_paths_that_leave_the_workspace_are_not(path: str) -> None:
    assert path_fault(path)


def test_a_manifest_names_its_first_fault() -> None:
    sha = "0" * 64
    assert parse_manifest(b'{"files":[]}') == {}
    nested = [{"path": "a", "mode": 1, "sha256": sha}, {"path": "a/b/c", "mode": 1, "sha256": sha}]
    with pytest.raises(ManifestRefused, match="file and a directory"):
        parse_manifest(canonical_json({"files": nested}))
    with pytest.raises(ManifestRefused, match="twice"):
        parse_manifest(canonical_json({"files": nested[:1] * 2}))
    with pytest.raises(ManifestRefused, match="not a manifest"):
        parse_manifest(canonical_json({"files": [], "extra": 1}))
