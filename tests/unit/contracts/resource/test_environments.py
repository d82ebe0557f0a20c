"""What is in the environment of a command: its identity, its own values, and the variables given with the project."""

from __future__ import annotations

import pytest

from setpoint.contracts.limits import VARIABLE_BYTES_MAX, VARIABLES_MAX
from setpoint.contracts.resource.compile import compile_project
from tests.unit.contracts.resource.project import (
    CONDITIONS,
    SYNC,
    asset,
    conditions,
    document,
    faults_of,
    only,
    result_of,
    the_asset,
)

READER = document("Identity", "reader", "{type: env, env: {USER: reader, A: r, KEY: '${KEY}'}}")
WRITER = document("Identity", "writer", "{type: env, env: {USER: writer, B: w}}")
CHECK = "[{name: c, type: Command, run: [x], interval: 1m, env: {A: own}, identity: reader}]"


def sync(spec: str) -> str:
    return document("Sync", "write", spec)


def envs(*documents: str, **variables: str) -> dict[str, dict[str, str]]:
    made = the_asset(asset(), *documents, variables=variables)
    (condition,) = made.conditions()
    found = made.pairs[0].sync
    assert found is not None
    return {name: dict(stage.env) for name, stage in found.stages()} | {"condition": dict(condition.env)}


def test_an_identity_stands_under_the_own_environment_of_a_condition() -> None:
    found = envs(conditions(CHECK), SYNC, READER, KEY="k")
    assert found["condition"] == {"USER": "reader", "A": "own", "KEY": "k"}
    assert found["run"] == {}


def test_the_identity_of_a_stage_stands_in_the_place_of_that_of_its_sync() -> None:
    step = "{type: Command, args: [x], env: {A: own}}"
    pre = "{type: Command, args: [x], identity: reader, env: {B: own}}"
    found = envs(CONDITIONS, sync(f"{{identity: writer, run: {step}, pre: {pre}}}"), READER, WRITER, KEY="k")
    assert found["run"] == {"USER": "writer", "B": "w", "A": "own"}
    assert found["pre"] == {"USER": "reader", "A": "r", "KEY": "k", "B": "own"}
    assert found["condition"] == {}


@pytest.mark.parametrize(
    ("document_", "line", "column"),
    [
        (sync("{identity: writr, run: {type: Command, args: [x]}}"), 9, 18),
        (sync("{run: {type: Command, args: [x], identity: writr}}"), 9, 50),
        (sync("{run: {type: Command, args: [x]}, post: {type: Command, args: [x], identity: writr}}"), 9, 84),
        (conditions("[{name: d, type: Command, run: [x], identity: writr}]"), 9, 53),
    ],
)
def test_an_identity_that_is_not_there_is_reported_with_the_nearest(document_: str, line: int, column: int) -> None:
    faults = faults_of(WRITER, document_)
    assert [(fault.code, fault.line, fault.column) for fault in faults] == [("unknown-reference", line, column)]
    assert faults[0].hint == "did you mean 'writer'?"


@pytest.mark.parametrize(
    ("spec", "code", "column"),
    [
        ("{type: env, env: {}}", "wrong-value", 24),
        ("{type: env, env: {'': x}}", "bad-name", 25),
        ("{type: env, env: {1A: x}}", "bad-name", 25),
        ("{type: env, env: {A: 1}}", "wrong-type", 28),
        ("{type: file, env: {A: x}}", "wrong-value", 14),
        ("{type: env}", "missing-field", 7),
        ("{type: env, env: {A: '{{ asset.name }}'}}", "unknown-template-variable", 28),
        ("{type: env, env: {A: '{{ nope }}'}}", "unknown-template-variable", 28),
        ("{type: env, env: {A: '${NOPE}'}}", "unset-variable", 28),
    ],
)
def test_a_wrong_identity_is_reported_once_where_it_stands(spec: str, code: str, column: int) -> None:
    fault = only(document("Identity", "i", spec))
    assert (fault.code, fault.line, fault.column) == (code, 4, column)


def test_braces_in_an_identity_that_are_no_template_stay() -> None:
    identity = document("Identity", "reader", "{type: env, env: {FORMAT: '{{.ID}}'}}")
    assert envs(conditions(CHECK), SYNC, identity)["condition"]["FORMAT"] == "{{.ID}}"


def environment(value: str, **variables: str) -> str:
    written = "[{name: c, type: Command, run: [x], interval: 1m, env: {A: " + value + "}}]"
    return envs(conditions(written), SYNC, **variables)["condition"]["A"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'${X}'", "1"),
        ("'a${X}b${YY}c'", "a1b2c"),
        ("'$${X}'", "${X}"),
        ("'$$${X}'", "$${X}"),
        ("'$X $ $$ $(X) {X}'", "$X $ $$ $(X) {X}"),
        ("'{{ asset.name }}${X}'", "a1"),
        ("'${REST}'", "${X}{{ asset.name }}"),
    ],
)
def test_what_is_given_is_filled_in_once(written: str, value: str) -> None:
    assert environment(written, X="1", YY="2", REST="${X}{{ asset.name }}") == value


@pytest.mark.parametrize(
    ("written", "code", "hint"),
    [
        ("'${REGON}'", "unset-variable", "did you mean 'REGION'?"),
        ("'${ REGION}'", "bad-variable", "$${"),
        ("'${}'", "bad-variable", "$${"),
        ("'${REGION:-eu}'", "bad-variable", "$${"),
        ("'${REGION'", "bad-variable", "$${"),
        ("'${A{REGION}}'", "bad-variable", "$${"),
        ("'${1X}'", "bad-variable", "$${"),
    ],
)
def test_what_is_not_given_or_not_well_formed_is_a_fault_at_its_place(written: str, code: str, hint: str) -> None:
    document_ = conditions("[{name: c, type: Command, run: [x], env: {A: " + written + "}}]")
    fault = only(asset(), SYNC, document_, variables={"REGION": "eu"})
    assert (fault.code, fault.line, fault.column) == (code, 14, 52)
    assert hint in fault.hint


def test_the_message_shows_what_was_written() -> None:
    document_ = conditions("[{name: c, type: Command, run: [x], env: {A: 'a ${B-C} ${D'}}]")
    first, second = faults_of(asset(), SYNC, document_)
    assert {first.message, second.message} == {
        "'${B-C}' is not of the form ${NAME}",
        "the variable at '${D' is not closed by }",
    }


def test_without_any_variable_the_hint_says_how_to_give_one() -> None:
    document_ = conditions("[{name: c, type: Command, run: [x], env: {A: '${HOME}'}}]")
    assert only(asset(), SYNC, document_).hint == "--var HOME=VALUE gives it"


def test_arguments_and_queries_are_left_alone() -> None:
    document_ = conditions("[{name: c, type: Command, run: [sh, -c, 'echo ${HOME}'], interval: 1m}]")
    assert the_asset(asset(), SYNC, document_).conditions()[0].argv[2] == "echo ${HOME}"


def test_what_a_template_brings_into_an_environment_stays_and_is_pointed_at() -> None:
    used = sync("{run: {type: Command, args: [sh], env: {A: '{{ sync.v }}'}}}")
    entry = asset("{onDrift: [{conditions: there, sync: write, with: {v: '${B}'}}]}")
    result = result_of(entry, CONDITIONS, used, variables={"B": "x"})
    (warning,) = result.warnings
    assert (warning.code, warning.line, warning.column) == ("literal-variable", 4, 61)
    assert result.compiled is not None
    made = result.compiled.assets["a"].pairs[0].sync
    assert made is not None
    assert made.run.env == (("A", "${B}"),)


def test_a_changed_variable_changes_the_assets_that_use_it_and_no_other() -> None:
    documents = (asset(), asset("{}", "b"), conditions(CHECK), SYNC, READER)
    one, two = (result_of(*documents, variables={"KEY": key}).compiled for key in "xy")
    assert one is not None
    assert two is not None
    assert one.assets["a"].digest != two.assets["a"].digest
    assert one.assets["b"].digest == two.assets["b"].digest
    assert (
        result_of(*documents, variables={"KEY": "x", "UNUSED": "z"}).encoded
        == result_of(*documents, variables={"KEY": "x"}).encoded
    )


@pytest.mark.parametrize(
    ("variables", "code", "pointer"),
    [
        ({"a b": "x"}, "bad-name", "/payload/variables/a b"),
        ({"": "x"}, "bad-name", "/payload/variables/"),
        ({"A" * 129: "x"}, "bad-name", "/payload/variables/" + "A" * 129),
        ({"a/~": "x"}, "bad-name", "/payload/variables/a~1~0"),
        ({"A": "x\0"}, "wrong-value", "/payload/variables/A"),
        ({"A": "\ud800"}, "wrong-value", "/payload/variables/A"),
        ({"A": "é" * (VARIABLE_BYTES_MAX // 2 + 1)}, "too-large", "/payload/variables/A"),
        ({f"A{n}": "" for n in range(VARIABLES_MAX + 1)}, "too-large", "/payload/variables"),
    ],
)
def test_what_is_given_is_bounded(variables: dict[str, str], code: str, pointer: str) -> None:
    (fault,) = compile_project({"resources/x.yaml": asset("{}").encode()}, variables).faults
    assert (fault.code, fault.pointer) == (code, pointer[:200])


def test_as_many_and_as_large_variables_as_allowed_compile() -> None:
    variables = {f"A{n}": "x" * VARIABLE_BYTES_MAX for n in range(VARIABLES_MAX)}
    assert result_of(asset("{}"), variables=variables).faults == ()


def test_variables_cannot_blow_up_an_asset() -> None:
    many = conditions(
        "[{name: c, type: Command, run: [x], env: {" + ", ".join(f"A{n}: '${{B}}'" for n in range(300)) + "}}]"
    )
    fault = only(asset(), SYNC, many, variables={"B": "x" * VARIABLE_BYTES_MAX})
    assert fault.code == "too-large"
