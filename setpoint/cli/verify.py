"""``setpoint verify``: hold a session's log against what must be true of every log, over the API alone."""

from __future__ import annotations

import click

from setpoint.cli import context
from setpoint.contracts.event import Event
from setpoint.verify import session as rules


@click.command()
@click.argument("session")
def verify(session: str) -> int:
    """Check the whole log of SESSION (name or id): nothing lost, nothing doubled, no sync over another.

    Prints a line for each finding, with the seq and the rule, and exits with 1 when there is one. It reads and changes
    nothing, wakes nobody, and may be used while the session works.
    """
    with context.client() as api:
        about = api.session(session)
        told = {one["command_id"]: one["status"] for one in api.pages(f"/v1/sessions/{about['id']}/commands")}
        events: list[Event] = []
        while page := api.events_page(about["id"], len(events) and events[-1].seq):
            events += [rules.event_of(shown) for shown in page]
    found = rules.findings(events, told, head_seq=int(about["head_seq"]), closed=about["state"] == "closed")
    if context.as_json():
        lines = [{"seq": one.seq, "rule": one.rule, "text": one.text} for one in found]
        context.emit({"session_id": about["id"], "events": len(events), "commands": len(told), "findings": lines})
    else:
        for one in found:
            click.echo(str(one))
        verdict = f"{len(found)} findings" if found else "nothing is wrong"
        context.note(f"{len(events)} events, {len(told)} commands, {len(rules.RULES)} rules: {verdict}")
    return 1 if found else 0
