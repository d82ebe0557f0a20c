"""What a run has reached is counted from events, refusals and log lines, and too little of it is named."""

from __future__ import annotations

import json

from tests.chaos.evidence import Evidence, Post
from tests.chaos.schedule import BUSIEST, KILLS, TRAPS, schedule
from tests.chaos.tally import ENOUGH, WANTED, missing, tally


def line(event: str, **fields: str) -> str:
    return json.dumps({"event": event, **fields})


def test_each_counter_has_its_source() -> None:
    kinds = ("run.adopted", "run.interrupted", "sync.outcome_unknown", "sync.outcome_unknown", "asset.ready")
    posts = (Post("k", "tool", {}, ("c", "c")),)
    evidence = Evidence("s", [{"type": kind} for kind in kinds], {}, posts=posts, fencing=3)
    logs = {
        "celld-2": [
            line("commit was in the log already"),
            line("run found", state="never_seen"),
            line("run found", state="running"),
            "Traceback (most recent call last):",
        ],
        "sandboxd": [line("refused", code="stale-epoch"), line("refused", code="no-capacity")],
        "gateway": [line("run found", state="never_seen")],
    }
    count = tally([evidence], logs)
    assert [count[word] for word in WANTED] == [1, 3, 1, 1, 1, 2]
    assert (count["stale_epoch"], count["replayed"]) == (1, 1)
    assert missing(dict.fromkeys(WANTED, ENOUGH) | {"fenced": ENOUGH - 1}) == ["fenced 9"]


def test_a_seed_is_one_schedule_and_reaches_every_tier() -> None:
    names = ["broker", "broker-2", "sandboxd", "sandboxd-2", "celld", "celld-2", "celld-3", "gateway", "gateway-2"]
    faults = [fault for fault, _ in zip(schedule(7, names), range(2000), strict=False)]
    assert faults == [fault for fault, _ in zip(schedule(7, names), range(2000), strict=False)]
    assert faults != [fault for fault, _ in zip(schedule(8, names), range(2000), strict=False)]
    assert {fault.kind for fault in faults} >= {*KILLS, "freeze", "cut", "stall", "deaf", "apart"}
    assert {fault.target for fault in faults if fault.kind == "kill"} == {*names, BUSIEST}
    armed = {fault.trap.partition("@")[0] for fault in faults if fault.trap}
    assert armed == {trap for traps in TRAPS.values() for trap in traps}
