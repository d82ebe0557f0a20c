"""The checker finds what is planted: a sound history passes, and each corruption of it is named by its own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.event import COMMAND_ENDS
from setpoint.contracts.resource.model import encode
from tests.chaos.checker import CHECKS, violations
from tests.chaos.evidence import Evidence, Json, Post
from tests.house.tree import ROOT
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
    begun = [f"{event['asset']} {event['execution_id']}" for event in events if event["type"] == "sync.started"]
    lines = [f"{word} {what}" for what in begun for word in ("start", "end")]
    beats = [f"{line} {at}" for at, line in enumerate(lines)]
    ends = {event["command_id"]: event["type"] for event in events if event["type"] in COMMAND_ENDS}
    return Evidence(
        world.state.session_id,
        events,
        dict(world.docs),
        "\n".join(lines),
        "",
        posts,
        tuple(event["seq"] for event in events),
        {sha256_hex(content): content},
        "\n".join(beats),
        {command: kind.partition(".")[2] for command, kind in ends.items()},
    )


def with_events(change: Callable[[list[Json]], None]) -> Callable[[Evidence], Evidence]:
    """Corrupt the log and leave the rest."""

    def corrupt(evidence: Evidence) -> Evidence:
        events = msgspec.json.decode(msgspec.json.encode(evidence.events), type=list[dict[str, Any]])
        change(events)
        return replace(evidence, events=events)

    return corrupt


def place(events: list[Json], kind: str, no: int = 0) -> int:
    """Return where the event of a type stands."""
    return [at for at, event in enumerate(events) if event["type"] == kind][no]


def number(events: list[Json]) -> None:
    """Give the events their seqs anew, so that only the planted fault is left."""
    for seq, event in enumerate(events, 1):
        event["seq"] = seq


def lost_event(events: list[Json]) -> None:
    """An event is lost."""
    del events[5]


def doubled_event(events: list[Json]) -> None:
    """An event stands twice in the log."""
    events.insert(5, events[5])


def epoch_back(events: list[Json]) -> None:
    """A fenced owner appends once more."""
    events[-1]["epoch"] = [1, 1]


def acquired_twice(events: list[Json]) -> None:
    """An epoch is given away twice."""
    at = place(events, "lease.acquired", -1)
    events.insert(at + 1, dict(events[at]))
    number(events)


def unowned(events: list[Json]) -> None:
    """Somebody writes after the session was given up."""
    events.insert(len(events) - 1, events[-1] | {"type": "lease.released", "execution_id": None, "asset": None})
    number(events)


def owner_again(events: list[Json]) -> None:
    """A host from which the session was taken takes it back without having begun anew."""
    for event in events:
        if event["type"] == "lease.acquired":
            event["data"] = {"host": "h", "incarnation": "i"}


def accepted_twice(events: list[Json]) -> None:
    """A command is accepted twice."""
    at = place(events, "command.accepted", -1)
    events.insert(at + 1, dict(events[at]))
    number(events)


def unended_command(events: list[Json]) -> None:
    """A command never ends."""
    del events[place(events, "command.succeeded", -1)]
    number(events)


def ended_early(events: list[Json]) -> None:
    """A command ends before it is accepted."""
    end = events.pop(place(events, "command.succeeded", -1))
    events.insert(place(events, "command.accepted", -1), end)
    number(events)


def without_end(events: list[Json]) -> None:
    """A sync never ends."""
    del events[place(events, "sync.succeeded")]
    number(events)


def ended_twice(events: list[Json]) -> None:
    """A sync ends twice."""
    at = place(events, "sync.succeeded")
    events.insert(at + 1, dict(events[at]))
    number(events)


def never_started(events: list[Json]) -> None:
    """An evaluation ends that had not started."""
    del events[place(events, "evaluation.started")]
    number(events)


def two_at_once(events: list[Json]) -> None:
    """A sync of an asset starts while another runs."""
    at = place(events, "sync.started")
    events.insert(at + 1, events[at] | {"execution_id": "another"})
    number(events)


def lost_command(evidence: Evidence) -> Evidence:
    """A command was promised, and the log does not know it."""
    lost = Post("k3", "evaluate", {}, ("0198c0de-0000-7000-8000-999999999999",))
    return replace(evidence, posts=(*evidence.posts, lost))


def unasked_command(evidence: Evidence) -> Evidence:
    """A command is in the log that nobody was promised."""
    return replace(evidence, posts=evidence.posts[:1])


def two_answers(evidence: Evidence) -> Evidence:
    """One key is answered with two commands."""
    ids = tuple(post.command_ids[0] for post in evidence.posts)
    return replace(evidence, posts=(Post("k", "sync", {}, ids),))


def shared_answer(evidence: Evidence) -> Evidence:
    """Two keys are answered with one command."""
    again = replace(evidence.posts[1], key="k3")
    return replace(evidence, posts=(*evidence.posts, again))


def refused(evidence: Evidence) -> Evidence:
    """A sound command is refused for good."""
    return replace(evidence, posts=(*evidence.posts, Post("k3", "evaluate", {}, refused="404 not-found")))


def wrong_order(evidence: Evidence) -> Evidence:
    """Commands are accepted in another order than they were promised in."""
    return replace(evidence, posts=evidence.posts[::-1])


def recorded_together(evidence: Evidence) -> Evidence:
    """A second sync of an asset writes its start before the first has written its end."""
    lines = evidence.recorder.splitlines()
    mine = [line for line in lines if " a " in line]
    assert [line.split()[0] for line in mine[:4]] == ["start", "end", "start", "end"]
    mixed = [mine[0], mine[2], mine[1], *mine[3:], *[line for line in lines if " a " not in line]]
    return replace(evidence, recorder="\n".join(mixed))


def recorded_twice(evidence: Evidence) -> Evidence:
    """One sync runs two times."""
    first = evidence.recorder.splitlines()[:2]
    return replace(evidence, recorder="\n".join([*first, *evidence.recorder.splitlines()]))


def recorded_not(evidence: Evidence) -> Evidence:
    """A sync succeeded by the log and never ran."""
    return replace(evidence, recorder="\n".join(evidence.recorder.splitlines()[2:]))


def unknown_run(evidence: Evidence) -> Evidence:
    """A sync runs that no event had started."""
    return replace(evidence, recorder=evidence.recorder + "\nstart a nobody")


def side_by_side(evidence: Evidence) -> Evidence:
    """Two syncs of an asset work at one time, in two workspaces."""
    beats = evidence.beats.splitlines()
    late = next(line for line in reversed(beats) if line.startswith("end a "))
    first = next(line for line in beats if line.startswith("start a "))
    word, asset, execution, _ = first.split()
    return replace(
        evidence, beats="\n".join([*beats, f"{word.replace('start', 'beat')} {asset} {execution} {late.split()[3]}"])
    )


def begun_twice(evidence: Evidence) -> Evidence:
    """One sync begins in two workspaces."""
    first = evidence.beats.splitlines()[0]
    return replace(evidence, beats="\n".join([first, evidence.beats]))


def told_otherwise(evidence: Evidence) -> Evidence:
    """The API says that a command failed which the log says succeeded."""
    return replace(evidence, commands=evidence.commands | {evidence.posts[1].command_ids[0]: "failed"})


def marked_twice(evidence: Evidence) -> Evidence:
    """The tool of one command runs two times."""
    marking = replace(evidence.posts[1], key="k2-mark")
    return replace(evidence, posts=(evidence.posts[0], marking), marks="k2-mark\nk2-mark\n")


def marked_not(evidence: Evidence) -> Evidence:
    """The tool of a command that succeeded never ran."""
    return replace(evidence, posts=(evidence.posts[0], replace(evidence.posts[1], key="k2-mark")))


def stream_jumps(evidence: Evidence) -> Evidence:
    """A stream leaves an event out."""
    return replace(evidence, streamed=evidence.streamed[:4] + evidence.streamed[5:])


def stream_repeats(evidence: Evidence) -> Evidence:
    """A stream gives an event twice."""
    return replace(evidence, streamed=evidence.streamed[:5] + evidence.streamed[4:])


def not_ready(evidence: Evidence) -> Evidence:
    """An asset stays Drifted."""
    row = evidence.assets["b"] | {"state": "drifted", "known": "drifted"}
    return replace(evidence, assets=evidence.assets | {"b": row})


def drifted(evidence: Evidence) -> Evidence:
    """The projection says something else than the log."""
    row = evidence.assets["a"] | {"failures": 7}
    return replace(evidence, assets=evidence.assets | {"a": row})


PLANTED: dict[Callable[[Evidence], Evidence] | Callable[[list[Json]], None], str] = {
    lost_event: "gaps",
    doubled_event: "gaps",
    epoch_back: "epochs",
    acquired_twice: "epochs",
    unowned: "owners",
    owner_again: "owners",
    accepted_twice: "commands",
    unended_command: "commands",
    ended_early: "commands",
    lost_command: "commands",
    unasked_command: "commands",
    two_answers: "keys",
    shared_answer: "keys",
    refused: "keys",
    wrong_order: "order",
    without_end: "executions",
    ended_twice: "executions",
    never_started: "executions",
    two_at_once: "overlaps",
    recorded_together: "recorder",
    recorded_twice: "recorder",
    recorded_not: "recorder",
    unknown_run: "recorder",
    side_by_side: "together",
    begun_twice: "together",
    told_otherwise: "results",
    marked_twice: "marks",
    marked_not: "marks",
    stream_jumps: "stream",
    stream_repeats: "stream",
    not_ready: "ready",
    drifted: "fold",
}
"""Every corruption and the check that must find it. What takes a list of events corrupts the log alone."""


def planted(name: str) -> Evidence:
    """Return a sound history with a corruption in it."""
    corrupt: Any = next(one for one in PLANTED if one.__name__ == name)
    return with_events(corrupt)(sound()) if "events" in corrupt.__annotations__ else corrupt(sound())


def test_a_sound_history_passes() -> None:
    evidence = sound()
    assert any(event["type"] == "run.adopted" for event in evidence.events)
    assert violations(evidence) == []


@pytest.mark.parametrize(("name", "check"), [(corrupt.__name__, check) for corrupt, check in PLANTED.items()])
def test_a_planted_corruption_is_found_by_its_check(name: str, check: str) -> None:
    found = violations(planted(name))
    assert check in {line.partition(":")[0] for line in found}, found


def test_every_check_has_a_corruption_and_the_document_lists_them_all() -> None:
    assert {check.__name__ for check in CHECKS} == set(PLANTED.values())
    listed = (ROOT / "docs" / "internals" / "chaos.md").read_text().splitlines()
    rows = {f"| `{check}` | {corrupt.__doc__} |" for corrupt, check in PLANTED.items()}
    assert rows <= set(listed), sorted(rows - set(listed))
