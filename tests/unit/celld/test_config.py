"""The settings of celld."""

from __future__ import annotations

from pathlib import Path

import pytest

from celld.config import from_env

GOOD = {"SETPOINT_DATABASE_URL": "postgresql://x", "SETPOINT_STATE_DIR": "/tmp/x", "SETPOINT_HOST_ID": "cell-1"}


def test_good_settings_have_the_documented_defaults() -> None:
    config = from_env(GOOD)
    assert (config.listen, config.lease_ttl_s, config.brokers) == (("127.0.0.1", 8082), 10.0, ())
    assert (config.host, config.state_dir, config.objects) == ("cell-1", Path("/tmp/x"), "/tmp/x/objects")
    assert config.cells_per_process == 1


def test_brokers_are_a_list_and_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://from-file\n")
    config = from_env(
        {
            "SETPOINT_DATABASE_URL_FILE": str(tmp_path / "dsn"),
            "SETPOINT_STATE_DIR": str(tmp_path),
            "SETPOINT_BROKERS": "a:1, b:2,",
            "SETPOINT_LEASE_TTL": "3s",
            "SETPOINT_CELLS_PER_PROCESS": "4",
        }
    )
    assert (config.database_url, config.brokers, config.lease_ttl_s) == ("postgresql://from-file", ("a:1", "b:2"), 3.0)
    assert config.cells_per_process == 4


def test_all_faults_are_said_at_once_and_the_exit_code_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        from_env(
            {
                "SETPOINT_STATE_DIR": "/tmp/x",
                "SETPOINT_LISTEN": "0.0.0.0:8082",
                "SETPOINT_LEASE_TTL": "1h",
                "SETPOINT_HOST_ID": "No Name",
                "SETPOINT_OBJECTS": "s3://bucket",
                "SETPOINT_CELLS_PER_PROCESS": "65",
            }
        )
    assert ended.value.code == 2
    said = capsys.readouterr().err
    settings = ("DATABASE_URL", "LISTEN", "LEASE_TTL", "HOST_ID", "CELLS_PER_PROCESS")
    for word in (*(f"SETPOINT_{name}" for name in settings), "s3://bucket"):
        assert word in said
