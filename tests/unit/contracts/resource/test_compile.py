"""Good projects: what the compiled set says, what its digests cover, and that equal projects give equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from setpoint.contracts.resource.compile import CompileResult, compile_project, is_read, json_schemas
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet, Settings, Stage, decode, encode

API = "apiVersion: setpoint.dev/v1alpha1\n"

CONDITIONS = (
    API
    + """kind: Conditions
metadata: {name: there}
spec:
  - name: file-exists
    type: Command
    run: [test, -f, "{{ asset.name }}.{{sync.ending}}"]
    interval: 1m
    timeout: 10s
    env: {B: "{{ asset.modelName }}", A: a}
"""
)
SYNC = (
    API
    + """kind: Sync
metadata: {name: write}
spec:
  timeout: 5m
  pre: {type: Command, args: ["true"]}
  run: {type: Command, args: [touch, "{{ asset.name }}.{{ sync.ending }}"], timeout: 1m}
"""
)
ASSET = (
    API
    + """kind: Asset
metadata: {name: table, labels: {b: "2", a: "1"}}
spec:
  upstreams: [up, up]
  modelName: model
  onDrift:
    - {conditions: there, sync: write, with: {ending: "{{asset.name}}.txt"}}
"""
)
UP = API + "kind: Asset\nmetadata: {name: up}\nspec: {}\n"


def project(*documents: str, settings: str | None = None) -> CompileResult:
    files = {"resources/all.yaml": "---\n".join(documents).encode()}
    if settings is not None:
        files["setpoint.yaml"] = settings.encode()
    return compile_project(files)


def compiled(*documents: str, settings: str | None = None) -> CompiledSet:
    result = project(*documents, settings=settings)
    assert result.faults == ()
    assert result.compiled is not None
    return result.compiled


def test_an_asset_is_closed_over_all_it_uses() -> None:
    assets = compiled(ASSET, UP, CONDITIONS, SYNC).assets
    assert list(assets) == ["table", "up"]
    table = assets["table"]
    assert (table.model_name, table.labels, table.upstreams) == ("model", {"a": "1", "b": "2"}, ("up",))
    assert (table.auto_sync_on_drift, table.auto_sync_on_change, table.upstream_policy) == (True, False, "any")
    (pair,) = table.pairs
    (condition,) = pair.conditions
    assert pair.conditions_name == "there"
    assert condition.argv == ("test", "-f", "table.table.txt")
    assert condition.env == (("A", "a"), ("B", "model"))
    assert (condition.kind, condition.interval_s, condition.timeout_s) == ("Command", 60.0, 10.0)
    assert pair.sync is not None
    assert (pair.sync.name, pair.sync.timeout_s) == ("write", 300.0)
    assert pair.sync.stages() == (
        ("pre", Stage(("true",))),
        ("run", Stage(("touch", "table.table.txt"), timeout_s=60.0)),
    )
    assert table.direct_sync() == pair.sync
    assert table.conditions() == (condition,)


def test_an_asset_without_pairs_is_a_pass_through_named_as_it_is() -> None:
    up = compiled(UP).assets["up"]
    assert (up.pairs, up.model_name, up.direct_sync()) == ((), "up", None)


def test_auto_sync_can_be_off_and_a_pair_can_only_watch() -> None:
    watch = UP.replace("spec: {}", "spec: {autoSync: false, onDrift: [{conditions: there, with: {ending: x}}]}")
    up = compiled(watch, CONDITIONS).assets["up"]
    assert not up.auto_sync_on_drift
    assert up.pairs[0].sync is None


def test_on_upstream_names_the_sync_of_a_direct_trigger() -> None:
    pairs = "{conditions: there, sync: write, with: {ending: x}}, {conditions: other, sync: second, with: {ending: x}}"
    asset = UP.replace("spec: {}", f"spec: {{onUpstream: second, upstreamPolicy: any, onDrift: [{pairs}]}}")
    other = CONDITIONS.replace("name: there", "name: other").replace("file-exists", "else")
    second = SYNC.replace("name: write", "name: second")
    up = compiled(asset, CONDITIONS, SYNC, other, second).assets["up"]
    direct = up.direct_sync()
    assert direct is not None
    assert direct.name == "second"
    assert len(up.conditions()) == 2


def test_files_for_nagi_compile_to_the_same_set() -> None:
    documents = [text.replace("setpoint.dev", "nagi.io") for text in (ASSET, UP, CONDITIONS, SYNC)]
    assert compiled(*documents) == compiled(ASSET, UP, CONDITIONS, SYNC)


def test_order_of_documents_and_files_does_not_matter() -> None:
    documents = [ASSET, UP, CONDITIONS, SYNC]
    many = {f"resources/{n}/x.yml": text.encode() for n, text in enumerate(reversed(documents))}
    assert compile_project(many).encoded == project(*documents).encoded


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("touch", "cp", {"table"}),
        ("interval: 1m", "interval: 2m", {"table"}),
        ("modelName: model", "modelName: other", {"table"}),
        ("interval: 1m", "interval: 60s", set()),
        ("kind: Asset\nmetadata: {name: up}", "kind: Asset\nmetadata: {name: up, labels: {x: y}}", {"up"}),
        ("timeout: 5m\n", "timeout: 300s\n  # nothing else\n", set()),
    ],
)
def test_a_digest_covers_the_closure_and_nothing_else(old: str, new: str, changed: set[str]) -> None:
    documents = [ASSET, UP, CONDITIONS, SYNC]
    before = compiled(*documents).assets
    after = compiled(*(text.replace(old, new) for text in documents)).assets
    assert {name for name in before if before[name].digest != after[name].digest} == changed


def test_settings_are_read_and_are_defaults_without_a_file() -> None:
    assert compiled(UP).settings == Settings()
    text = "defaultTimeout: 90s\nmaxSyncConcurrency: 4\nmaxConsecutiveSyncFailures: 5\n"
    text += "cooldownInitialSecs: 2\norphanTimeout: 1m\n"
    expected = Settings(
        default_timeout_s=90.0,
        max_sync_concurrency=4,
        max_consecutive_sync_failures=5,
        cooldown_initial_s=2.0,
        orphan_timeout_s=60.0,
    )
    assert compiled(UP, settings=text).settings == expected
    result = compile_project({"nagi.yaml": text.encode(), "resources/a.yaml": UP.encode()})
    assert result.compiled is not None
    assert result.compiled.settings == expected


def test_writing_a_default_down_changes_no_byte() -> None:
    assert project(UP, settings="orphanTimeout: 10m\ndefaultTimeout: 1h\n").encoded == project(UP, settings="").encoded


def test_a_cooldown_never_ends_below_its_start() -> None:
    settings = compiled(UP, settings="cooldownInitialSecs: 3600\n").settings
    assert settings.cooldown_max_s == settings.cooldown_initial_s == 3600.0


def test_a_project_of_settings_alone_is_the_empty_set() -> None:
    result = compile_project({"setpoint.yaml": b"", "src/model.sql": b"\xff"})
    assert result.compiled == CompiledSet()


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("setpoint.yaml", True),
        ("nagi.yml", True),
        ("resources/a/b.yml", True),
        ("resources/a.json", False),
        ("a.yaml", False),
        ("profiles.yml", True),
        ("dbt/conf/profiles.yml", True),
        ("myprofiles.yml", False),
    ],
)
def test_which_files_of_a_project_are_wanted(path: str, read: bool) -> None:
    assert is_read(path) is read


def test_only_manifests_are_read() -> None:
    assert is_read("setpoint.yaml")
    assert is_read("resources/deep/er/x.yml")
    for path in ("x.yaml", "resources/x.json", "sub/resources/x.yaml", "sub/setpoint.yaml", "resources.yaml"):
        assert not is_read(path)


def test_decode_reads_what_encode_wrote_and_refuses_the_rest() -> None:
    whole = compiled(ASSET, UP, CONDITIONS, SYNC)
    assert decode(encode(whole)) == whole
    assert encode(decode(encode(whole))) == encode(whole)
    for content in (b"", b"[]", b'{"assets":{"a":{}}}', b"\xff"):
        with pytest.raises(ValueError, match="no compiled set"):
            decode(content)


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert decode(b'{"assets":{"a":{"name":"a","model_name":"a","later":1}}}').assets["a"] == CompiledAsset("a", "a")


def test_the_quickstart_compiles_and_farewell_is_made_of_the_greeting() -> None:
    root = Path(__file__).parents[4] / "examples" / "quickstart"
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.yaml")}
    result = compile_project(files)
    assert result.faults == ()
    assert result.compiled is not None
    greeting, farewell = result.compiled.assets["greeting"], result.compiled.assets["farewell"]
    assert farewell.upstreams == ("greeting",)
    assert greeting.conditions()[0].argv == ("test", "-f", "greeting.txt")
    assert greeting.conditions()[0].interval_s == 5.0
    sync = farewell.direct_sync()
    assert sync is not None
    assert ("SOURCE", "greeting.txt") in sync.run.env


def test_the_schemas_name_every_kind_and_every_setting() -> None:
    schemas = json_schemas()
    kinds = set(schemas["resource"]["discriminator"]["mapping"])
    assert kinds == {"Asset", "Conditions", "Sync", "Connection", "Identity", "Origin"}
    assert "maxSyncConcurrency" in schemas["project"]["properties"]
    assert schemas["project"]["additionalProperties"] is False


def test_what_says_when_to_look_and_what_a_sync_holds() -> None:
    check = "spec: [{name: c, type: Command, run: [x], checkAt: '0 6 * * *', timezone: Europe/Berlin}, OTHER]"
    check = check.replace("OTHER", "{name: d, type: Command, run: [x], evaluateCacheTtl: 10s}")
    head = "apiVersion: setpoint.dev/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\n"
    spec = "spec: {evaluateCacheTtl: 5m, upstreamPolicy: all, autoSync: {onChange: true}, PAIRS}"
    spec = spec.replace("PAIRS", "onDrift: [{conditions: there, sync: s}]")
    sync = "spec: {lockKey: warehouse, run: {type: Command, args: [x]}}"
    parts = (("Conditions", "there", check), ("Asset", "a", spec), ("Sync", "s", sync))
    result = compiled(*(head.format(kind, name) + body + "\n" for kind, name, body in parts))
    made = result.assets["a"]
    first, second = made.conditions()
    assert (first.check_at, first.timezone, first.cache_ttl_s) == ("0 6 * * *", "Europe/Berlin", 300.0)
    assert (second.check_at, second.timezone, second.cache_ttl_s) == (None, "UTC", 10.0)
    assert (made.upstream_policy, made.auto_sync_on_drift, made.auto_sync_on_change) == ("all", True, True)
    assert made.pairs[0].sync is not None
    assert made.pairs[0].sync.lock_key == "warehouse"


def test_settings_of_locks() -> None:
    written = b"lockRetryIntervalSeconds: 5\nlockRetryMaxAttempts: 2\n"
    result = compile_project({"setpoint.yaml": written}).compiled
    assert result is not None
    assert (result.settings.lock_retry_interval_s, result.settings.lock_retry_max_attempts) == (5.0, 2)
