"""An Origin through the whole stack: the real manifest of a dbt project, and a stand-in for dbt that a test can steer.

The stand-in is a script of the project that is found before any other ``dbt``: a test fails while a file of its name is
there, and a run of a model takes away the files of its tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from setpoint.cli.project import upload
from tests.acceptance.harness import World

MANIFEST = Path(__file__).resolve().parents[1] / "fixtures" / "dbt" / "shop.v12.json"

RESOURCES = b"""\
apiVersion: setpoint.dev/v1alpha1
kind: Connection
metadata: {name: warehouse}
spec: {type: dbt, profile: shop}
---
apiVersion: setpoint.dev/v1alpha1
kind: Origin
metadata: {name: shop}
spec: {type: DBT, connection: warehouse, projectDir: shop, env: {PATH: "/workspace/bin:/usr/bin:/bin"}}
"""

STAND_IN = b"""\
#!/bin/sh
echo "$1 $3" >> dbt.log
case $1 in
  test) test ! -e failing/"$3" ;;
  *) rm -f failing/*_"$3"_* ;;
esac
"""

scenarios("features/dbt.feature")


class Told:
    """The session of a scenario, and the seq after which it counts."""

    def __init__(self, world: World, session: str) -> None:
        self.world, self.session, self.after = world, session, 0

    def shell(self, text: str) -> str:
        state = self.world.tool(self.session, "exec", argv=["sh", "-euc", text])
        assert state["status"] == "succeeded", state
        return str(state["result"]["output"])


@pytest.fixture(scope="module")
def session(stack: World) -> str:
    made = stack.session("dbt")
    files = {
        "resources/dbt.yaml": (RESOURCES, 0o644),
        "shop/target/manifest.json": (MANIFEST.read_bytes(), 0o644),
        "bin/dbt": (STAND_IN, 0o755),
    }
    accepted = upload(stack.api, made, files, evaluate=False)
    assert stack.ended(made, accepted["command_id"])["status"] == "succeeded"
    return made


@given(
    'a dbt project with the models "stg_orders", "orders" and "daily_revenue", and all its tests pass',
    target_fixture="told",
)
def a_project(stack: World, session: str) -> Told:
    stack.wait_ready(session)
    told = Told(stack, session)
    told.shell("mkdir -p failing; : > dbt.log")
    told.after = int(stack.events(session)[-1]["seq"])
    return told


@when(parsers.parse('the test "{name}" begins to fail'))
def fails(told: Told, name: str) -> None:
    told.shell(f"touch failing/{name}")


@when(parsers.parse('the test "{name}" passes again'))
def passes(told: Told, name: str) -> None:
    told.shell(f"rm failing/{name}")


@when(parsers.parse('"{asset}" is evaluated'))
def evaluated(told: Told, asset: str) -> None:
    accepted = told.world.api.command(told.session, "evaluate", {"select": [asset]})
    told.world.ended(told.session, accepted["command_id"])


@then("everything is Ready again")
def ready(told: Told) -> None:
    told.world.wait_ready(told.session)


@then(parsers.parse('"{asset}" is Drifted'))
def drifted(told: Told, asset: str) -> None:
    assert told.world.assets(told.session)[asset]["known"] == "drifted"


@then("it was evaluated once and dbt has run nothing")
def watched(told: Told) -> None:
    assert told.world.counts(told.session, "shop.raw.orders", told.after) == (1, 0)
    assert _runs(told) == []


@then('dbt has run "stg_orders", "orders.v1", "orders.v2" and "daily_revenue", each once')
def ran(told: Told) -> None:
    runs = _runs(told)
    assert (runs[0], runs[-1]) == ("run stg_orders", "run daily_revenue")
    assert sorted(runs[1:-1]) == ["run orders.v1", "run orders.v2"]


def _runs(told: Told) -> list[str]:
    return [line for line in told.shell("cat dbt.log").splitlines() if not line.startswith("test ")]
