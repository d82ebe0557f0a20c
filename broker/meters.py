"""What the broker counts for ``/metrics``."""

from __future__ import annotations

from typing import Final

import prometheus_client

LINKS: Final = prometheus_client.Gauge("setpoint_broker_links", "Hosts linked to this broker", ["role"])
JOINS: Final = prometheus_client.Counter(
    "setpoint_broker_joins_total",
    "Hosts that asked to join, by answer: admitted or the code of the refusal",
    ["answer"],
)
PLACEMENTS: Final = prometheus_client.Counter(
    "setpoint_broker_placements_total", "Questions where to place a session", ["role", "answer"]
)
SWEPT: Final = prometheus_client.Counter(
    "setpoint_broker_swept_rows_total", "Rows that nobody needed any more, by what they were", ["kind"]
)
SWEEPS_FAILED: Final = prometheus_client.Counter(
    "setpoint_broker_sweeps_failed_total", "Sweeps that the database did not answer", ["kind"]
)
MARKED: Final = prometheus_client.Counter(
    "setpoint_broker_hosts_marked_total", "Hosts marked as dead, by what proved it", ["role", "proof"]
)
