"""What clients were promised: I4 (kept once), I5 (refused leaves nothing), I6 (keys), I7 (order), I25 (all end)."""

from __future__ import annotations

from setpoint.contracts.event import COMMAND_ENDS
from tests.sim.client import Post
from tests.sim.story import Findings, Stories

_TAKEN = frozenset({"ok", "replay"})


def promises(told: Stories) -> Findings:
    """I4: a command acknowledged to a client is in the table once per key, and accepted by exactly one event."""
    accepted: dict[str, list[str]] = {}
    for story in told.sessions:
        for event in story.log:
            if event.type == "command.accepted":
                accepted.setdefault(event.command_id or "", []).append(story.session)
    for post in told.posts:
        if post.status not in _TAKEN:
            continue
        if told.commands.get(post.command_id) != post.session:
            yield f"{_name(post)} was promised {post.command_id}, which is not in the table"
        elif accepted.get(post.command_id, []) != [post.session]:
            yield f"{_name(post)} was promised {post.command_id}, accepted by {accepted.get(post.command_id, [])}"
    promised = {post.command_id for post in told.posts}
    unsure = {attempt for post in told.posts if post.ended is None for attempt in post.attempts}
    for command_id in told.commands.keys() - promised - unsure:
        yield f"{command_id} is in the table and nobody was promised it"
    for command_id in accepted.keys() - told.commands.keys():
        yield f"{command_id} was accepted and is not in the table"


def refusals(told: Stories) -> Findings:
    """I5: of a request that was refused nothing is kept; of one that was taken one attempt is."""
    for post in told.posts:
        kept = [attempt for attempt in post.attempts if attempt in told.commands]
        if post.ended is None:
            continue
        if post.status not in _TAKEN and kept:
            yield f"{_name(post)} was refused ({post.status}) and {kept} is in the table"
        if len(kept) > 1:
            yield f"{_name(post)} is in the table as {kept}"


def keys(told: Stories) -> Findings:
    """I6: one key is one body and one command; another body under it is refused."""
    by_key: dict[tuple[str, str], list[Post]] = {}
    for post in told.posts:
        if post.ended is not None:
            by_key.setdefault((post.client, post.key), []).append(post)
    for posts in by_key.values():
        taken = [post for post in posts if post.status in _TAKEN]
        if len({post.command_id for post in taken}) > 1 or len({post.fingerprint for post in taken}) > 1:
            yield f"{_name(taken[0])}: one key was taken for {[(post.label, post.command_id) for post in taken]}"
        for post in posts:
            if taken and post.status == "mismatch" and post.fingerprint == taken[0].fingerprint:
                yield f"{_name(post)} was refused as another body, and is the same"


def order(told: Stories) -> Findings:
    """I7: what was promised to a client one after the other is accepted in that order, within a lane."""
    accepted: dict[str, int] = {
        event.command_id or "": event.seq
        for story in told.sessions
        for event in story.log
        if event.type == "command.accepted"
    }
    last: dict[tuple[str, str, int], Post] = {}
    for post in sorted(told.posts, key=lambda post: post.ended or 0):
        if post.status != "ok" or post.command_id not in accepted:
            continue
        lane = (post.client, post.session, post.lane)
        before = last.get(lane)
        later = before is not None and (before.ended or 0) <= post.began
        if before is not None and later and accepted[post.command_id] < accepted[before.command_id]:
            yield f"{_name(post)} was promised after {_name(before)} and accepted before it"
        last[lane] = post


def ends(told: Stories) -> Findings:
    """I25: every promised command has come to an end when the world rests."""
    ended = {event.command_id for story in told.sessions for event in story.log if event.type in COMMAND_ENDS}
    for post in told.posts:
        if post.ended is None and post.began <= told.sessions[0].calm_at:
            yield f"{_name(post)} never had an answer"
        if post.status in _TAKEN and post.command_id not in ended:
            yield f"{_name(post)} was promised {post.command_id}, which never ended"


def check(told: Stories) -> Findings:
    """Hold all clients against all of them."""
    for rule in (promises, refusals, keys, order, ends):
        yield from rule(told)


def _name(post: Post) -> str:
    return f"{post.client}/{post.key} ({post.label}, {post.kind})"
