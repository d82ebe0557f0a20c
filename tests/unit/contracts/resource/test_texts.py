"""Durations, templates and hints: the small languages inside a manifest."""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.duration import parse_duration_s
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.template import Expander, template_faults, variables


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("2days", 172_800.0),
        ("500ms", 0.5),
        ("10sec", 10.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        (30, 30.0),
        (0, 0.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration_s(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "5", "s", "5 parsecs", "-5s", "5s!", "1h30", "9" * 200 + "s", "9" * 13 + "s", True, 1.5, -1, None, [], "١s"],
)
def test_what_is_no_duration_says_so(written: object) -> None:
    with pytest.raises(ValueError, match=r"duration|range|unit"):
        parse_duration_s(written)


def expanded(text: str, **values: str) -> str:
    return Expander({name.replace("_", "."): value for name, value in values.items()}, 10_000).expand(text)


@pytest.mark.parametrize("text", ["{{ asset.name }}", "{{asset.name}}", "{{   asset.name }}", "{{\tasset.name\n}}"])
def test_templates_take_any_inner_spacing(text: str) -> None:
    assert expanded(f"a{text}b{text}", asset_name="x") == "axbx"


def test_what_a_variable_brings_in_is_not_looked_at_again() -> None:
    assert expanded("{{ sync.k }}", sync_k="{{ asset.name }}", asset_name="x") == "{{ asset.name }}"


@pytest.mark.parametrize("text", ["{{.State.Status}}", "{{ .x }}", "${{", "}}", "{ asset.name }", "{{}}", "{{ 1 }}"])
def test_braces_that_are_not_ours_stay(text: str) -> None:
    assert template_faults(text) == ()
    assert expanded(text, asset_name="x") == text


@pytest.mark.parametrize(
    "text",
    [
        "{{ asset.nme }}",
        "{{ name }}",
        "{{ sync. }}",
        "{{ sync }}",
        "{{ asset.name",
        "{{ asset.name | upper }}",
        "{{a b}}",
    ],
)
def test_unknown_and_broken_templates_are_faults(text: str) -> None:
    assert len(template_faults(text)) == 1


def test_variables_are_found() -> None:
    assert variables("{{sync.a}} {{ asset.name }} {{ sync.a.b }}") == {"sync.a", "asset.name", "sync.a.b"}


def test_growth_is_bounded_before_it_happens() -> None:
    texts = Expander({"sync.k": "x" * 1000}, 5_000)
    assert texts.expand("{{ sync.k }}" * 1_000_000) == ""
    assert texts.overflown
    assert texts.expand("more") == ""


def test_the_nearest_word() -> None:
    assert nearest_hint("ondrift", {"onDrift", "upstreams"}) == "did you mean 'onDrift'?"
    assert nearest_hint("zzz", {"b", "a"}) == "known are a, b"
    assert nearest_hint("zzz", {f"name-{n}" for n in range(100)}) == ""
    assert nearest_hint("x" * 100_000, {"x"}) == ""


def test_among_thousands_the_nearest_begins_and_ends_like_the_word() -> None:
    many = {f"name-{n}" for n in range(2000)}
    assert nearest_hint("revnue", {*many, "revenue"}) == "did you mean 'revenue'?"
    assert nearest_hint("revnues", {*many, "revenue"}) == ""


def test_an_excerpt_is_short_and_on_one_line() -> None:
    assert excerpt("a\nb") == r"'a\nb'"
    assert len(excerpt("x" * 100_000)) < 70
