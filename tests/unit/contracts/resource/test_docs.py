"""The page about resources knows every fault code and every field."""

from __future__ import annotations

import re
from pathlib import Path

from setpoint.contracts.resource.compile import json_schemas

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "resources.md").read_text()
SOURCES = [*(ROOT / "setpoint" / "contracts" / "resource").glob("*.py"), ROOT / "gateway" / "compile_worker.py"]


def test_every_fault_code_has_a_row() -> None:
    calls = re.compile(r'(?:[Ff]ault|_add|PydanticCustomError|return)\(?\s*"([a-z]+[.-][a-z-]+)"')
    codes = {code for path in SOURCES for code in calls.findall(path.read_text())}
    assert {"yaml.depth", "unknown-field", "bad-name", "too-expensive", "wrong-type"} <= codes
    assert not {code for code in codes if f"`{code}`" not in PAGE}


def test_every_setting_is_named() -> None:
    settings = json_schemas()["project"]["properties"]
    assert not {name for name in settings if f"`{name}`" not in PAGE}
