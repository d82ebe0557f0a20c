"""The entry point of the program: reads its question from a descriptor, asks, prints the reason, ends with the code.

sandboxd starts it (sandboxd/jail/kit.py) in the workspace, with the number of the descriptor as its one argument. It
knows nothing else of this system: no token, no environment, no network.
"""

from __future__ import annotations

import json
import sys
import time

from sandboxd.probe.answer import UNKNOWN, Answer, NoAnswer, judge, one_line


def main() -> None:
    """Ask the question and end. Whatever goes wrong is Unknown with its reason, never a drift."""
    try:
        with open(int(sys.argv[1]), "rb") as file:
            question = json.load(file)
        answer = ask(question["engine"], question["path"], question["query"], question.get("max_age_s"))
    except Exception as error:
        answer = Answer(UNKNOWN, one_line(f"the probe failed: {type(error).__name__}: {error}"))
    print(answer.reason, flush=True)
    raise SystemExit(answer.code)


def ask(engine: str, path: str, query: str, max_age_s: float | None) -> Answer:
    """Answer one question (setpoint/contracts/probe.py) about a file below the working directory."""
    try:
        if engine == "sqlite":
            from sandboxd.probe import sqlite

            value = sqlite.first_value(path, query)
        elif engine == "duckdb":
            from sandboxd.probe import duck  # costs five times what the other does

            value = duck.first_value(path, query)
        else:
            raise NoAnswer(f"this sandbox host cannot read {engine} databases")
    except NoAnswer as why:
        return Answer(UNKNOWN, one_line(str(why)))
    return judge(value, max_age_s, time.time(), numbers_are_booleans=engine == "sqlite")


if __name__ == "__main__":
    main()
