"""The page of the links says what the contracts are: regenerating it changes nothing."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

PROTO = Path(__file__).resolve().parents[2] / "proto"


def generator() -> ModuleType:
    """Load the script by its path: the folder is no package on purpose."""
    spec = importlib.util.spec_from_file_location("setpoint_proto_generate", PROTO / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    page = (PROTO / "links.md").read_text()
    assert generator().render(page) == page, "make proto writes it"


def test_every_union_and_value_has_its_place_on_the_page() -> None:
    module = generator()
    marks = re.findall(r"<!-- generated: (\w+) -->", (PROTO / "links.md").read_text())
    assert sorted(marks) == sorted([*module.UNIONS, *module.VALUES])


def test_a_mark_that_means_nothing_is_a_fault() -> None:
    with pytest.raises(KeyError):
        generator().render("<!-- generated: Nothing -->\n<!-- end -->")
