"""What an apply would change: assets by digest, files by mode and content, and the settings."""

from __future__ import annotations

from setpoint.cli.preview import Present, Preview, preview
from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.model import CompiledSet

Files = dict[str, tuple[bytes, int]]

API = "apiVersion: setpoint.dev/v1alpha1\n"


def asset(name: str, spec: str = "{}") -> str:
    return API + f"kind: Asset\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def files(*assets: str, settings: str = "", **others: str) -> Files:
    made = {"resources/a.yaml": "---\n".join(assets), "setpoint.yaml": settings, **others}
    return {path: (text.encode(), 0o644) for path, text in made.items()}


def compiled(project: Files) -> CompiledSet:
    found = compile_project({path: content for path, (content, _) in project.items()}).compiled
    assert found is not None
    return found


def as_present(project: Files) -> Present:
    listed = {path: (mode, sha256_hex(content)) for path, (content, mode) in project.items()}
    return Present(3, compiled(project), listed)


def between(before: Files, after: Files) -> Preview:
    return preview(as_present(before), compiled(after), after)


def test_of_a_session_without_a_project_all_is_new() -> None:
    project = files(asset("a"), asset("b"), settings="maxSyncConcurrency: 1\n")
    found = preview(Present(), compiled(project), project)
    assert found.as_json() == {
        "assets": {"new": ["a", "b"], "changed": [], "gone": []},
        "files": {"new": ["resources/a.yaml", "setpoint.yaml"], "changed": [], "gone": []},
        "settings_changed": False,
    }


def test_the_same_project_changes_nothing() -> None:
    project = files(asset("a"))
    assert between(project, dict(project)).rows() == []


def test_what_is_new_changed_and_gone_is_named() -> None:
    before = files(asset("a"), asset("b"), asset("c"), **{"old.sh": "x", "run.sh": "x"})
    after = files(asset("b", "{modelName: x}"), asset("c"), asset("d"), settings="maxSyncConcurrency: 1\n")
    after |= {"run.sh": (b"x", 0o755), "new.sh": (b"y", 0o644)}
    assert [tuple(row.values()) for row in between(before, after).rows()] == [
        ("new", "asset", "d"),
        ("changed", "asset", "b"),
        ("gone", "asset", "a"),
        ("changed", "settings", ""),
        ("new", "file", "new.sh"),
        ("changed", "file", "resources/a.yaml"),
        ("changed", "file", "run.sh"),
        ("changed", "file", "setpoint.yaml"),
        ("gone", "file", "old.sh"),
    ]


def test_a_comment_changes_a_file_and_no_asset() -> None:
    rows = between(files(asset("a")), files("# why\n" + asset("a"))).rows()
    assert rows == [{"change": "changed", "what": "file", "name": "resources/a.yaml"}]
