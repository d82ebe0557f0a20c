"""The object store: immutable, private, whole or absent, and only under keys that name a place in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setpoint.objects import DirectoryStore, ObjectMissing, blob_key, open_store, output_key


def test_what_is_put_is_what_is_got(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    key = blob_key("t", "ab" * 32)
    assert store.size(key) is None
    with pytest.raises(ObjectMissing):
        store.get(key)
    for content in (b"", b"\x00\xff" * 1000):
        store.put(key + str(len(content)), content)
        assert store.get(key + str(len(content))) == content
        assert store.size(key + str(len(content))) == len(content)


def test_an_object_is_written_once(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("t/blobs/a", b"first")
    store.put("t/blobs/a", b"second")
    assert store.get("t/blobs/a") == b"first"


def test_objects_are_private_and_nothing_is_left_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.put("t/blobs/a", b"x")
    files = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["a"]
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700


def test_many_writers_of_one_object_agree(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    content = b"same" * 100_000
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put("t/blobs/a", content), range(16)))
    assert store.get("t/blobs/a") == content
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").mkdir()
    store.put("t/b", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        store.put("file/under", b"x")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "/a/b",
        "a/",
        "a//b",
        "../a",
        "a/..",
        "a/../b",
        "a/.b",
        ".a/b",
        "a/b\n",
        "a/b\x00",
        "a\\b",
        "a/ b",
        "ä/b",
    ],
)
def test_what_is_no_key_reaches_no_file(tmp_path: Path, key: str) -> None:
    store = DirectoryStore(tmp_path / "inner")
    for call in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.size(key)):
        with pytest.raises(ValueError, match="no object key"):
            call()
    assert list((tmp_path / "inner").iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_no_key_leads_out_of_the_directory(tmp_path: Path, key: str) -> None:
    root = tmp_path / "root"
    store = DirectoryStore(root)
    try:
        store.size(key)
    except ValueError:
        return
    assert (root / key).resolve().is_relative_to(root.resolve())


def test_keys_begin_with_the_tenant() -> None:
    assert blob_key("t", "00") == "t/blobs/00"
    assert output_key("t", "r", 2, "stdout") == "t/output/r/2.stdout"


def test_the_setting_names_a_directory(tmp_path: Path) -> None:
    for location in (str(tmp_path / "a"), f"file://{tmp_path}/b"):
        open_store(location).put("t/x", b"1")
    assert (tmp_path / "a/t/x").exists()
    assert (tmp_path / "b/t/x").exists()
    with pytest.raises(ValueError, match="only a directory"):
        open_store("s3://bucket")
