"""The checker finds what is planted: a sound history passes, and each corruption of it is named by its own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.resource.model import encode
from tests.chaos.checker import violations
from tests.chaos.evidence import Evidence, Json, Post
from tests.sim.world import World, asset, project


def sound() -> Evidence:
    """A history made by the real core in its small world: two heals, a take-over in mid-sync, a sync command."""
    compiled = project(asset("a", interval=5.0), asset("b", "a"))
    world = World(compiled)
    world.run(60)
    world.drift("a")
    world.run(8)
    world.crash()
    world.run(60)
    asked = world.command("sync", {"select": ["b"]})
    world.run(60)
    applied = next(event.command_id for event in world.events("command.accepted"))
    events: list[Json] = [msgspec.to_builtins(event.as_json()) for event in world.log]
    posts = (Post("k1", "apply", {}, (str(applied),)), Post("k2", "sync", {}, (asked, asked)))
    content = encode(compiled)
    lines = []
    for event in events:
        if event["type"] == "sync.started":
            lines += [
                f"start {event['asset']} {event['execution_id']}",
                f"end {event['asset']} {event['execution_id']}",
            ]
    return Evidence(
        world.state.session_id,
        events,
        dict(world.docs),
        "\n".join(lines),
        "",
        posts,
        tuple(event["seq"] for event in events),
        {sha256_hex(content): content},
    )


def with_events(change: Callable[[list[Json]], None]) -> Callable[[Evidence], Evidence]:
    """Corrupt the log and leave the rest."""

    def corrupt(evidence: Evidence) -> Evidence:
        events = msgspec.json.decode(msgspec.json.encode(evidence.events), type=list[dict[str, Any]])
        change(events)
        return msgspec.structs.replace(evidence, events=events)

    return corrupt


def place(events: list[Json], kind: str, no: int = 0) -> int:
    """Return where the event of a type stands."""
    return [at for at, event in enumerate(events) if event["type"] == kind][no]


def number(events: list[Json]) -> None:
    """Give the events their seqs anew, so that only the planted fault is left."""
    for seq, event in enumerate(events, 1):
        event["seq"] = seq


def without_end(events: list[Json]) -> None:
    """Lose the end of a sync."""
    del events[place(events, "sync.succeeded")]
    number(events)


def accepted_twice(events: list[Json]) -> None:
    """Accept a command a second time."""
    at = place(events, "command.accepted", -1)
    events.insert(at + 1, dict(events[at]))
    number(events)


def epoch_back(events: list[Json]) -> None:
    """Let the fenced owner append once more."""
    events[-1]["epoch"] = [1, 1]


def two_at_once(events: list[Json]) -> None:
    """Start a sync of an asset while another runs."""
    at = place(events, "sync.started")
    events.insert(at + 1, events[at] | {"execution_id": "another"})
    number(events)


def lost_event(events: list[Json]) -> None:
    """Lose one row."""
    del events[5]


def unended_command(events: list[Json]) -> None:
    """Lose the end of a command."""
    del events[place(events, "command.succeeded", -1)]
    number(events)


def drifted(evidence: Evidence) -> Evidence:
    """Let the projection say something else than the log."""
    row = evidence.assets["a"] | {"failures": 7}
    return msgspec.structs.replace(evidence, assets=evidence.assets | {"a": row})


def not_ready(evidence: Evidence) -> Evidence:
    """Let an asset stay Drifted."""
    row = evidence.assets["b"] | {"state": "drifted", "known": "drifted"}
    return msgspec.structs.replace(evidence, assets=evidence.assets | {"b": row})


def recorded_together(evidence: Evidence) -> Evidence:
    """Let a second execution of an asset begin before the first has ended."""
    lines = evidence.recorder.splitlines()
    mine = [line for line in lines if " a " in line]
    assert [line.split()[0] for line in mine[:4]] == ["start", "end", "start", "end"]
    mixed = [mine[0], mine[2], mine[1], *mine[3:], *[line for line in lines if " a " not in line]]
    return msgspec.structs.replace(evidence, recorder="\n".join(mixed))


def recorded_twice(evidence: Evidence) -> Evidence:
    """Let one execution run two times."""
    first = evidence.recorder.splitlines()[:2]
    return msgspec.structs.replace(evidence, recorder="\n".join([*first, *evidence.recorder.splitlines()]))


def unknown_run(evidence: Evidence) -> Evidence:
    """Let something run that no event had started."""
    return msgspec.structs.replace(evidence, recorder=evidence.recorder + "\nstart a nobody")


def lost_command(evidence: Evidence) -> Evidence:
    """Promise a command that the log does not know."""
    lost = Post("k3", "evaluate", {}, ("0198c0de-0000-7000-8000-999999999999",))
    return msgspec.structs.replace(evidence, posts=(*evidence.posts, lost))


def two_answers(evidence: Evidence) -> Evidence:
    """Answer one key with two commands."""
    ids = tuple(post.command_ids[0] for post in evidence.posts)
    return msgspec.structs.replace(evidence, posts=(Post("k", "sync", {}, ids),))


def wrong_order(evidence: Evidence) -> Evidence:
    """Promise commands in the other order than the log accepted them."""
    return msgspec.structs.replace(evidence, posts=evidence.posts[::-1])


def marked_twice(evidence: Evidence) -> Evidence:
    """Let the tool of one command run two times."""
    marking = msgspec.structs.replace(evidence.posts[1], key="k2-mark")
    return msgspec.structs.replace(evidence, posts=(evidence.posts[0], marking), marks="k2-mark\nk2-mark\n")


def stream_jumps(evidence: Evidence) -> Evidence:
    """Let the stream leave an event out."""
    return msgspec.structs.replace(evidence, streamed=evidence.streamed[:4] + evidence.streamed[5:])


def test_a_sound_history_passes() -> None:
    evidence = sound()
    assert any(event["type"] == "run.adopted" for event in evidence.events)
    assert violations(evidence) == []


@pytest.mark.parametrize(
    ("corrupt", "check"),
    [
        (with_events(lost_event), "gaps"),
        (with_events(epoch_back), "epochs"),
        (with_events(accepted_twice), "commands"),
        (with_events(unended_command), "commands"),
        (lost_command, "commands"),
        (two_answers, "keys"),
        (wrong_order, "order"),
        (with_events(without_end), "executions"),
        (with_events(two_at_once), "overlaps"),
        (recorded_together, "recorder"),
        (recorded_twice, "recorder"),
        (unknown_run, "recorder"),
        (marked_twice, "marks"),
        (stream_jumps, "stream"),
        (not_ready, "ready"),
        (drifted, "fold"),
    ],
)
def test_a_planted_corruption_is_found(corrupt: Callable[[Evidence], Evidence], check: str) -> None:
    found = violations(corrupt(sound()))
    assert check in {line.partition(":")[0] for line in found}, found
