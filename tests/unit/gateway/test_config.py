"""The settings of a gateway: read once, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import from_env


def test_good_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://somewhere\n")
    config = from_env(
        {
            "SETPOINT_DATABASE_URL_FILE": str(tmp_path / "dsn"),
            "SETPOINT_STATE_DIR": str(tmp_path / "state"),
            "SETPOINT_BROKERS": "127.0.0.1:1, 127.0.0.1:2,",
            "SETPOINT_LISTEN": "127.0.0.1:0",
            "SETPOINT_HOST_ID": "edge-1",
        }
    )
    assert (config.database_url, config.port, config.host_id) == ("postgresql://somewhere", 0, "edge-1")
    assert config.brokers == ("127.0.0.1:1", "127.0.0.1:2")
    assert config.objects == str(tmp_path / "state" / "objects")
    assert "somewhere" not in repr(config)


def test_without_brokers_there_are_none(tmp_path: Path) -> None:
    config = from_env({"SETPOINT_DATABASE_URL": "x", "SETPOINT_STATE_DIR": str(tmp_path)})
    assert config.brokers == ()


def test_all_faults_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    bad = {
        "SETPOINT_LISTEN": "0.0.0.0:80",
        "SETPOINT_BROKERS": "a,b:0,:5",
        "SETPOINT_STATE_DIR": str(tmp_path / "file" / "below"),
        "SETPOINT_OBJECTS": "s3://bucket",
    }
    with pytest.raises(SystemExit) as caught:
        from_env(bad)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 7
    assert all(line.startswith("setpoint-gateway: ") for line in said)
