"""A document of a wrong shape made one that can be looked at: what is taken out, and what stands in for it."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from setpoint.contracts.resource.mend import Mended, mend
from setpoint.contracts.resource.outside import ConnectionFile, IdentityFile, OriginFile
from setpoint.contracts.resource.source import Source
from setpoint.contracts.resource.spec import AssetFile, ConditionsFile, SyncFile
from setpoint.contracts.resource.tree import Document, read_documents

ADAPTER: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        AssetFile | ConditionsFile | SyncFile | ConnectionFile | IdentityFile | OriginFile, Field(discriminator="kind")
    ]
)
HEAD = "apiVersion: setpoint.dev/v1alpha1\nmetadata: {name: a}\n"


def mended(text: str, adapter: TypeAdapter[Any] = ADAPTER) -> Mended | None:
    document: Document = read_documents(Source("x.yaml", text))[0][0]
    before = repr(document.value)
    try:
        adapter.validate_python(document.value)
    except ValidationError as error:
        found = mend(adapter, document, error.errors())
    else:
        raise AssertionError("there is nothing to mend")
    assert repr(document.value) == before
    return found


@pytest.mark.parametrize("kind", ["Asset", "Conditions", "Sync", "Connection", "Identity", "Origin"])
@pytest.mark.parametrize("rest", ["spec: 5", "spec: {x: {}}", "spec: [[]]", "", "spec: []", "spec: {type: 5}"])
def test_a_document_of_any_kind_is_mended_whatever_its_spec(kind: str, rest: str) -> None:
    found = mended(f"{HEAD}kind: {kind}\nodd: 1\n{rest}\n")
    assert found is not None
    ADAPTER.validate_python(found.value)
    assert ("odd",) in found.holes


def test_what_is_right_stays_and_items_of_lists_keep_their_places() -> None:
    found = mended(HEAD + "kind: Asset\nspec: {upstreams: [b, 5, c], autoSync: 3, modelName: m, labels: {}}\n")
    assert found is not None
    assert found.holes == {("spec", "upstreams", 1), ("spec", "autoSync"), ("spec", "labels")}
    assert found.value["spec"] == {"upstreams": ["b", "?", "c"], "modelName": "m"}


def test_what_has_to_be_there_and_is_not_has_a_stand_in() -> None:
    found = mended(HEAD + "kind: Sync\nspec: {pre: {type: Command}}\n")
    assert found is not None
    assert found.holes == {("spec", "run"), ("spec", "pre", "args")}
    assert found.value["spec"]["pre"] == {"type": "Command", "args": ["?"]}


@pytest.mark.parametrize("text", ["[1]", "5", "kind: Assets", "{}", "kind: [x]"])
def test_a_document_of_no_kind_is_not_mended(text: str) -> None:
    assert mended(text) is None


def test_a_shape_that_nothing_known_here_fits_is_not_mended() -> None:
    never = Annotated[str, Field(pattern="^never$")]
    assert mended("{a: [x]}", TypeAdapter(dict[str, never])) == Mended({}, frozenset({("a",)}))
    assert mended("[[x]]", TypeAdapter(list[never])) is None
    assert mended("5", TypeAdapter(dict[str, never])) is None


def test_a_very_large_document_is_not_tried_often() -> None:
    items = ", ".join("b" for _ in range(9_000))
    found = mended(HEAD + f"kind: Asset\nspec: {{upstreams: [{items}, 5]}}\n")
    assert found is not None
    assert found.holes == {("spec", "upstreams", 9_000)}
