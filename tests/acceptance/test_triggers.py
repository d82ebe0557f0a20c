"""What makes an asset be checked and synced: clocks, upstreams, applies, several checks. More steps: conftest.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pytest_bdd import given, parsers, scenarios, then, when

from tests.acceptance.sentence import steps
from tests.acceptance.story import Story

scenarios("features/triggers.feature")


@given(parsers.parse('A is checked at "{times}" by the clock of {place}'))
def by_the_clock(story: Story, times: str, place: str) -> None:
    story.assets["a"].condition |= {"checkAt": times, "timezone": place}


@given("A is checked when the files change")
def on_change(story: Story) -> None:
    story.assets["a"].spec["autoSync"] = {"onDrift": True, "onChange": True}


@given(parsers.parse('B is synced by "{part}" when something above it was'))
def on_upstream(story: Story, part: str) -> None:
    story.assets["b"].spec["onUpstream"] = f"make-b.{part}"


@given("the checks of A are programs of the project")
def by_programs(story: Story) -> None:
    story.assets["a"].program = True


@given(parsers.parse("A is from now on checked every {interval}"))
@when(parsers.parse("A is from now on checked every {interval}"))
def checked_every(story: Story, interval: str) -> None:
    story.assets["a"].condition["interval"] = interval


@when("another file comes into the project")
def more_files(story: Story) -> None:
    story.files["notes.txt"] = (b"for the next shift\n", 0o644)


@when(parsers.parse('"{part}" of A is lost'))
def part_lost(story: Story, part: str) -> None:
    story.exec("rm", f"a.{part}")


@when(parsers.parse('the program that checks "{part}" of A is gone'))
def program_gone(story: Story, part: str) -> None:
    program = story.assets["a"].check(f"a.{part}")
    story.exec("mv", program, f"{program}.gone")


@when(parsers.parse('the program that checks "{part}" of A is back'))
def program_back(story: Story, part: str) -> None:
    program = story.assets["a"].check(f"a.{part}")
    story.exec("mv", f"{program}.gone", program)


@then(parsers.re(r"the next check of A is the next (?P<hour>\d+):(?P<minute>\d+) in (?P<place>\S+)"))
def next_check(story: Story, hour: str, minute: str, place: str) -> None:
    """Compare with a naive oracle: of all minutes to come the first that this clock shows so."""
    (checked,) = story.events("evaluation.completed", "a")
    started = datetime.fromisoformat(story.events("evaluation.started", "a")[0]["at"])
    moment = started.replace(second=0, microsecond=0)
    while moment <= started or _shown(moment, place) != (int(hour), int(minute)):
        moment += timedelta(minutes=1)
    assert datetime.fromisoformat(story.asset("a")["next_due"]) == moment.astimezone(UTC)
    assert datetime.fromisoformat(checked["data"]["next_due"]) == moment.astimezone(UTC)


@then(parsers.re(r"the next check of A is at noon of the first day of month (?P<month>\d+) in (?P<place>\S+)"))
def next_noon(story: Story, month: str, place: str) -> None:
    started = datetime.fromisoformat(story.events("evaluation.started", "a")[0]["at"])
    years = (started.year, started.year + 1)
    noons = [datetime(year, int(month), 1, 12, tzinfo=ZoneInfo(place)) for year in years]
    assert datetime.fromisoformat(story.asset("a")["next_due"]) == next(noon for noon in noons if noon > started)


def _shown(moment: datetime, place: str) -> tuple[int, int]:
    there = moment.astimezone(ZoneInfo(place))
    return there.hour, there.minute


@then("a check of A begins on the minute")
def on_the_minute(story: Story) -> None:
    """Wait for the next full minute, and allow half of one more for a machine that is busy."""
    event = story.wait("evaluation.started", "a", within_s=90)
    at = datetime.fromisoformat(event["at"])
    assert event["data"]["why"] == "cron"
    assert 0 <= at.second < 30


@then(steps(r'the syncs of NAMES made "(?P<parts>[^"]+)"'))
def made(story: Story, names: str, parts: str) -> None:
    requested = [event["data"]["sync"] for event in story.events("sync.requested", names.lower())]
    assert requested == [f"make-{names.lower()}.{part}" for part in parts.split(", ")]


@then(parsers.parse("A is checked again after {seconds:d} seconds"))
def checked_again(story: Story, seconds: int) -> None:
    failed = story.wait("evaluation.failed", "a", reason="unknown")
    wait = datetime.fromisoformat(failed["data"]["retry_at"]) - datetime.fromisoformat(failed["at"])
    assert wait == timedelta(seconds=seconds)
    assert story.asset("a")["retry_at"] == failed["data"]["retry_at"]


@then("somebody can read why A has no answer")
def why_no_answer(story: Story) -> None:
    (reason,) = [reason for reason in story.reasons("a") if reason["code"] == "EvaluationFailing"]
    assert "check-a.txt" in reason["message"], reason
