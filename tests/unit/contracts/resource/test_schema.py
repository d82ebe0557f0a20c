"""The JSON Schemas: the files are what the models give, and they agree with compile about shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setpoint.contracts.resource.schema import documents

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("name", ["resource", "project"])
def test_the_files_are_what_the_models_give(name: str) -> None:
    written = (ROOT / "proto" / "schemas" / f"{name}.json").read_text()
    given = json.dumps(documents()[name], indent=2, sort_keys=True) + "\n"
    assert written == given, f"setpoint schema {name} > proto/schemas/{name}.json"


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "proto" / "schemas").glob("*.json")} == set(documents())


def test_each_kind_of_resource_is_in_the_schema() -> None:
    schema = documents()["resource"]
    assert set(schema["discriminator"]["mapping"]) == {
        "Asset", "Conditions", "Sync", "Connection", "Identity", "Origin",
    }  # fmt: skip
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_unknown_keys_are_refused_by_the_schema_too() -> None:
    definitions = documents()["resource"]["$defs"]
    open_ = [
        name
        for name, one in definitions.items()
        if one.get("type") == "object" and "properties" in one and one.get("additionalProperties") is not False
    ]
    assert open_ == []
