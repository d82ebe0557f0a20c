"""examples/sales through the whole stack: SQL and Freshness conditions, and what heals them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from setpoint.cli.project import read_project, upload
from tests.acceptance.harness import World

SALES = Path(__file__).resolve().parents[2] / "examples" / "sales"
ASSETS = ("orders", "daily_revenue", "revenue_report")

DUCKDB = """\
apiVersion: setpoint.dev/v1alpha1
kind: Connection
metadata: {name: warehouse}
spec: {type: duckdb, path: data/warehouse.duckdb}
---
apiVersion: setpoint.dev/v1alpha1
kind: Conditions
metadata: {name: checks}
spec:
  - {name: all, type: SQL, query: "SELECT COUNT(*) = 100 FROM {{ asset.name }}"}
  - {name: today, type: Freshness, column: seen, maxAge: 24h, interval: 1h}
  - {name: within-the-hour, type: Freshness, column: seen, maxAge: 1h, interval: 1h}
---
apiVersion: setpoint.dev/v1alpha1
kind: Asset
metadata: {name: visits}
spec:
  connection: warehouse
  onDrift: [{conditions: checks}]
"""

scenarios("features/sales.feature")


@pytest.fixture(scope="module")
def sales(stack: World) -> str:
    """The session of this feature: applied once, and Ready again at the end of each scenario."""
    session = stack.session("sales")
    accepted = upload(stack.api, session, read_project(SALES), evaluate=False)
    assert stack.ended(session, accepted["command_id"])["status"] == "succeeded"
    return session


@given("the sales example is applied and everything is Ready", target_fixture="seq")
def is_applied(stack: World, sales: str) -> int:
    """Return the seq after which things happen in this scenario."""
    stack.wait_ready(sales, *ASSETS)
    return int(stack.events(sales)[-1]["seq"])


@then(parsers.parse("the database holds {count:d} orders worth {worth:f}"))
def holds_orders(stack: World, sales: str, count: int, worth: float) -> None:
    found = query(stack, sales, "SELECT COUNT(*), SUM(quantity * unit_price_cents) FROM orders")
    assert found == f"{count}\t{worth * 100:.0f}"


@then(parsers.parse("the revenue of {days:d} days adds up to {worth:f}"))
def adds_up(stack: World, sales: str, days: int, worth: float) -> None:
    assert query(stack, sales, "SELECT COUNT(*), SUM(cents) FROM daily_revenue") == f"{days}\t{worth * 100:.0f}"


@then(parsers.parse('the report ends with "{line}"'))
def report_ends(stack: World, sales: str, line: str) -> None:
    assert stack.read(sales, "report.txt").splitlines()[-1] == line


@then(parsers.parse('the conditions of "{asset}" are of the types "{types}"'))
def types_are(stack: World, sales: str, asset: str, types: str) -> None:
    shown = stack.assets(sales)[asset]["last_evaluation"]
    assert [condition["conditionType"] for condition in shown["conditions"]] == types.split(", ")
    assert shown["ready"] is True


@when(parsers.parse('somebody runs "{statement}" on the database'))
def runs(stack: World, sales: str, statement: str) -> None:
    query(stack, sales, statement)


@when(parsers.parse('"{asset}" is evaluated'))
def is_evaluated(stack: World, sales: str, asset: str) -> None:
    stack.api.command(sales, "evaluate", {"select": [asset]})


@when(parsers.parse('"{asset}" is synced by hand'))
def is_synced_by_hand(stack: World, sales: str, asset: str) -> None:
    accepted = stack.api.command(sales, "sync", {"select": [asset]})
    assert stack.ended(sales, accepted["command_id"])["status"] == "succeeded"


@then(parsers.parse('"{asset}" is Drifted, and "{condition}" says "{reason}"'), target_fixture="results")
def is_drifted(
    stack: World, sales: str, seq: int, asset: str, condition: str, reason: str
) -> dict[str, dict[str, str]]:
    """Return what each condition said when the drift was found."""
    event = stack.wait_event(
        sales,
        lambda event: (
            (event["type"], event.get("asset"), event["data"].get("verdict"))
            == ("evaluation.completed", asset, "drifted")
        ),
        seq,
    )
    found = {one["conditionName"]: one["status"] for one in event["data"]["results"]}
    assert found[condition]["state"] == "drifted"
    assert re.fullmatch(reason, found[condition]["reason"])
    return found


@then(parsers.parse('"{condition}" says "{reason}" as well'))
def says_as_well(stack: World, sales: str, seq: int, condition: str, reason: str) -> None:
    stack.wait_event(
        sales,
        lambda event: (
            event["type"] == "evaluation.step_finished"
            and event["data"]["name"] == condition
            and event["data"]["status"].get("reason") == reason
        ),
        seq,
    )


@then('"orders", "daily_revenue" and "revenue_report" are synced in this order')
def are_synced(stack: World, sales: str, seq: int) -> None:
    for asset in ASSETS:
        seq = int(stack.wait_type(sales, "sync.succeeded", asset, seq)["seq"])


@then("everything is Ready again")
def is_ready_again(stack: World, sales: str) -> None:
    stack.wait_ready(sales, *ASSETS)


@then(parsers.parse('"{asset}" was not synced'))
def was_not_synced(stack: World, sales: str, seq: int, asset: str) -> None:
    assert stack.counts(sales, asset, seq)[1] == 0


@then(parsers.parse('"{asset}" comes to no verdict, because "{condition}" says "{reason}"'))
def has_no_verdict(stack: World, sales: str, seq: int, asset: str, condition: str, reason: str) -> None:
    event = stack.wait_event(
        sales, lambda event: (event["type"], event.get("asset")) == ("evaluation.failed", asset), seq
    )
    assert event["data"]["reason"] == "unknown"
    found = {one["conditionName"]: one["status"] for one in event["data"]["results"]}
    assert found[condition]["state"] == "unknown"
    assert re.fullmatch(reason, found[condition]["reason"])
    assert stack.counts(sales, asset, seq)[1] == 0


def test_a_duckdb_file_of_the_project_is_asked_as_well(stack: World, tmp_path: Path) -> None:
    """No step has DuckDB's library: the file comes with the project, and only what asks it knows the format."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as made:
        made.execute("create table visits as select now() - interval 2 hour as seen, range as n from range(100)")
    files = {
        "setpoint.yaml": b"{}",
        "resources/visits.yaml": DUCKDB.encode(),
        "data/warehouse.duckdb": (tmp_path / "warehouse.duckdb").read_bytes(),
    }
    session = stack.session("warehouse")
    upload(stack.api, session, {path: (content, 0o644) for path, content in files.items()}, evaluate=False)
    verdict = stack.wait_type(session, "evaluation.completed", "visits")["data"]
    assert verdict["verdict"] == "drifted"
    said = {one["conditionName"]: one["status"] for one in verdict["results"]}
    assert said["all"] == said["today"] == {"state": "ready"}
    assert said["within-the-hour"]["state"] == "drifted"
    assert said["within-the-hour"]["reason"].startswith("last updated 72")
    stack.api.command(session, "close", {})


def query(stack: World, session: str, statement: str) -> str:
    """Run a statement on the session's database, in its sandbox, and return what it gave."""
    state = stack.tool(session, "exec", argv=["python3", "scripts/query.py", statement])
    assert state["status"] == "succeeded", state
    return str(state["result"]["output"]).rstrip("\n")


@then("status and explain say so")
def status_and_explain_say_so(stack: World, sales: str) -> None:
    shown: dict[str, Any] = stack.assets(sales)["daily_revenue"]
    told = json.dumps(stack.api.call("GET", f"/v1/sessions/{sales}/assets/daily_revenue/explanation"))
    assert "no such table: orders_load" in json.dumps(shown), shown
    assert "no such table: orders_load" in told
