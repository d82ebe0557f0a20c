"""The pages about the API say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from setpoint.contracts.problem import CODES

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_problem_code_has_a_true_row() -> None:
    text = (DOCS / "operations" / "errors.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\d+) \| (yes|no) \|", text, re.MULTILINE)
    said = {code: (int(status), int(exit_code), again == "yes") for code, status, exit_code, again in rows}
    assert said == {code: (kind.status, kind.exit_code, kind.retry) for code, kind in CODES.items()}
