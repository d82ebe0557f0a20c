"""Bad projects: each mistake has its code and its place, a hint where one can be given, and all come at once."""

from __future__ import annotations

import pytest

from setpoint.contracts.limits import MANIFEST_FILE_BYTES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.support import NOT_YET

API = "apiVersion: setpoint.dev/v1alpha1\n"
CONDITIONS = API + "kind: Conditions\nmetadata: {name: there}\nspec: [{name: c, type: Command, run: [test]}]\n"
SYNC = API + "kind: Sync\nmetadata: {name: write}\nspec: {run: {type: Command, args: [touch]}}\n"
ASSET = API + "kind: Asset\nmetadata: {name: a}\nspec: {onDrift: [{conditions: there, sync: write}]}\n"


def faults_of(*documents: str, settings: str = "") -> tuple[Fault, ...]:
    result = compile_project({"resources/x.yaml": "---\n".join(documents).encode(), "setpoint.yaml": settings.encode()})
    assert (result.encoded is None) == bool(result.faults)
    return result.faults


def only(*documents: str, settings: str = "") -> Fault:
    faults = faults_of(*documents, settings=settings)
    assert len(faults) == 1, faults
    return faults[0]


def asset(spec: str, name: str = "a") -> str:
    return API + f"kind: Asset\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def conditions(spec: str) -> str:
    return API + f"kind: Conditions\nmetadata: {{name: there}}\nspec: {spec}\n"


def sync(spec: str) -> str:
    return API + f"kind: Sync\nmetadata: {{name: write}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("document", "code", "line", "column", "hint"),
    [
        (asset("{upstrems: []}"), "unknown-field", 4, 8, "did you mean 'upstreams'?"),
        (
            API + "kind: Asset\nmetadata: {name: a, lables: {}}\nspec: {}\n",
            "unknown-field",
            3,
            21,
            "did you mean 'labels'?",
        ),
        (asset("{upstreams: a}"), "wrong-type", 4, 19, ""),
        (asset("{upstreams: [1]}"), "wrong-type", 4, 20, ""),
        (asset("{autoSync: 3}"), "wrong-type", 4, 18, ""),
        (asset("{modelName: ''}"), "wrong-value", 4, 19, ""),
        (asset("{upstreamPolicy: some}"), "wrong-value", 4, 24, ""),
        (asset("{upstreamPolicy: any}"), "wrong-value", 4, 8, ""),
        (asset("{upstreams: [b]}"), "unknown-reference", 4, 20, "known are a"),
        (asset("{onUpstream: x}"), "unknown-reference", 4, 20, ""),
        (asset("{upstreams: [a]}"), "dependency-cycle", 4, 20, ""),
        (asset("{}", name="Big"), "bad-name", 3, 18, ""),
        (asset("{}", name="x" * 129), "bad-name", 3, 18, ""),
        (asset("{}", name="-a"), "bad-name", 3, 18, ""),
        (API + "kind: Asset\nmetadata: {}\nspec: {}\n", "missing-field", 3, 11, ""),
        (API + "kind: Asset\nmetadata: {name: a, labels: {x: 1}}\nspec: {}\n", "wrong-type", 3, 33, ""),
        (API + "kind: Aset\nmetadata: {name: a}\nspec: {}\n", "wrong-value", 2, 7, "did you mean 'Asset'?"),
        (API + "metadata: {name: a}\nspec: {}\n", "missing-field", 1, 1, ""),
        ("apiVersion: v1\nkind: Asset\nmetadata: {name: a}\nspec: {}\n", "wrong-value", 1, 13, ""),
        ("[1]\n", "wrong-type", 1, 1, ""),
        ("just text\n", "wrong-type", 1, 1, ""),
        (conditions("[]"), "wrong-value", 4, 7, ""),
        (conditions("[{type: Command, run: [x]}]"), "missing-field", 4, 8, ""),
        (conditions("[{name: c, run: [x]}]"), "missing-field", 4, 8, ""),
        (conditions("[{name: c, type: Comand, run: [x]}]"), "wrong-value", 4, 24, "did you mean 'Command'?"),
        (conditions("[{name: c, type: Command, run: []}]"), "wrong-value", 4, 38, ""),
        (conditions("[{name: c, type: Command, run: ['']}]"), "wrong-value", 4, 38, ""),
        (conditions("[{name: ' c', type: Command, run: [x]}]"), "bad-name", 4, 15, ""),
        (conditions("[{name: c, type: Command, run: [x], interval: soon}]"), "bad-duration", 4, 53, ""),
        (conditions("[{name: c, type: Command, run: [x], interval: 0s}]"), "bad-duration", 4, 53, ""),
        (conditions("[{name: c, type: Command, run: [x], timeout: 25h}]"), "bad-duration", 4, 52, ""),
        (conditions("[{name: c, type: Command, run: [x], interval: 9999y}]"), "bad-duration", 4, 53, ""),
        (conditions("[{name: c, type: Command, run: [x], env: {A B: x}}]"), "bad-name", 4, 49, ""),
        (conditions("[{name: c, type: Command, run: [x], env: {A: 1}}]"), "wrong-type", 4, 52, ""),
        (
            conditions("[{name: c, type: Command, run: ['{{ asset.nam }}']}]"),
            "unknown-template-variable",
            4,
            39,
            "known",
        ),
        (sync("{pre: {type: Command, args: [x]}}"), "missing-field", 4, 7, ""),
        (sync("{run: {type: Shell, args: [x]}}"), "wrong-value", 4, 20, ""),
        (sync("{run: {type: Command, args: [x, '{{ nope }}']}}"), "unknown-template-variable", 4, 39, "known"),
        (
            sync("{run: {type: Command, args: [x], env: {A: '{{ asset.name'}}}"),
            "unknown-template-variable",
            4,
            49,
            "known",
        ),
    ],
)
def test_a_mistake_has_its_code_and_its_place(document: str, code: str, line: int, column: int, hint: str) -> None:
    fault = only(document)
    assert (fault.code, fault.file, fault.line, fault.column) == (code, "resources/x.yaml", line, column), fault
    assert hint in fault.hint


def test_references_to_conditions_and_syncs_are_checked_with_the_nearest_name() -> None:
    entry = asset("{onDrift: [{conditions: their, sync: writ}]}")
    first, second = faults_of(entry, CONDITIONS, SYNC)
    assert (first.code, first.column, first.hint) == ("unknown-reference", 31, "did you mean 'there'?")
    assert (second.code, second.column, second.hint) == ("unknown-reference", 44, "did you mean 'write'?")


def test_a_template_key_that_with_does_not_give_is_told_at_the_entry() -> None:
    used = sync("{run: {type: Command, args: ['{{ sync.x }}'], env: {A: '{{ sync.x }}'}}}")
    fault = only(ASSET, CONDITIONS, used)
    assert (fault.code, fault.line, fault.column) == ("unknown-template-variable", 4, 18)
    assert fault.hint == "add x under 'with'"


def test_with_cannot_use_itself() -> None:
    entry = asset("{onDrift: [{conditions: there, sync: write, with: {x: '{{ sync.y }}', y: z}}]}")
    assert only(entry, CONDITIONS, SYNC).code == "unknown-template-variable"


def test_a_second_resource_of_a_name_says_where_the_first_is() -> None:
    fault = only(ASSET, CONDITIONS, SYNC, CONDITIONS)
    assert (fault.code, fault.line, fault.hint) == ("duplicate-name", 18, "the first is at resources/x.yaml:8")


def test_the_second_of_a_name_is_judged_too() -> None:
    again = asset("{upstreams: [gone], onDrift: [{conditions: there, sync: write}]}")
    assert [fault.code for fault in faults_of(ASSET, CONDITIONS, SYNC, again)] == [
        "duplicate-name",
        "unknown-reference",
    ]


def test_one_name_may_be_used_by_several_kinds() -> None:
    same = [text.replace("there", "a").replace("write", "a") for text in (ASSET, CONDITIONS, SYNC)]
    assert faults_of(*same) == ()


def test_condition_names_are_unique_in_an_asset() -> None:
    twice = conditions("[{name: c, type: Command, run: [x]}, {name: c, type: Command, run: [y]}]")
    assert only(twice).code == "duplicate-name"
    pairs = asset("{onDrift: [{conditions: there, sync: write}, {conditions: there, sync: write}]}")
    assert only(pairs, CONDITIONS, SYNC).code == "duplicate-name"


def test_a_cycle_names_only_the_assets_on_it() -> None:
    documents = [
        asset("{upstreams: [b]}", "a"),
        asset("{upstreams: [c]}", "b"),
        asset("{upstreams: [a, root]}", "c"),
        asset("{upstreams: [c]}", "innocent"),
        asset("{}", "root"),
    ]
    fault = only(*documents)
    assert fault.code == "dependency-cycle"
    assert fault.message.endswith("a -> b -> c -> a")
    assert (fault.line, fault.column) == (4, 20)


def test_a_broken_resource_is_reported_once_and_not_by_those_that_use_it() -> None:
    assert only(ASSET, CONDITIONS, sync("{run: {type: Command, args: []}}")).line == 14


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("sql", "'sql'"),
        ("3", "'3'"),
        ("null", "nothing"),
        ("[SQL]", "a list"),
        ("{a: b}", "a mapping"),
        ("Command2", "'"),
    ],
)
def test_a_wrong_type_of_a_condition_is_reported_once(written: str, words: str) -> None:
    fault = only(ASSET, SYNC, conditions(f"[{{name: c, type: {written}, run: [x], nonsense: 1}}]"))
    assert (fault.code, fault.line, fault.column) == ("wrong-value", 14, 24)
    assert fault.message.startswith(f"type cannot be {words}")
    if written == "sql":
        assert fault.hint == "did you mean 'SQL'?"


@pytest.mark.parametrize("kind", ["Sync", "Identity", "Connection", "Origin"])
@pytest.mark.parametrize("written", ["commnd", "3", "null", "[a]"])
def test_a_wrong_type_of_anything_else_is_reported_once(kind: str, written: str) -> None:
    fields = {
        "Sync": "run: {type: TYPE, args: [x]}",
        "Identity": "type: TYPE, env: {A: b}",
        "Connection": "type: TYPE, path: x",
        "Origin": "type: TYPE, connection: c, projectDir: d",
    }
    spec = fields[kind].replace("TYPE", written)
    fault = only(API + f"kind: {kind}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n")
    assert (fault.code, fault.line) == ("wrong-value", 4)


def test_a_misspelt_kind_is_reported_once_and_not_by_those_that_use_it() -> None:
    fault = only(ASSET, CONDITIONS.replace("kind: Conditions", "kind: Condition"), SYNC)
    assert (fault.code, fault.line, fault.column) == ("wrong-value", 7, 7)
    assert fault.hint == "did you mean 'Conditions'?"


def test_a_file_that_cannot_be_read_hides_what_may_be_in_it() -> None:
    unread = b"kind: [\nmetadata: {name: there}\n"
    result = compile_project({"resources/a.yaml": ASSET.encode(), "resources/b.yaml": unread})
    assert [(fault.file, fault.code) for fault in result.faults] == [
        ("resources/a.yaml", "unknown-reference"),
        ("resources/b.yaml", "yaml.syntax"),
    ]
    assert "'write'" in result.faults[0].message
    both = compile_project({"resources/a.yaml": ASSET.encode(), "resources/b.yaml": unread + b"# write"})
    assert [fault.code for fault in both.faults] == ["yaml.syntax"]


def test_of_a_file_that_is_too_large_nobody_knows_what_is_in_it() -> None:
    files = {"resources/a.yaml": ASSET.encode(), "resources/b.yaml": b"#" * (MANIFEST_FILE_BYTES_MAX + 1)}
    assert [fault.code for fault in compile_project(files).faults] == ["too-large"]


def test_neither_a_file_that_is_no_text_nor_its_neighbours_are_passed_over() -> None:
    files = {f"resources/{name}.yaml": b"\xff" for name in "ac"} | {"resources/b.yaml": ASSET.encode()}
    files["resources/d.yaml"] = asset("{upstreams: a}", "d").encode()
    found = [(fault.file, fault.code) for fault in compile_project(files).faults]
    assert found == [
        ("resources/a.yaml", "yaml.encoding"),
        ("resources/b.yaml", "unknown-reference"),
        ("resources/b.yaml", "unknown-reference"),
        ("resources/c.yaml", "yaml.encoding"),
        ("resources/d.yaml", "wrong-type"),
    ]


def test_only_the_first_forty_missing_names_are_compared_with_all_there_are() -> None:
    many = ", ".join(f"thera{n}" for n in range(42))
    found = faults_of(asset(f"{{upstreams: [{many}]}}"), asset("{}", "thera"))
    assert [bool(fault.hint) for fault in found] == [True] * 40 + [False] * 2


def test_resources_without_a_name_are_not_taken_for_one_another() -> None:
    assert [fault.code for fault in faults_of(asset("{}", "[x]"), asset("{}", "[y]"))] == ["wrong-type"] * 2


def test_a_tenth_of_a_second_is_the_shortest_interval() -> None:
    assert faults_of(conditions("[{name: c, type: Command, run: [x], interval: 100ms}]")) == ()
    assert only(conditions("[{name: c, type: Command, run: [x], interval: 99ms}]")).code == "bad-duration"


def test_a_year_is_the_longest_duration() -> None:
    assert faults_of(conditions("[{name: c, type: Command, run: [x], interval: 366d}]")) == ()
    assert only(conditions("[{name: c, type: Command, run: [x], interval: 366d 1s}]")).code == "bad-duration"


def test_an_unknown_field_does_not_hide_what_else_is_wrong() -> None:
    faults = faults_of(asset("{upstrems: [], upstreams: [gone]}"))
    assert [fault.code for fault in faults] == ["unknown-field", "unknown-reference"]


def test_all_faults_come_at_once_in_order_of_place() -> None:
    files = {
        "resources/b.yaml": asset("{upstreams: [gone], x: 1}").encode(),
        "resources/a.yaml": b"a: 1\na: 2\n",
        "nagi.yaml": b"maxSyncConcurrency: 0\ndefaultTimout: 3s\n",
    }
    faults = compile_project(files).faults
    places = [(fault.file, fault.line, fault.column) for fault in faults]
    assert places == sorted(places)
    assert {fault.file for fault in faults} == set(files)
    assert len(faults) >= 6


def test_no_more_faults_are_shown_than_anybody_reads() -> None:
    result = compile_project({"resources/x.yaml": ("---\n".join(["{}\n"] * 2000)).encode()})
    assert len(result.faults) == 201
    assert result.faults[-1].code == "too-many-faults"


@pytest.mark.parametrize(
    ("settings", "code", "line", "column"),
    [
        ("defaultTimout: 3s\n", "unknown-field", 1, 1),
        ("defaultTimeout: 3\nmaxSyncConcurrency: 0\n", "wrong-value", 2, 21),
        ("lockRetryMaxAttempts: 0\n", "wrong-value", 1, 23),
        ("maxSyncConcurrency: '3'\n", "wrong-type", 1, 21),
        ("orphanTimeout: 5s\n", "bad-duration", 1, 16),
        ("maxConsecutiveSyncFailures: true\n", "wrong-type", 1, 29),
        ("--- {}\n--- {}\n", "yaml.documents", 2, 5),
        ("[]\n", "wrong-type", 1, 1),
    ],
)
def test_settings_are_checked_like_resources(settings: str, code: str, line: int, column: int) -> None:
    fault = only(ASSET, CONDITIONS, SYNC, settings=settings)
    assert (fault.code, fault.file, fault.line, fault.column) == (code, "setpoint.yaml", line, column), fault


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "project.empty"),
        ({"src/x.yaml": b"a: 1"}, "project.empty"),
        ({"setpoint.yaml": b"", "nagi.yaml": b""}, "project.settings-twice"),
        ({"setpoint.yml": b"", "resources/a.yaml": asset("{}").encode()}, "project.settings-name"),
        ({"resources/a.yaml": b"# nothing\n"}, "project.empty-file"),
        ({"resources/a.yaml": b""}, "project.empty-file"),
    ],
)
def test_what_files_there_are_is_checked(files: dict[str, bytes], code: str) -> None:
    assert [fault.code for fault in compile_project(files).faults] == [code]


SHAPES = {
    "Origin": API + "kind: Origin\nmetadata: {name: c}\nspec: {type: DBT, connection: c, projectDir: d}\n",
}
SETTINGS = {
    "settings.notify": "notify: {slack: {channel: c}}",
    "settings.export": "export: {connection: c, dataset: d}",
}


@pytest.mark.parametrize("row", sorted(NOT_YET))
def test_what_is_not_carried_out_yet_is_refused_where_it_stands(row: str) -> None:
    rest = [text for text in (CONDITIONS, SYNC) if row.partition(".")[0] not in text.splitlines()[1]]
    fault = only(SHAPES[row], *rest) if row in SHAPES else only(ASSET, *rest, settings=SETTINGS[row] + "\n")
    assert fault.code == "not-supported"
    assert fault.message.endswith("not supported yet")
    assert fault.line >= 1


def test_the_shape_of_what_is_not_supported_yet_is_checked_all_the_same() -> None:
    faults = faults_of(ASSET, CONDITIONS, SYNC, settings="notify: {slack: {chanel: c}}\n")
    assert sorted(fault.code for fault in faults) == ["missing-field", "not-supported", "unknown-field"]


@pytest.mark.parametrize(
    "cron", ["* * * *", "* * * * * *", "@daily", "R R * * *", "* * * * MON", "?", "*/0 * * * *", "0 0 30 2 *"]
)
def test_bad_cron_expressions(cron: str) -> None:
    faults = faults_of(conditions(f"[{{name: c, type: Command, run: [x], checkAt: '{cron}'}}]"))
    assert "bad-cron" in {fault.code for fault in faults}


def test_a_time_zone_that_is_none_or_has_nothing_to_say() -> None:
    fault = only(conditions("[{name: c, type: Command, run: [x], checkAt: '0 6 * * *', timezone: Europe/Berlim}]"))
    assert (fault.code, fault.line) == ("wrong-value", 4)
    assert "Europe/Berlin" in fault.message
    for zone in ("../../etc/passwd", "Europe", "CEST+99", "''"):
        written = f"[{{name: c, type: Command, run: [x], checkAt: '0 6 * * *', timezone: {zone}}}]"
        assert only(conditions(written)).code == "wrong-value"
    fault = only(conditions("[{name: c, type: Command, run: [x], timezone: Europe/Berlin}]"))
    assert (fault.code, "no checkAt" in fault.message) == ("wrong-value", True)


def test_a_template_cannot_blow_up_an_asset() -> None:
    many = sync("{run: {type: Command, args: [sh, " + "'{{ sync.x }}', " * 500 + "]}}")
    entry = asset("{onDrift: [{conditions: there, sync: write, with: {x: " + "y" * 100_000 + "}}]}")
    assert only(entry, CONDITIONS, many).code == "too-large"


def test_an_argument_longer_than_linux_takes_is_refused() -> None:
    fault = only(ASSET, CONDITIONS, sync("{run: {type: Command, args: [sh, " + "y" * 131_072 + "]}}"))
    assert fault.code == "too-large"


def test_an_asset_whose_run_would_have_too_many_steps_is_refused() -> None:
    many = [f"{{name: c{n}, type: Command, run: [x]}}" for n in range(198)]
    fault = only(ASSET, conditions(f"[{', '.join(many)}]"), SYNC)
    assert (fault.code, fault.line, fault.column) == ("too-large", 4, 8)
    assert faults_of(ASSET, conditions(f"[{', '.join(many[:-1])}]"), SYNC) == ()


@pytest.mark.parametrize(
    ("argument", "line", "column"), [("y" * 120_000, 4, 90), ("'" + '"' * 100_000 + "'", 1, 1)], ids=["plain", "quotes"]
)
def test_an_asset_that_is_too_large_with_all_it_uses_is_refused(argument: str, line: int, column: int) -> None:
    """Each file and each argument is within its bound; quotes take twice their room where the asset is stored."""
    files = {}
    for n in range(5):
        check = f"[{{name: c{n}, type: Command, run: [x, {argument}, {argument}]}}]"
        files[f"resources/c{n}.yaml"] = conditions(check).replace("{name: there}", f"{{name: c{n}}}").encode()
    entries = ", ".join(f"{{conditions: c{n}}}" for n in range(5))
    result = compile_project(files | {"resources/a.yaml": asset(f"{{onDrift: [{entries}]}}").encode()})
    assert [(fault.code, fault.file, fault.line, fault.column) for fault in result.faults] == [
        ("too-large", "resources/a.yaml", line, column)
    ]


def test_templates_cannot_leave_a_command_without_a_program() -> None:
    used = sync("{run: {type: Command, args: ['{{ sync.v }}']}}")
    entry = asset("{onDrift: [{conditions: there, sync: write, with: {v: ''}}]}")
    assert only(entry, CONDITIONS, used).code == "wrong-value"


def test_texts_of_faults_can_be_stored_and_are_short() -> None:
    result = compile_project({"resources/\ud800.yaml": ('"' + "k" * 50_000 + '\\0": 1\n').encode()})
    assert result.faults
    for fault in result.faults:
        assert len(fault.message) < 400
        for text in (fault.message, fault.file, fault.hint):
            text.encode()
            assert "\x00" not in text
