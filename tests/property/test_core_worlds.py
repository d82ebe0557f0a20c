"""Random lives of a session: whatever happens, it settles, loses no trigger, and converges or says why not."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sim.episode import episode


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1_000_000))
def test_a_session_settles_loses_no_trigger_and_converges_or_says_why_not(seed: int) -> None:
    episode(Random(seed), actions=25)
