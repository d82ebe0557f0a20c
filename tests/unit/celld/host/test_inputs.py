"""What is handed out next, and what may go with it into one decision."""

from __future__ import annotations

from celld.host.inputs import Inputs, Quiet
from setpoint.contracts import cell as frames
from setpoint.contracts import limits
from setpoint.contracts.cell import Delivered, Input, RunEnded

OWNED = frames.Owned("h")
ENDED = RunEnded("x", "completed")


def command(lane: int, n: int, kind: str = "evaluate") -> Delivered:
    return Delivered(f"{lane}-{n}", lane, n, kind, {})


def holding(*rows: Delivered) -> Inputs:
    """Return the queue of a life whose inbox has these rows, then no more."""
    pages = [list(rows), []]

    async def read(known: tuple[int, int]) -> list[Delivered]:
        return pages.pop(0)

    return Inputs(read, quiet_s=60.0)


async def handed_out(inputs: Inputs) -> list[Input]:
    """Return the next input and those that may go with it."""
    first = await inputs.next()
    assert first is not None and not isinstance(first, Quiet)
    return [first, *inputs.behind(first)]


async def test_commands_go_together_the_control_lane_ahead() -> None:
    work, control = [command(limits.LANE_WORK, n) for n in (1, 2)], command(limits.LANE_CONTROL, 1, "halt")
    inputs = holding(*work, control)
    assert await handed_out(inputs) == [control, *work]
    assert inputs.empty


async def test_an_apply_goes_alone() -> None:
    inputs = holding(command(1, 1), command(1, 2, "apply"), command(1, 3))
    assert [await handed_out(inputs) for _ in range(3)] == [[command(1, 1)], [command(1, 2, "apply")], [command(1, 3)]]


async def test_what_the_world_says_goes_first_and_with_the_commands_behind_it() -> None:
    inputs = holding(command(1, 1))
    inputs.push(OWNED)
    inputs.push(ENDED)
    assert await handed_out(inputs) == [OWNED], "who owns the session is decided on alone"
    assert await handed_out(inputs) == [ENDED], (
        "the inbox has not been read: something of the control lane may be there"
    )
    assert await handed_out(inputs) == [command(1, 1)]


async def test_a_bounded_number_goes_together_and_what_was_not_taken_comes_next() -> None:
    rows = [command(1, n) for n in range(1, 30)]
    inputs = holding(*rows)
    first = await handed_out(inputs)
    assert first == rows[:16]
    inputs.again(*first[3:])
    assert await handed_out(inputs) == rows[3:19]


async def test_nothing_is_added_once_the_life_is_to_end() -> None:
    inputs = holding(command(1, 1), command(1, 2))
    first = await inputs.next()
    assert isinstance(first, Delivered)
    inputs.stop()
    assert inputs.behind(first) == ()
