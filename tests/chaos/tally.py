"""What a run has reached, counted: one in which nothing was fenced shows nothing about fencing. Judges nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tests.chaos.evidence import Evidence

WANTED: Final = ("already", "fenced", "adopted", "never_seen", "interrupted", "outcome_unknown")
ENOUGH: Final = 10
"""How often each of these has to come in a run of 200 kills."""
_OF_EVENT: Final = {
    "run.adopted": "adopted",
    "run.interrupted": "interrupted",
    "sync.outcome_unknown": "outcome_unknown",
    "lease.acquired": "acquired",
    "workspace.lost": "workspace_lost",
    "session.hibernated": "hibernated",
}


def tally(found: Sequence[Evidence], logs: Mapping[str, Iterable[str]]) -> Counter[str]:
    """Count what came to pass: by the sessions' logs, by what the API says was fenced, by the daemons' log lines.

    ``logs``: lines of each daemon's log by its name. already: an append that was repeated after its answer was lost,
    and was in the log. fenced: a write of a former owner, refused by the database. never_seen: a run whose start never
    came to its sandbox host, so that the next owner starts it. replayed: a repeated POST that got the first answer.
    """
    count: Counter[str] = Counter(dict.fromkeys(WANTED, 0))
    for evidence in found:
        count["fenced"] += evidence.fencing
        count["replayed"] += sum(max(len(post.command_ids) - 1, 0) for post in evidence.posts)
        for event in evidence.events:
            if word := _OF_EVENT.get(event["type"]):
                count[word] += 1
    for name, lines in logs.items():
        for line in lines:
            if line.startswith("{") and (word := _of_line(name.split("-")[0], json.loads(line))):
                count[word] += 1
    return count


def missing(count: Mapping[str, int]) -> list[str]:
    """Return what did not come often enough to say anything about it."""
    return [f"{word} {count[word]}" for word in WANTED if count[word] < ENOUGH]


def _of_line(kind: str, entry: Mapping[str, object]) -> str:
    match kind, entry.get("event"):
        case "celld", "commit was in the log already":
            return "already"
        case "celld", "run found":
            return "never_seen" if entry.get("state") == "never_seen" else ""
        case "sandboxd", "refused":
            return {"stale-epoch": "stale_epoch", "stale-token": "stale_token"}.get(str(entry.get("code")), "")
        case _:
            return ""
