"""The broker's settings: defaults, secrets from files, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import Config, from_env

GOOD = {
    "SETPOINT_DATABASE_URL": "postgresql://x",
    "SETPOINT_OPERATOR_KEY": "o" * 16,
}


def test_defaults_and_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 20 + "\n")
    config = from_env(GOOD | {"SETPOINT_STATE_DIR": str(tmp_path), "SETPOINT_JOIN_TOKEN_FILE": str(tmp_path / "token")})
    assert config == Config("postgresql://x", "127.0.0.1", 8081, tmp_path, "t" * 20, "o" * 16)
    assert "o" * 16 not in repr(config)
    assert "postgresql" not in repr(config)


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [
        ({"SETPOINT_LISTEN": "0.0.0.0:1"}, ["only loopback"]),
        ({"SETPOINT_LISTEN": "8081"}, ["not host:port"]),
        ({"SETPOINT_OPERATOR_KEY": ""}, ["SETPOINT_OPERATOR_KEY"]),
        ({"SETPOINT_OPERATOR_KEY": "short", "SETPOINT_JOIN_TOKEN": "short"}, ["OPERATOR_KEY has", "JOIN_TOKEN has"]),
        ({"SETPOINT_DATABASE_URL": "", "SETPOINT_LISTEN": "x:y"}, ["DATABASE_URL", "not host:port"]),
    ],
)
def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], faults: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        from_env(GOOD | {"SETPOINT_STATE_DIR": str(tmp_path)} | wrong)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(faults)
    for fault in faults:
        assert any(fault in line for line in lines)
