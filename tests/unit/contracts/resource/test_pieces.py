"""A file of several documents of which some are no YAML: the others are read, each fault at its line of the file."""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.pieces import Read, read_file
from setpoint.contracts.resource.source import Source


def read(text: str) -> Read:
    return read_file(Source("x.yaml", text))


def test_a_sound_file_is_read_whole() -> None:
    found = read("a: 1\n---\nb: 2\n")
    assert [document.value for document in found.documents] == [{"a": 1}, {"b": 2}]
    assert (found.faults, found.unread) == ((), "")


@pytest.mark.parametrize(
    "broken", ["b: [1", 'b: "x', "b: {x: y", "b:\n\t- c", "b: *c", "- a\nb: 1", "b: 'x\n\n", "b: @"]
)
@pytest.mark.parametrize("border", ["---\n", "--- # why\n"])
def test_the_documents_around_a_broken_one_are_read(broken: str, border: str) -> None:
    found = read(f"a: 1\n{border}{broken}\n{border}c: !x 3\n{border}d: 4\n")
    assert [document.value for document in found.documents] == [{"a": 1}, {"c": None}, {"d": 4}]
    assert [fault.code for fault in found.faults] == ["yaml.syntax", "yaml.tag"]
    lines = broken.count("\n")
    assert 3 <= found.faults[0].line <= 4 + lines
    assert (found.faults[1].line, found.faults[1].column) == (5 + lines, 4)
    assert broken.strip() in found.unread
    assert "a: 1" not in found.unread


def test_two_broken_documents_are_two_faults() -> None:
    found = read("--- [\n---\na: 1\n--- {\n--- \n")
    assert [(fault.code, fault.line) for fault in found.faults] == [("yaml.syntax", 2), ("yaml.syntax", 5)]


@pytest.mark.parametrize("text", ["a: [", "%YAML 1.2\n---\na: [\n---\nb: 1\n", "a: 1\n--- [\n%x\n---\n"])
def test_what_cannot_be_parted_is_not(text: str) -> None:
    found = read(text)
    assert (found.documents, len(found.faults), found.unread) == ((), 1, text)


def test_what_is_beyond_a_bound_is_not_read_in_pieces() -> None:
    found = read("a: 1\n---\n" + "[" * 40 + "\n")
    assert ([fault.code for fault in found.faults], found.documents) == (["yaml.depth"], ())


def test_a_broken_document_hides_nothing_of_its_neighbours_and_no_other_name() -> None:
    head = "apiVersion: setpoint.dev/v1alpha1\n"
    asset = head + "kind: Asset\nmetadata: {name: NAME}\nspec: {upstreams: [maybe, gone, b], modelnme: x}\n"
    broken = head + "kind: Asset\nmetadata: {name: maybe}\nspec: {upstreams: [\n"
    text = "---\n".join((asset.replace("NAME", "a"), broken, asset.replace("NAME", "b")))
    told = compile_project({"resources/x.yaml": text.encode()}).faults
    assert sorted((fault.line, fault.code) for fault in told) == [
        (4, "unknown-field"),
        (4, "unknown-reference"),
        (10, "yaml.syntax"),
        (14, "dependency-cycle"),
        (14, "unknown-field"),
        (14, "unknown-reference"),
    ]


def test_a_file_of_very_many_documents_is_read_whole_or_not_at_all() -> None:
    many = "---\n" * 1_001 + "["
    assert read(many) == Read((), read(many).faults, many)
    assert len(read("---\n" * 1_000 + "[").documents) == 999
