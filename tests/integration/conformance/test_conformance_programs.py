"""Random programs on the model and on the real database: every answer and every row is the same.

That the programs would notice a difference is tested, too: each doctored model breaks one rule and must be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.integration.conformance.backend import Model, Real, Refusal
from tests.integration.conformance.doctored import DOCTORED, Doctored
from tests.integration.conformance.programs import CALLS, Call, Difference, differ, program, smallest

PROGRAMS: Final = 200

ANSWERS: Final = frozenset(
    f"{name} {word}"
    for name, words in {
        "create_session": "ok already conflict mismatch",
        "enqueue": "ok replay mismatch not_found closed full",
        "append_batch": "ok already fenced truncated moved_head lock_busy 21000 22023 22P02 23502 23503 23505 23514",
        "break_lock": "ok already mismatch free young",
        "acquire": "ok mine held moved no_lease closed gone",
        "release": "ok fenced moved_head busy",
        "host_register": "ok fenced key_mismatch",
        "host_renew": "ok fenced went_back",
        "host_dead": "-1 0 1",
        "snapshot_write": "ok fenced ahead",
        "sweep_keys": "0",
        "sweep_locks": "0 1",
        "sweep_fenced": "0 1",
        "sweep_wakes": "0",
        "sandbox_seen": "True False",
        "sandbox_gone": "True False",
        "sandbox_register": "True False",
        "host_order": "cell sandbox None 22023",
        "host_told": "serve cordon drain",
        "host_declare_dead": "True False",
        "restored": "2",
    }.items()
    for word in words.split()
)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_model_answers_as_the_real_database_does(opened: Real) -> None:
    async def judge(calls: Sequence[Call]) -> Difference | None:
        await opened.empty()
        return await differ(calls, Model(), opened)

    for seed in range(PROGRAMS):
        if await judge(program(seed)) is not None:
            calls = await smallest(program(seed), judge)
            pytest.fail(f"program {seed}, {await judge(calls)}, after:\n" + "\n".join(map(str, calls)))


def test_the_programs_reach_every_answer() -> None:
    """What no program ever hears is not compared."""
    heard: Counter[str] = Counter()
    for seed in range(PROGRAMS):
        model = Model()
        for name, args in program(seed):
            if name == "advance":
                model.now += args[0]
            else:
                heard.update(_words(name, model.ask(name, *args)))
    missing = ANSWERS - set(heard)
    assert not missing, sorted(heard.items())


@pytest.mark.parametrize("rule", DOCTORED)
async def test_a_model_that_breaks_a_rule_is_found(rule: str) -> None:
    async def judge(calls: Sequence[Call]) -> Difference | None:
        return await differ(calls, Model(), Doctored(rule))

    for seed in range(PROGRAMS):
        if await judge(program(seed)) is not None:
            calls = await smallest(program(seed), judge)
            assert await judge(calls) is not None and len(calls) < CALLS / 2, calls
            return
    pytest.fail("no program notices")


def _words(name: str, answer: Any) -> list[str]:
    """Return what an answer says, in the words of ANSWERS."""
    if isinstance(answer, Refusal):
        return [f"{name} {answer.sqlstate}"]
    if name == "append_batch":
        return [f"{name} {row[1]}" for row in answer]
    if isinstance(answer, tuple):
        return [f"{name} {answer[0]}"]
    return [f"{name} {min(answer, 1) if type(answer) is int else answer}"]
