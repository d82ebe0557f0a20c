"""What may be defined where a project cannot be read: a word of a broken file, or what an Origin would make."""

from __future__ import annotations

import pytest

from setpoint.contracts.limits import MANIFEST_FILE_BYTES_MAX
from setpoint.contracts.resource.unread import Unread

BROKEN = b"metadata: {name: orders}\nspec: [\n"


def test_nothing_is_unread_at_first() -> None:
    assert not Unread().may_define("Asset", "orders")
    assert not Unread().may_define("Sync", "")


def test_only_a_word_of_a_broken_file_may_be_defined_there() -> None:
    unread = Unread().with_file(BROKEN).with_file(b"kind: Sync\xff\nname: 'wri\\te'")
    assert unread.may_define("Conditions", "orders")
    assert unread.may_define("Sync", "wri")
    assert not unread.may_define("Conditions", "order")
    assert not unread.may_define("Asset", "orders.x")


def test_a_file_that_is_too_large_may_define_everything() -> None:
    assert Unread().with_file(b" " * (MANIFEST_FILE_BYTES_MAX + 1)).may_define("Identity", "me")


@pytest.mark.parametrize(
    ("kind", "name", "may"),
    [
        ("Asset", "shop.orders", True),
        ("Asset", "shop.raw.orders", True),
        ("Conditions", "dbt-tests-shop.orders", True),
        ("Conditions", "shop-dbt-untested", True),
        ("Sync", "shop-dbt-run", True),
        ("Asset", "shop", False),
        ("Asset", "shopping.orders", False),
        ("Sync", "other-dbt-run", False),
        ("Identity", "shop.me", False),
        ("Connection", "shop.db", False),
    ],
)
def test_what_an_origin_would_make_has_its_name_in_front(kind: str, name: str, may: bool) -> None:
    assert Unread(origins=frozenset({"shop"})).may_define(kind, name) == may
    assert Unread().with_file(b"kind: Origin\nmetadata: {name: shop}\nspec: [").may_define(kind, name) == (
        may or name == "shop"
    )
    assert not Unread().with_file(b"metadata: {name: shop}").may_define("Asset", "shop.orders")


def test_an_origin_without_a_name_may_make_any_asset_and_no_identity() -> None:
    unread = Unread(origins=frozenset({""}))
    assert unread.may_define("Asset", "orders")
    assert not unread.may_define("Identity", "me")
