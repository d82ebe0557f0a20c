"""The builds without a rule can be made from the code as it is, and what plays them is there."""

from __future__ import annotations

import pytest

from tests.chaos.ablate import BUILDS, Build, faults
from tests.chaos.checker import CHECKS
from tests.chaos.scenes import SCENES
from tests.house.tree import ROOT


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_a_build_can_be_made_and_is_told_in_the_document(build: Build) -> None:
    assert faults(build, ROOT) == []
    assert build.scene in SCENES
    assert build.check in {check.__name__ for check in CHECKS}
    assert f"| `{build.name}` | {build.says} | `{build.scene}` | `{build.check}` |" in (
        ROOT / "docs" / "internals" / "chaos.md"
    ).read_text(encoding="utf-8")
