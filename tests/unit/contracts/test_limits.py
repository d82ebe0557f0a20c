"""The limits: documented values stay documented values, and a bound is never a bool or nothing."""

from __future__ import annotations

from setpoint.contracts import limits

DOCUMENTED = {
    "REQUEST_BYTES_MAX": 1 << 20,
    "BLOB_BYTES_MAX": 64 << 20,
    "MANIFEST_FILE_BYTES_MAX": 256 << 10,
    "YAML_DEPTH_MAX": 32,
    "YAML_NODES_MAX": 10_000,
    "YAML_ALIASES_MAX": 64,
    "PROJECT_BYTES_MAX": 64 << 20,
    "PROJECT_FILES_MAX": 2000,
    "ASSETS_MAX": 10_000,
    "EVENT_BYTES_MAX": 32 << 10,
    "OUTPUT_BYTES_MAX": 8 << 20,
    "OUTPUT_TAIL_BYTES": 4 << 10,
    "SSE_BUFFER_BYTES_MAX": 256 << 10,
    "SSE_HEARTBEAT_S": 15.0,
    "PAGE_ITEMS_MAX": 500,
    "CELL_START_S_MAX": 10.0,
    "LEASE_TTL_S": 10.0,
    "LEASE_RENEW_S": 2.0,
    "HOST_TOKEN_S": 7 * 24 * 3600,
    "GRANT_S": 600,
    "IDEMPOTENCY_TTL_S": 24 * 3600,
}


def test_the_documented_limits_hold() -> None:
    assert {name: getattr(limits, name) for name in DOCUMENTED} == DOCUMENTED
    assert limits.UNENDED_MAX == {limits.LANE_WORK: 100, limits.LANE_CONTROL: 20}


def test_every_limit_is_a_positive_number() -> None:
    for name in dir(limits):
        value = getattr(limits, name)
        if name.isupper() and not name.startswith("LANE_") and name != "UNENDED_MAX":
            assert isinstance(value, int | float), name
            assert not isinstance(value, bool), name
            assert value > 0, name


def test_relations_that_other_rooms_count_on() -> None:
    assert limits.WAKE_CLAIM_HOLD_S < limits.LEASE_TTL_S, "a claim that was lost is due again before a lease is over"
    assert limits.POLL_S < limits.LEASE_TTL_S * (1 - limits.LEASE_START_FRACTION)
    assert limits.HOST_TOKEN_RENEW_S < limits.HOST_TOKEN_S - limits.CLOCK_LEEWAY_S
    assert limits.PAGE_ITEMS_DEFAULT <= limits.PAGE_ITEMS_MAX
    assert limits.CLOCK_LEEWAY_S < limits.PROOF_S
