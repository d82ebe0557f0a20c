"""The seed's seven scenarios against real daemons, with their exact counts. The steps are in conftest.py."""

from __future__ import annotations

from pytest_bdd import scenarios, when

from tests.acceptance.story import Story

scenarios("features/scenarios.feature")


@when("the time for a check of B comes")
def time_comes(story: Story) -> None:
    """Wait until the timer has been seen to be due: it is written down once that the check has to wait."""
    story.wait("asset.blocked", "b", look=True)
