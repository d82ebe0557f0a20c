"""What needs no server: faults for machines, schemas, the graph of a project on disk, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setpoint.cli.asset import selected
from setpoint.cli.explain import lines
from setpoint.cli.faults import github
from setpoint.cli.past import compared
from setpoint.contracts.problem import Fault
from tests.unit.cli.test_main import setpoint

ASSET = """\
apiVersion: setpoint.dev/v1alpha1
kind: Asset
metadata: {{name: {name}, labels: {{team: {team}}}}}
spec: {{upstreams: [{upstreams}]}}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "resources").mkdir()
    for name, team, upstreams in (("a", "x", ""), ("b", "y", "a"), ("c", "x", "b")):
        text = ASSET.format(name=name, team=team, upstreams=upstreams)
        (tmp_path / "resources" / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "a.yaml").write_text(ASSET.format(name="a", team="x", upstreams="bb"))
    return tmp_path


def test_validate_for_machines_says_everything_on_stdout(bad: Path) -> None:
    for words in (("validate", str(bad), "-o", "json"), ("-o", "json", "validate", str(bad))):
        done = setpoint(*words, HOME=str(bad))
        assert (done.returncode, done.stderr) == (2, "")
        found = json.loads(done.stdout)
        assert found["valid"] is False
        assert found["errors"][0]["file"] == "resources/a.yaml"
        assert found["errors"][0]["line"] == 4


def test_validate_for_github_gives_an_annotation_for_each_fault(bad: Path) -> None:
    done = setpoint("validate", str(bad), "-o", "github", HOME=str(bad))
    assert done.returncode == 2
    assert done.stdout.startswith(f"::error file={bad}/resources/a.yaml,line=4,col=")


def test_validate_of_a_good_project(good: Path) -> None:
    done = setpoint("validate", str(good), "-o", "json", HOME=str(good))
    assert (done.returncode, json.loads(done.stdout)["assets"]) == (0, ["a", "b", "c"])
    assert setpoint("validate", str(good), "-o", "github", HOME=str(good)).stdout == ""


def test_validate_prints_warnings_and_succeeds(good: Path) -> None:
    (good / "setpoint.yaml").write_text("\nstateDir: ./state\n")
    done = setpoint("validate", str(good), HOME=str(good))
    assert done.returncode == 0
    assert done.stderr.startswith("setpoint.yaml:2:1: warning: stateDir is ignored")
    found = json.loads(setpoint("validate", str(good), "-o", "json", HOME=str(good)).stdout)
    assert (found["valid"], found["errors"]) == (True, [])
    assert [(one["code"], one["file"], one["line"]) for one in found["warnings"]] == [("ignored", "setpoint.yaml", 2)]
    done = setpoint("validate", str(good), "-o", "github", HOME=str(good))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"::warning file={good}/setpoint.yaml,line=2,col=1,title=ignored::")


def test_validate_fills_in_the_variables_that_are_given(good: Path) -> None:
    identity = (
        'apiVersion: setpoint.dev/v1alpha1\nkind: Identity\nmetadata: {name: i}\nspec: {type: env, env: {A: "${X}"}}\n'
    )
    (good / "resources" / "i.yaml").write_text(identity)
    refused = setpoint("validate", str(good), HOME=str(good))
    assert refused.returncode == 2
    assert "resources/i.yaml:4:28: there is no variable 'X' (--var X=VALUE gives it)" in refused.stderr
    assert setpoint("validate", str(good), "--var", "X=a=b", "--var", "Y=", HOME=str(good)).returncode == 0
    assert setpoint("graph", "--dir", str(good), HOME=str(good)).returncode == 2
    assert setpoint("graph", "--dir", str(good), "--var", "X=", HOME=str(good)).returncode == 0
    for words in (("--var", "X"), ("--var", "X=1", "--var", "X=2"), ("--var", "1X=1", "--var", "X=2")):
        assert setpoint("validate", str(good), *words, HOME=str(good)).returncode == 2


def test_annotations_cannot_be_broken_out_of() -> None:
    fault = Fault("a,code:x", "two\nlines 100%", "f,g:h.yaml", 3, 4, hint="do\rthis")
    (line,) = github(Path(), [fault])
    assert line == "::error file=f%2Cg%3Ah.yaml,line=3,col=4,title=a%2Ccode%3Ax::two%0Alines 100%25 (do%0Dthis)"


def test_a_fault_without_a_place_is_an_annotation_without_one() -> None:
    assert list(github(Path(), [Fault("x", "said")])) == ["::error title=x::said"]


def test_schemas_are_printed_alone_or_together(tmp_path: Path) -> None:
    both = json.loads(setpoint("schema", HOME=str(tmp_path)).stdout)
    alone = json.loads(setpoint("schema", "project", HOME=str(tmp_path)).stdout)
    assert both["project"] == alone
    assert alone["$schema"].startswith("https://json-schema.org/")


def test_the_graph_of_a_project_on_disk(good: Path) -> None:
    drawn = setpoint("graph", "--dir", str(good), HOME=str(good))
    assert drawn.stdout.splitlines() == ["a", "`- b", "   `- c"]
    part = setpoint("graph", "--dir", str(good), "+b", "-x", "label:team=y", "-o", "dot", HOME=str(good))
    assert '"a"' in part.stdout
    assert "->" not in part.stdout
    wrong = setpoint("graph", "--dir", str(good), "bb", HOME=str(good))
    assert wrong.returncode == 2
    assert "'bb'" in wrong.stderr
    listed = json.loads(setpoint("graph", "--dir", str(good), "-o", "json", HOME=str(good)).stdout)
    assert listed[1] == {"name": "b", "state": None, "upstreams": ["a"]}


def test_a_project_that_does_not_compile_has_no_graph(bad: Path) -> None:
    assert setpoint("graph", "--dir", str(bad), HOME=str(bad)).returncode == 2


def test_selected_keeps_the_order_it_is_given() -> None:
    rows = [{"name": "b", "upstreams": ["a"]}, {"name": "a", "upstreams": []}]
    assert selected(rows, ("+b",), ()) == rows
    assert selected(rows, (), ("a",)) == rows[:1]


def test_an_explanation_reads_as_sentences() -> None:
    found = {"name": "a", "state": "not_evaluated", "reasons": []}
    assert lines(found) == ["a is not evaluated: nothing is due"]
    first = {"code": "X", "message": "m", "clears": "c", "since": "s", "next_check": "n", "command": "setpoint x"}
    second = {"code": "Y", "message": "m2", "clears": "setpoint y", "since": None, "next_check": None,
              "command": "setpoint y"}  # fmt: skip
    assert lines({**found, "reasons": [first, second]}) == [
        "a is not evaluated",
        "1. m  [X]",
        "   since s; until: c; next look at n; try: setpoint x",
        "2. m2  [Y]",
        "   until: setpoint y",
    ]


def test_inspect_can_leave_out_what_did_not_change() -> None:
    same, other = {"name": "a", "before": "ready", "after": "ready"}, {"name": "b", "after": "ready"}
    entry = {"conditions": [same, other]}
    assert compared(entry, changed_only=False)["conditions"] == [same, other]
    assert compared(entry, changed_only=True)["conditions"] == [other]
