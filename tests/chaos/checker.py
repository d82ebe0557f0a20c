"""The judge of a chaos run: pure functions from evidence to violations. It starts nothing, asks nobody, and forgives
nothing but what the design says: a killed run leaves a start without an end, and is over when the log says so.

Each check returns one line per violation, with the smallest witness there is. ``tests/unit/chaos`` plants corruptions
and shows that each is found.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from celld.core.evolve import evolve
from celld.core.project import document
from celld.core.state import State, empty
from setpoint.contracts.event import COMMAND_ENDS, Event
from setpoint.verify import commands as command_rules
from setpoint.verify import log as log_rules
from setpoint.verify.finding import Findings
from setpoint.verify.log import SYNC_ENDS
from setpoint.verify.session import event_of
from tests.chaos.evidence import Evidence, Json


def violations(evidence: Evidence) -> list[str]:
    """Return every violation of every invariant; nothing found is an empty list."""
    return [f"{check.__name__}: {line}" for check in CHECKS for line in check(evidence)]


def gaps(evidence: Evidence) -> Iterator[str]:
    """The seqs are 1, 2, 3 and so on."""
    yield from _told(log_rules.gaps(_rows(evidence)))


def epochs(evidence: Evidence) -> Iterator[str]:
    """An epoch never goes back, and each begins with its one ``lease.acquired``."""
    yield from _told(log_rules.epochs(_rows(evidence)))


def owners(evidence: Evidence) -> Iterator[str]:
    """Between owners nobody writes, and a host from which a session was taken never owns it again as it was."""
    yield from _told(log_rules.owners(_rows(evidence)))


def commands(evidence: Evidence) -> Iterator[str]:
    """Accepted once and ended once: whatever a client was promised, and whatever else is in the log."""
    accepted = _by_command(evidence, frozenset({"command.accepted"}))
    ended = _by_command(evidence, COMMAND_ENDS)
    promised = {command_id for post in evidence.posts for command_id in post.command_ids}
    for command_id in sorted(promised | accepted.keys() | ended.keys()):
        first, last = accepted.get(command_id, []), ended.get(command_id, [])
        rejected = not first and [event["type"] for event in last] in (["command.rejected"], ["command.quarantined"])
        if len(first) != 1 and not rejected:
            yield f"{command_id} was accepted {len(first)} times, at {_seqs(first)}"
        if len(last) != 1:
            yield f"{command_id} ended {len(last)} times, at {_seqs(last)}"
        if first and last and last[0]["seq"] < first[0]["seq"]:
            yield f"{command_id} ended at {_seqs(last)} before it was accepted at {_seqs(first)}"
        if evidence.posts and command_id not in promised:
            yield f"{command_id} is in the log and nobody was promised it"


def keys(evidence: Evidence) -> Iterator[str]:
    """One key is one command, and two keys are two."""
    owner: dict[str, str] = {}
    for post in evidence.posts:
        if len(set(post.command_ids)) > 1:
            yield f"key {post.key} was answered with {sorted(set(post.command_ids))}"
        for command_id in set(post.command_ids):
            if owner.setdefault(command_id, post.key) != post.key:
                yield f"{command_id} was the answer to keys {owner[command_id]} and {post.key}"
        if post.refused:
            yield f"key {post.key} ({post.type}) was refused: {post.refused}"


def order(evidence: Evidence) -> Iterator[str]:
    """What one client was promised in an order is accepted in that order, within a lane."""
    accepted = {event.get("command_id"): event for event in evidence.events if event["type"] == "command.accepted"}
    last: dict[int, int] = {}
    for post in evidence.posts:
        event = accepted.get(post.command_ids[0]) if post.command_ids else None
        if event is None:
            continue
        lane = event["data"]["lane"]
        if event["seq"] < last.get(lane, 0):
            yield f"key {post.key} was promised after, but accepted (seq {event['seq']}) before, seq {last[lane]}"
        last[lane] = max(last.get(lane, 0), event["seq"])


def executions(evidence: Evidence) -> Iterator[str]:
    """Each sync, evaluation and tool that started ends once, and nothing ends that had not started."""
    yield from _told(log_rules.executions(_rows(evidence)))


def overlaps(evidence: Evidence) -> Iterator[str]:
    """In the log no sync of an asset starts while another of it has not ended."""
    yield from _told(log_rules.overlaps(_rows(evidence)))


def recorder(evidence: Evidence) -> Iterator[str]:
    """What the syncs wrote themselves agrees with the log: begun after its event, once, and never two at a time."""
    started = {e["execution_id"]: e["seq"] for e in evidence.events if e["type"] == "sync.started"}
    ended = {e["execution_id"]: e for e in evidence.events if e["type"] in SYNC_ENDS and e.get("execution_id")}
    current: dict[str, str] = {}
    words: dict[str, list[str]] = {}
    for line in evidence.recorder.splitlines():
        word, asset, execution = line.split()
        words.setdefault(execution, []).append(word)
        if execution not in started:
            yield f"{execution} of {asset} ran and the log never started it"
        elif word == "start":
            before = current.get(asset)
            if before in started and _seq_of_end(ended, before) > started[execution]:
                yield f"{execution} of {asset} began while {before} was not over"
            current[asset] = execution
        elif current.get(asset) != execution:
            yield f"{execution} of {asset} wrote its end after {current.get(asset)} had begun"
    for execution, said in words.items():
        if said not in (["start"], ["start", "end"]):
            yield f"{execution} wrote {said}"
    if evidence.recorder and not any(event["type"] == "workspace.lost" for event in evidence.events):
        for execution in started:
            succeeded = ended.get(execution, {}).get("type") == "sync.succeeded"
            if succeeded and words.get(execution) != ["start", "end"]:
                yield f"{execution} succeeded and wrote {words.get(execution)}"


def together(evidence: Evidence) -> Iterator[str]:
    """By the clock no two syncs of an asset work at one time, on whatever hosts; nothing works twice, or unasked."""
    started = {e["execution_id"] for e in evidence.events if e["type"] == "sync.started"}
    spans: dict[str, dict[str, tuple[int, int]]] = {}
    begun: Counter[str] = Counter()
    for line in evidence.beats.splitlines():
        word, asset, execution, at = line.split()
        if execution not in started:
            yield f"{execution} of {asset} worked and the log never started it"
        begun[execution] += word == "start"
        first, last = spans.setdefault(asset, {}).get(execution, (int(at), int(at)))
        spans[asset][execution] = (min(first, int(at)), max(last, int(at)))
    for execution, times in begun.items():
        if times > 1:
            yield f"{execution} began {times} times"
    for asset, worked in spans.items():
        in_time = sorted((first, last, execution) for execution, (first, last) in worked.items())
        for (_, last, before), (first, _, after) in itertools.pairwise(in_time):
            if first < last:
                yield f"{after} of {asset} began {(last - first) / 1e9:.3f} s before {before} was last seen at work"


def results(evidence: Evidence) -> Iterator[str]:
    """What the API says became of a command is what the log says."""
    yield from _told(command_rules.results(_rows(evidence), evidence.commands))


def marks(evidence: Evidence) -> Iterator[str]:
    """A tool runs at most once, whatever happens; once, if its command succeeded."""
    count = Counter(evidence.marks.split())
    how = {event.get("command_id"): event["type"] for event in evidence.events if event["type"] in COMMAND_ENDS}
    lost = any(event["type"] == "workspace.lost" for event in evidence.events)
    for post in evidence.posts:
        if "mark" not in post.key:
            continue
        end = how.get(post.command_ids[0], "") if post.command_ids else ""
        if count[post.key] > 1:
            yield f"the tool of {post.key} ran {count[post.key]} times"
        if end == "command.succeeded" and count[post.key] != 1 and not lost:
            yield f"the tool of {post.key} succeeded and left {count[post.key]} marks"


def stream(evidence: Evidence) -> Iterator[str]:
    """A follower is given each seq once, in order, over all its reconnections."""
    for before, after in zip(evidence.streamed, evidence.streamed[1:], strict=False):
        if after != before + 1:
            yield f"seq {after} was streamed after {before}"
            return


def ready(evidence: Evidence) -> Iterator[str]:
    """After the healing every asset is Ready with nothing running, pending or stale; unless the session was closed."""
    if any(event["type"] == "session.closed" for event in evidence.events):
        return
    for name, asset in evidence.assets.items():
        pending = any(value not in (None, False, "none") for value in asset["pending"].values())
        if asset["state"] != "ready" or asset["known"] != "ready" or asset["stale"] or pending:
            yield f"{name} is {asset['state']}, known {asset['known']}, stale {asset['stale']}, {asset['pending']}"


def fold(evidence: Evidence) -> Iterator[str]:
    """The projection is what the fold of the log says."""
    try:
        state = folded(evidence)
    except (AssertionError, KeyError, ValueError) as error:
        yield f"the log cannot be folded: {error!r}"
        return
    if {asset.name for asset in state.assets.values()} != evidence.assets.keys():
        yield f"the fold has {sorted(a.name for a in state.assets.values())}, the table {sorted(evidence.assets)}"
        return
    for asset in state.assets.values():
        said = msgspec.to_builtins(document(state, asset))
        stored = evidence.assets[asset.name]
        wrong = {key: (value, stored.get(key)) for key, value in said.items() if stored.get(key) != value}
        if wrong:
            yield f"{asset.name}, by fold and table: {wrong}"
    if left := [run.id for run in state.executions.values()]:
        yield f"the fold still has executions {left}"
    if state.commands:
        yield f"the fold still has commands {sorted(state.commands)}"


def folded(evidence: Evidence) -> State:
    """Return the fold of the whole log."""
    state = empty(evidence.session)
    for event in evidence.events:
        state = evolve(state, _row(event, evidence.resources))
    return state


def _told(found: Findings) -> Iterator[str]:
    """Return findings as lines under the name of the check that found them."""
    return (f"seq {one.seq}: {one.text}" for one in found)


def _rows(evidence: Evidence) -> list[Event]:
    """Return the log as the rules that the simulation shares take it."""
    return [event_of(event) for event in evidence.events]


def _row(event: Json, resources: dict[str, bytes]) -> Event:
    """Return an event with what the fold of it needs."""
    row = event_of(event)
    applied = row.type == "resources.applied"
    return msgspec.structs.replace(row, attachment=resources[row.data["resources"]]) if applied else row


def _by_command(evidence: Evidence, types: frozenset[str]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for event in evidence.events:
        if event["type"] in types:
            found.setdefault(event.get("command_id", ""), []).append(event)
    return found


def _seq_of_end(ended: dict[str, Json], execution: str | None) -> float:
    event = ended.get(execution or "")
    return float("inf") if event is None else event["seq"]


def _seqs(events: list[Json]) -> list[int]:
    return [event["seq"] for event in events]


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    gaps,
    epochs,
    owners,
    commands,
    keys,
    order,
    executions,
    overlaps,
    recorder,
    together,
    results,
    marks,
    stream,
    ready,
    fold,
)
"""Every invariant there is a check for."""
