"""The broker's picture of the hosts: who is linked, who lives, who may take a session, and what the operator sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from broker.operator import host_document
from broker.registry import Linked, Registry
from broker.store import HostRow
from setpoint.web import Peer


def peer() -> Peer:
    """A peer of nobody: the registry only compares peers."""
    return cast(Peer, object())


def linked(host: str, incarnation: str = "i1", **capacity: Any) -> Linked:
    return Linked(host, "sandbox", "key", incarnation, f"{host}:1", capacity, 0)


def box(host: str, **more: Any) -> HostRow:
    row = HostRow("sandbox", host, "i1", "ready", f"{host}:1", "key", {}, 1.0, None, 0)
    return replace(row, **more)


def cell(host: str, **more: Any) -> HostRow:
    return replace(box(host, role="cell", expires_in_s=8.0), **more)


def test_a_later_link_of_the_same_host_takes_the_place_of_the_earlier() -> None:
    registry, first, second = Registry(), peer(), peer()
    assert registry.join(first, linked("b1")) is None
    assert registry.join(second, linked("b1", "i2")) is first
    assert not registry.is_current("b1", first)
    assert registry.leave("b1", first) is None
    now = registry.linked("b1")
    assert now is not None
    assert now.incarnation == "i2"
    assert registry.leave("b1", second) == now
    assert registry.links() == []


def test_joining_again_on_the_same_link_replaces_nobody() -> None:
    registry, only = Registry(), peer()
    registry.join(only, linked("b1"))
    assert registry.join(only, linked("b1")) is None


def test_only_live_ready_hosts_of_the_role_are_candidates() -> None:
    registry = Registry()
    registry.see(
        [
            cell("c1"),
            cell("c2", expires_in_s=-0.1),
            cell("c3", state="fenced"),
            cell("c4", state="draining"),
            cell("c5", ordered="cordon"),
            cell("c6", ordered="drain"),
            box("b1"),
            box("b2", seen_age_s=11.0),
            box("b3", state="fenced"),
            box("b4", capacity={"draining": True}),
            box("b5", ordered="cordon"),
            box("b6", state="dead"),
        ]
    )
    assert [one.host for one in registry.candidates("cell")] == ["c1"]
    assert [one.host for one in registry.candidates("sandbox")] == ["b1"]


def test_load_is_the_freshest_that_is_known_and_what_was_placed_since() -> None:
    registry = Registry()
    registry.see([box("b1", capacity={"running": 1, "slots": 4}), cell("c1", sessions=7, capacity={"sessions": 3})])
    assert [(one.used, one.room) for one in registry.candidates("sandbox")] == [(1, 4)]
    assert [(one.used, one.room) for one in registry.candidates("cell")] == [(7, 0)]
    registry.join(peer(), linked("b1", running=2, slots=8))
    registry.placed("b1")
    assert [(one.used, one.room) for one in registry.candidates("sandbox")] == [(3, 8)]
    registry.beat("b1", {"running": 3, "slots": 8})
    registry.see([box("b1")])
    assert [(one.used, one.room) for one in registry.candidates("sandbox")] == [(3, 8)]


def test_what_a_link_of_another_incarnation_says_is_not_the_rows() -> None:
    registry = Registry()
    registry.see([box("b1", capacity={"slots": 4})])
    registry.join(peer(), linked("b1", "i0", slots=9))
    assert registry.candidates("sandbox")[0].room == 4


def test_a_capacity_that_is_no_count_is_unknown() -> None:
    registry = Registry()
    for value in (None, -1, True, 1.5, "4", [4], 1 << 40):
        registry.see([box("b1", capacity={"slots": value, "running": value})])
        assert registry.candidates("sandbox")[0].room == 0


def test_the_operators_view() -> None:
    seen = host_document(cell("c1", sessions=2), None)
    assert (seen["state"], seen["sessions"], seen["linked"]) == ("ready", 2, False)
    assert (seen["lease_age_s"], seen["lease_expires_in_s"]) == (1.0, 8.0)
    assert host_document(cell("c1", expires_in_s=0.0), None)["state"] == "expired"
    assert host_document(cell("c1", expires_in_s=-5.0, state="fenced"), None)["state"] == "fenced"
    assert host_document(box("b1", seen_age_s=10.5), None)["state"] == "unseen"
    assert host_document(box("b1", ordered="cordon"), None)["state"] == "cordoned"
    assert host_document(cell("c1", ordered="drain"), None)["state"] == "draining"
    gone = host_document(box("b1", ordered="drain", state="dead"), None)
    assert (gone["state"], gone["ordered"]) == ("dead", "drain")
    assert host_document(box("b1"), linked("b1", slots=2))["capacity"] == {"slots": 2}
    assert host_document(box("b1"), linked("b1", "i2", slots=2))["linked"] is False
