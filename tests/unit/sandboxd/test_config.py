"""Settings of a sandbox host: all faults at once, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxd.config import from_env
from setpoint.contracts import limits


def test_everything_has_a_default_but_the_directory(tmp_path: Path) -> None:
    config = from_env({"SETPOINT_STATE_DIR": str(tmp_path)})
    assert (config.host, config.port) == ("127.0.0.1", 8083)
    assert config.directory == tmp_path / "sandboxd" and config.objects == str(tmp_path / "objects")
    assert config.brokers == () and config.mounts == () and config.bwrap == "" and config.advertise == ""
    assert config.runs_max == limits.RUNS_PER_HOST_MAX and not config.unsafe
    assert config.uids == (range(600_000, 660_000) if os.geteuid() == 0 else None)


def test_settings_are_read(tmp_path: Path) -> None:
    config = from_env(
        {
            "SETPOINT_STATE_DIR": str(tmp_path),
            "SETPOINT_LISTEN": "127.0.0.1:0",
            "SETPOINT_BROKERS": "a:1, b:2",
            "SETPOINT_SANDBOX_MOUNTS": "/usr:/etc",
            "SETPOINT_SANDBOX_UID_FIRST": "700000",
            "SETPOINT_SANDBOX_UID_COUNT": "5",
            "SETPOINT_UNSAFE_NO_ISOLATION": "yes",
            "SETPOINT_JOIN_TOKEN": "secret",
        }
    )
    assert config.brokers == ("a:1", "b:2") and config.mounts == ("/usr", "/etc") and config.unsafe
    assert config.uids in (range(700_000, 700_005), None)
    assert "secret" not in repr(config)


def test_all_faults_are_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "SETPOINT_STATE_DIR": str(tmp_path),
        "SETPOINT_LISTEN": "0.0.0.0:1",
        "SETPOINT_BROKERS": "nonsense",
        "SETPOINT_SANDBOX_MOUNTS": "/",
        "SETPOINT_SANDBOX_RUNS_MAX": "0",
        "SETPOINT_UNSAFE_NO_ISOLATION": "maybe",
    }
    with pytest.raises(SystemExit) as refused:
        from_env(settings)
    assert refused.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 5
