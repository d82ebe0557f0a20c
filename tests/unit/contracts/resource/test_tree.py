"""YAML within bounds: the core schema, positions, and everything a hostile file tries."""

from __future__ import annotations

import pytest

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.source import Source, read_source
from setpoint.contracts.resource.tree import Document, read_documents


def read(text: str) -> tuple[tuple[Document, ...], tuple[Fault, ...]]:
    source = read_source("resources/x.yaml", text.encode())
    assert isinstance(source, Source), source
    return read_documents(source)


def value(text: str) -> object:
    documents, faults = read(text)
    assert not faults
    return documents[0].value


def only_fault(text: str) -> Fault:
    _, faults = read(text)
    assert len(faults) == 1, faults
    return faults[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-7", -7),
        ("1.5e3", 1500.0),
        ("-.inf", float("-inf")),
        ("TRUE", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_scalars_are_what_they_look_like(written: str, meant: object) -> None:
    found = value(f"k: {written}\n")
    assert found == {"k": meant}
    assert isinstance(found, dict)
    assert type(found["k"]) is type(meant)


def test_keys_are_the_text_that_was_written() -> None:
    assert value("on: 1\n012: 2\n~: 3\n<<: 4\n") == {"on": 1, "012": 2, "~": 3, "<<": 4}


def test_several_documents_and_a_byte_order_mark() -> None:
    source = read_source("f", b"\xef\xbb\xbfa: 1\n---\nb: 2\n")
    assert isinstance(source, Source)
    documents, faults = read_documents(source)
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}]
    assert not faults
    assert documents[1].fault("x", "m", ("b",), at_key=True).line == 3


def test_positions_count_characters_and_editor_lines() -> None:
    documents, _ = read('é: ["😀", x]\r\nb: y\n')
    fault = documents[0].fault("x", "m", ("é", 1))
    assert (fault.line, fault.column) == (1, 10)
    fault = documents[0].fault("x", "m", ("b",))
    assert (fault.line, fault.column) == (2, 4)
    fault = documents[0].fault("x", "m", ("b",), at_key=True)
    assert (fault.line, fault.column) == (2, 1)


def test_a_60_kb_nest_of_brackets_is_a_fault_where_it_gets_too_deep() -> None:
    fault = only_fault("[" * 60_000)
    assert (fault.code, fault.line, fault.column) == ("yaml.depth", 1, 33)


@pytest.mark.parametrize("opening", ["{a: ", "- ", "? "])
def test_every_kind_of_nest_is_bounded(opening: str) -> None:
    assert only_fault(opening * 10_000).code == "yaml.depth"


def test_an_alias_bomb_is_stopped_while_it_is_built() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 7)}]" for n in range(1, 9)]
    assert only_fault("\n".join(levels)).code == "yaml.nodes"


def test_more_than_64_aliases_are_refused() -> None:
    assert not read("a: &a 1\nb: [" + ", ".join(["*a"] * 64) + "]")[1]
    assert only_fault("a: &a 1\nb: [" + ", ".join(["*a"] * 65) + "]").code == "yaml.aliases"


def test_more_than_10_000_nodes_are_refused() -> None:
    assert only_fault("[" + "x," * 10_000 + "]").code == "yaml.nodes"


def test_an_alias_of_itself_is_a_cycle() -> None:
    assert only_fault("a: &a [1, *a]").code == "yaml.alias-cycle"


def test_aliases_that_deepen_beyond_the_bound_are_refused() -> None:
    nest = "[" * 20 + "x" + "]" * 20
    assert only_fault(f"a: &a {nest}\nb: {'[' * 20}*a{']' * 20}").code == "yaml.depth"


def test_a_nul_escape_is_refused_in_values_and_keys() -> None:
    _, faults = read('a: "x\\0y"\n"\\0": 1\n')
    assert [(fault.code, fault.line) for fault in faults] == [("yaml.nul", 1), ("yaml.nul", 2)]


def test_duplicate_keys_are_refused_at_the_second() -> None:
    fault = only_fault("a: 1\nb: 2\na: 3\n")
    assert (fault.code, fault.line, fault.column) == ("yaml.duplicate-key", 3, 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "yaml.syntax"),
        ("a: b: c", "yaml.syntax"),
        ("\tb: 1", "yaml.syntax"),
        ("a: *nowhere", "yaml.syntax"),
        ('"\\ud800"', "yaml.syntax"),
        ("%YAML 3.0\n---\na", "yaml.syntax"),
        ("? [a]\n: b", "yaml.key"),
        ("a: !!python/object:os.system x", "yaml.tag"),
        ("a: !!int x", "yaml.tag"),
        ("a: !!bool yes", "yaml.tag"),
        ("a: !!set {x}", "yaml.tag"),
        ("a: " + "9" * 5000, "yaml.number"),
    ],
)
def test_what_is_no_plain_yaml_is_a_positioned_fault(text: str, code: str) -> None:
    fault = only_fault(text)
    assert fault.code == code
    assert fault.line >= 1
    assert fault.column >= 1


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b"a: 1\nb: \xff\n", "yaml.encoding", 2, 4),
        (b"a: \x00", "yaml.character", 1, 4),
        (b"a: 1\nb: \x07", "yaml.character", 2, 4),
        ("a: \ufffe".encode(), "yaml.character", 1, 4),
        (b"#" * (256 * 1024 + 1), "too-large", 1, 1),
    ],
)
def test_what_is_no_text_is_refused_before_yaml_sees_it(content: bytes, code: str, line: int, column: int) -> None:
    fault = read_source("f", content)
    assert isinstance(fault, Fault)
    assert (fault.code, fault.line, fault.column) == (code, line, column)


def test_a_scalar_of_many_lines_at_the_limit_is_read() -> None:
    words = "a: " + "word\n " * ((256 * 1024 - 10) // 6)
    documents, faults = read(words)
    assert not faults
    assert isinstance(documents[0].value, dict)
