"""Reading a project from disk: what is taken, what is left out, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from setpoint.cli import context
from setpoint.cli.context import session_name
from setpoint.cli.project import read_project
from setpoint.contracts.problem import Problem


def test_hidden_files_and_caches_are_left_out_and_modes_are_plain(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "a.yaml").write_text("a")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("secret")
    (tmp_path / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "run.sh").chmod(0o770)
    assert read_project(tmp_path) == {"resources/a.yaml": (b"a", 0o644), "run.sh": (b"#!/bin/sh", 0o755)}


ORIGIN = b"kind: Origin\n"


@pytest.mark.parametrize(
    ("resources", "taken"),
    [
        (ORIGIN, ["dbt/target/manifest.json", "resources/a.yaml", "target/manifest.json"]),
        (b"x: y\n", ["resources/a.yaml"]),
    ],
)
def test_of_what_dbt_writes_the_manifest_is_taken_when_there_may_be_an_origin(
    tmp_path: Path, resources: bytes, taken: list[str]
) -> None:
    names = (
        "target/manifest.json",
        "target/run_results.json",
        "dbt/target/manifest.json",
        ".venv/target/manifest.json",
    )
    for name in (*names, "target/target/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "a.yaml").write_bytes(resources)
    assert sorted(read_project(tmp_path)) == taken


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    os.symlink("/etc/passwd", tmp_path / "stolen")
    with pytest.raises(Problem, match="stolen"):
        read_project(tmp_path)


@pytest.mark.parametrize(("directory", "name"), [("Hello World", "hello-world"), ("--x--", "x"), ("ü", "project")])
def test_a_directory_stands_for_a_legal_session_name(tmp_path: Path, directory: str, name: str) -> None:
    assert session_name(tmp_path / directory) == name


@pytest.mark.parametrize("target", ["/etc", "/etc/passwd", "/nowhere"])
def test_links_are_refused_wherever_they_lead(tmp_path: Path, target: str) -> None:
    (tmp_path / "setpoint.yaml").write_text("{}\n")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Problem, match="link is not a plain file"):
        read_project(tmp_path)


def test_the_profile_is_private_even_when_an_older_one_was_not(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = context.profile_path(environ)
    path.parent.mkdir()
    path.write_text('{"other": {"server": "http://x"}}')
    path.chmod(0o644)
    assert context.save_profile(environ, {"api_key": "k"}) == path
    assert path.stat().st_mode & 0o777 == 0o600
    assert context.load_profile(environ) == {"api_key": "k"}
    assert context.load_profile({**environ, "SETPOINT_PROFILE": "other"}) == {"server": "http://x"}
