"""The log itself: I1 (no gap), I2 and I3 (epochs and fencing), I24 (an end is an end), I26 (no sync over another).

The rules are those of ``setpoint.verify``, which users and the chaos checker hold real sessions against; here they are
held against simulated ones, at the end of which nothing may be left open.
"""

from __future__ import annotations

from setpoint.verify import commands, log
from tests.sim.story import Findings, Story

_GRACE_US = 120_000_000


def check(story: Story) -> Findings:
    """Hold one session against all of them."""
    for rule in (log.gaps, log.epochs, log.owners, commands.ends, log.overlaps):
        yield from map(str, rule(story.log))
    yield from map(str, log.executions(story.log, begun_by=story.ended_at - _GRACE_US))
