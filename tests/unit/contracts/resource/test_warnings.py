"""What is accepted and pointed at: files of nagi.io compile unchanged, and nothing of them is silently ignored."""

from __future__ import annotations

import pytest

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.model import Settings
from setpoint.contracts.resource.support import WITHOUT_MEANING
from tests.unit.contracts.resource.project import CONDITIONS, SYNC, asset, conditions, document, faults_of, result_of

NAGI = """\
backend:
  type: gcs
  bucket: b
  prefix: p
stateDir: ~/.nagi
nagiDir: ~/.nagi
defaultTimeout: 30m
terminationGracePeriodSeconds: 30
maxControllers: 4
maxEvaluateConcurrency: 5
maxSyncConcurrency: 2
lockTtlSeconds: 120
lockRetryIntervalSeconds: 60
lockRetryMaxAttempts: 2
maxConsecutiveSyncFailures: 5
cooldownInitialSecs: 10
cooldownMaxSecs: 100
"""


def warnings_of(*documents: str, settings: str = "") -> tuple[Fault, ...]:
    result = result_of(*documents, files={"nagi.yaml": settings})
    assert result.faults == ()
    assert {warning.severity for warning in result.warnings} <= {"warning"}
    return result.warnings


def test_settings_of_nagi_compile_unchanged_and_what_has_no_meaning_is_told() -> None:
    result = result_of(asset(), CONDITIONS, SYNC, files={"nagi.yaml": NAGI})
    assert result.faults == ()
    assert result.compiled is not None
    assert result.compiled.settings == Settings(
        default_timeout_s=1800.0,
        max_evaluate_concurrency=5,
        max_sync_concurrency=2,
        max_consecutive_sync_failures=5,
        cooldown_initial_s=10.0,
        cooldown_max_s=100.0,
        lock_retry_interval_s=60.0,
        lock_retry_max_attempts=2,
        lock_ttl_s=120.0,
    )
    assert [(warning.line, warning.message.partition(" ")[0]) for warning in result.warnings] == [
        (1, "backend"), (5, "stateDir"), (6, "nagiDir"), (8, "terminationGracePeriodSeconds"), (9, "maxControllers"),
    ]  # fmt: skip
    assert {(one.code, one.file, one.column) for one in result.warnings} == {("ignored", "nagi.yaml", 1)}


def test_every_row_of_the_table_is_a_warning_somewhere() -> None:
    found = {f"settings.{warning.message.partition(' ')[0]}" for warning in warnings_of(asset("{}"), settings=NAGI)}
    overlay = asset("{onDrift: [{conditions: there, sync: write, mergePosition: afterOrigin}]}")
    (merge,) = warnings_of(overlay, CONDITIONS, SYNC)
    assert (merge.code, merge.line, merge.column) == ("ignored", 4, 51)
    assert found | {"Asset.spec.onDrift.*.mergePosition"} == set(WITHOUT_MEANING)


def test_what_is_ignored_must_have_the_right_shape_all_the_same() -> None:
    assert [fault.code for fault in faults_of(files={"nagi.yaml": "maxControllers: many\n"})] == ["wrong-type"]
    assert [fault.code for fault in faults_of(files={"nagi.yaml": "backend: {type: ftp}\n"})] == ["wrong-value"]


@pytest.mark.parametrize("settings", ["notify: {slack: {channel: c}}\n", "export: {connection: c, dataset: d}\n"])
def test_what_would_be_missed_is_still_a_fault(settings: str) -> None:
    assert [fault.code for fault in faults_of(files={"nagi.yaml": settings})] == ["not-supported"]


def test_a_warning_changes_no_byte() -> None:
    plain = result_of(asset(), CONDITIONS, SYNC, files={"nagi.yaml": ""})
    assert plain.warnings == ()
    assert result_of(asset(), CONDITIONS, SYNC, files={"nagi.yaml": "stateDir: x\n"}).encoded == plain.encoded


def test_warnings_come_beside_faults() -> None:
    result = result_of(asset("{upstreams: [gone]}"), files={"nagi.yaml": "stateDir: x\n"})
    assert [fault.code for fault in result.faults] == ["unknown-reference"]
    assert [warning.code for warning in result.warnings] == ["ignored"]


UNTIMED = conditions("[{name: c, type: Command, run: [x]}]")


def test_an_asset_that_nothing_looks_at_again_is_pointed_at() -> None:
    (warning,) = warnings_of(asset(), UNTIMED, SYNC)
    assert (warning.code, warning.file, warning.line, warning.column) == ("never-due", "resources/x.yaml", 3, 18)


@pytest.mark.parametrize(
    "documents",
    [
        (asset(), CONDITIONS, SYNC),
        (asset(), conditions("[{name: c, type: Command, run: [x], checkAt: '0 6 * * *'}]"), SYNC),
        (asset("{}", "up"), asset("{upstreams: [up], onDrift: [{conditions: there}]}"), UNTIMED),
        (asset("{autoSync: {onChange: true}, onDrift: [{conditions: there}]}"), UNTIMED),
        (asset("{}"),),
    ],
)
def test_an_asset_that_something_looks_at_is_not(documents: tuple[str, ...]) -> None:
    assert warnings_of(*documents) == ()


def test_no_more_warnings_are_shown_than_anybody_reads_and_they_hide_no_fault() -> None:
    many = [asset("{onDrift: [{conditions: there}]}", f"a{n}") for n in range(300)]
    found = warnings_of(*many, UNTIMED)
    assert len(found) == 201
    assert (found[-1].code, found[-1].severity) == ("too-many-faults", "warning")
    result = result_of(*many, UNTIMED, asset("{upstreams: [gone]}", "z"))
    assert [fault.code for fault in result.faults] == ["unknown-reference"]


def test_orphan_timeout_of_a_sync_stands_over_that_of_the_settings() -> None:
    patient = document("Sync", "write", "{orphanTimeout: 2h, run: {type: Command, args: [x]}}")
    result = result_of(asset(), CONDITIONS, patient)
    assert result.compiled is not None
    sync = result.compiled.assets["a"].pairs[0].sync
    assert sync is not None
    assert sync.orphan_timeout_s == 7200.0
    (fault,) = faults_of(document("Sync", "write", "{orphanTimeout: 10s, run: {type: Command, args: [x]}}"))
    assert (fault.code, fault.line, fault.column) == ("bad-duration", 4, 23)
