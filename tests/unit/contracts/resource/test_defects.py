"""Mistakes of the original that compile does not repeat, where no other test of this directory is about them."""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.delta import diff
from tests.unit.contracts.resource.project import (
    CONDITIONS,
    SYNC,
    asset,
    compiled,
    conditions,
    document,
    faults_of,
    only,
    result_of,
    the_asset,
)


def test_an_asset_that_does_not_resolve_is_no_trouble_to_those_that_name_it() -> None:
    """The original ends in a panic instead of naming the missing sync."""
    broken = asset("{onDrift: [{conditions: there, sync: gone}]}")
    fault = only(broken, asset("{upstreams: [a]}", "b"), asset("{upstreams: [b]}", "c"), CONDITIONS)
    assert (fault.code, fault.line, fault.column) == ("unknown-reference", 4, 44)
    assert "'gone'" in fault.message


def test_two_assets_of_one_name_are_not_merged_silently() -> None:
    fault = only(asset("{}"), asset("{upstreams: [b]}"), asset("{}", "b"))
    assert (fault.code, fault.line, fault.hint) == ("duplicate-name", 8, "the first is at resources/x.yaml:3")


def test_an_upstream_that_is_named_twice_is_one_edge() -> None:
    made = the_asset(asset("{upstreams: [b, c, b]}"), asset("{}", "b"), asset("{}", "c"))
    assert made.upstreams == ("b", "c")


def test_both_missing_references_of_an_entry_are_reported() -> None:
    faults = faults_of(asset("{onDrift: [{conditions: x, sync: y}, {conditions: z}]}"))
    assert [fault.column for fault in faults] == [31, 40, 57]


@pytest.mark.parametrize("spec", ["{run: {type: Command, args: ['']}}", "{run: {type: Command, args: []}}"])
def test_a_step_without_a_program_is_refused_like_a_condition_without_one(spec: str) -> None:
    assert only(document("Sync", "write", spec)).code == "wrong-value"
    assert only(conditions("[{name: c, type: Command, run: ['']}]")).code == "wrong-value"


def test_a_program_that_a_template_makes_empty_is_refused() -> None:
    check = conditions("[{name: c, type: Command, run: ['{{ sync.program }}']}]")
    fault = only(asset("{onDrift: [{conditions: there, with: {program: ''}}]}"), check)
    assert (fault.code, fault.line) == ("wrong-value", 4)


def test_a_limit_of_nothing_would_never_run_anything() -> None:
    for key in ("maxEvaluateConcurrency", "maxSyncConcurrency", "maxConsecutiveSyncFailures", "lockRetryMaxAttempts"):
        fault = only(files={"nagi.yaml": f"{key}: 0\n"})
        assert (fault.code, fault.line, fault.column) == ("wrong-value", 1, len(key) + 3)


def test_templates_work_in_arguments_environments_queries_and_columns_of_all_resources() -> None:
    """The original fills in arguments alone, with one space inside the braces, and leaves what it does not know."""
    entry = "{connection: db, onDrift: [{conditions: there, sync: write, with: {c: at}}]}"
    check = conditions(
        "[{name: c, type: Command, run: ['{{asset.name}}'], interval: 1m, env: {A: '{{  sync.c }}'}},"
        " {name: f, type: Freshness, maxAge: 1h, interval: 1m, column: '{{sync.c}}'},"
        " {name: q, type: SQL, query: 'select {{ asset.name }}'}]"
    )
    sync = document("Sync", "write", "{run: {type: Command, args: [x, '{{sync.c}}'], env: {B: '{{ asset.name}}'}}}")
    made = the_asset(asset(entry), check, sync, document("Connection", "db", "{type: sqlite, path: x}"))
    command, fresh, query = made.conditions()
    assert (command.argv, command.env) == (("a",), (("A", "at"),))
    assert fresh.probe is not None
    assert '"at"' in fresh.probe.query
    assert query.probe is not None
    assert query.probe.query == "select a"
    stage = made.pairs[0].sync
    assert stage is not None
    assert (stage.run.argv, stage.run.env) == (("x", "at"), (("B", "a"),))


def test_with_may_use_the_asset_and_is_looked_at_once_in_whatever_order() -> None:
    """The original leaves ``{{ asset.name }}`` in it and fills keys into each other in the order of a hash."""
    check = conditions("[{name: c, type: Command, run: [x, '{{ sync.a }}', '{{ sync.b }}'], interval: 1m}]")
    made = the_asset(asset("{onDrift: [{conditions: there, with: {a: '+{{ asset.modelName }}', b: '{{.a}}'}}]}"), check)
    assert made.conditions()[0].argv == ("x", "+a", "{{.a}}")


def test_an_asset_that_left_the_project_is_not_acted_on_again() -> None:
    before = compiled(asset("{}"), asset("{}", "b"))
    after = compiled(asset("{}"))
    assert set(after.assets) == {"a"}
    assert diff(before, after).removed == ("b",)


def test_conditions_may_be_shared_by_assets_and_names_need_only_differ_within_one() -> None:
    both = (asset(), asset("{onDrift: [{conditions: there, sync: write}]}", "b"))
    assert set(compiled(*both, CONDITIONS, SYNC).assets) == {"a", "b"}


def test_an_empty_document_between_others_is_none() -> None:
    assert result_of(asset("{}"), "", asset("{}", "b")).faults == ()


def test_a_profile_that_cannot_be_read_fails_no_asset_that_only_runs_commands() -> None:
    """What is wrong with a connection is told once, where it is; the original fails every asset that names it."""
    server = document("Connection", "db", "{type: bigquery, project: p}")
    faults = faults_of(asset("{connection: db, onDrift: [{conditions: there}]}"), CONDITIONS, server)
    assert [(fault.code, fault.line) for fault in faults] == [("missing-field", 14)]
