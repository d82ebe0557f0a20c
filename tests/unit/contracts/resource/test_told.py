"""What is said of broken projects, to the last word: place, code, message and hint are what a person has to go by.

The texts are in ``told.txt``, which people have read. When one changes on purpose, run
``python -m tests.unit.contracts.resource.test_told`` and read the difference before it is committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from setpoint.contracts.resource.compile import compile_project
from tests.unit.contracts.resource import dbt

TOLD = Path(__file__).parent / "told.txt"
HEAD = "apiVersion: setpoint.dev/v1alpha1\n"


def document(kind: str, name: str, spec: str) -> str:
    """Return a document of one kind; ``spec`` is YAML in flow style."""
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def asset(spec: str, name: str = "a") -> str:
    return document("Asset", name, spec)


GOOD = (
    document("Conditions", "there", "[{name: c, type: Command, run: [test], interval: 1m}]"),
    document("Sync", "write", "{run: {type: Command, args: [touch]}}"),
)
LAKE = document("Connection", "lake", "{type: duckdb, path: lake.duckdb}")

PROJECTS: dict[str, tuple[str, ...]] = {
    "misspelt keys": (
        *GOOD,
        asset("{autoSync: {onDrfit: true}}", "b"),
        document("Sync", "again", "{run: {type: Command, args: [x]}, pre: {type: Command, args: [x], timout: 5}}"),
        asset("{upstrems: [], onDrift: [{condition: there, snyc: write}]}"),
    ),
    "wrong types": (*GOOD, asset("{upstreams: a, autoSync: 3, modelName: true, onDrift: {}}")),
    "wrong values": (*GOOD, asset("{upstreamPolicy: some, evaluateCacheTtl: 5, onUpstream: x}")),
    "unknown names": (*GOOD, asset("{upstreams: [b], connection: lak, onDrift: [{conditions: ther, sync: wrote}]}")),
    "a cycle": (asset("{upstreams: [b]}"), asset("{upstreams: [a]}", "b"), asset("{upstreams: [a]}", "c")),
    "names twice": (*GOOD, *GOOD, asset("{}"), asset("{}")),
    "bad names": (asset("{}", "'a/b'"), asset("{}", "''"), asset("{}", "[x]")),
    "kinds and versions": (
        HEAD + "kind: Assets\n",
        "apiVersion: v1\nkind: Asset\nmetadata: {name: x}\nspec: {}\n",
        "[]\n",
    ),
    "conditions": (
        document(
            "Conditions",
            "odd",
            "[{name: c, type: Comand, run: [test]}, {name: c, type: Command, run: []}, {type: Command, run: ['']},"
            " {name: d, type: Command, run: test, interval: 60, timeout: 0s}, {name: e, type: Freshness}]",
        ),
    ),
    "clocks": (
        document(
            "Conditions",
            "odd",
            "[{name: c, type: Command, run: [x], checkAt: '61 * * * *'},"
            " {name: d, type: Command, run: [x], checkAt: '0 9 * * 1', timezone: Europe/Berln},"
            " {name: e, type: Command, run: [x], timezone: UTC},"
            " {name: f, type: Command, run: [x], interval: 999999d}]",
        ),
    ),
    "syncs": (
        document("Sync", "one", "{}"),
        document("Sync", "two", "{run: {type: Shell, args: [x]}, after: {}}"),
        document("Sync", "three", "{run: {type: Command, args: ['', 5], env: {'1x': y, OK: 5}}}"),
    ),
    "templates and variables": (
        document(
            "Sync",
            "s",
            "{run: {type: Command, args: ['{{ asset.nme }}', '{{ sync.x }}', '{{ oops'], env: {A: '${NO}'}}}",
        ),
        document(
            "Conditions",
            "k",
            "[{name: c, type: Command, run: ['{{ asset.name }}', '${NO}'], env: {B: '${', C: '${1}'}}]",
        ),
        asset("{onDrift: [{conditions: k, sync: s, with: {y: '{{ asset.modelname }}'}}]}"),
    ),
    "probes without a connection": (
        document(
            "Conditions",
            "q",
            "[{name: c, type: SQL, query: select true}, {name: f, type: Freshness, maxAge: 1h, interval: 1m}]",
        ),
        asset("{onDrift: [{conditions: q}]}"),
    ),
    "queries": (
        LAKE,
        document(
            "Conditions",
            "q",
            "[{name: a, type: SQL, query: drop table x}, {name: b, type: SQL, query: 'select 1; select 2'},"
            " {name: c, type: SQL, query: 'selec true'}, {name: d, type: SQL, query: ' '},"
            " {name: e, type: SQL, query: 'with x as (delete from y returning 1) select * from x'},"
            " {name: f, type: SQL, query: \"pragma x\"}, {name: g, type: SQL, query: '{{ asset.nme }}'},"
            " {name: h, type: Freshness, maxAge: 1h, interval: 1m}]",
        ),
        asset("{connection: lake, onDrift: [{conditions: q}]}"),
    ),
    "connections": (
        document("Connection", "a", "{type: duckdb, path: /etc/passwd}"),
        document("Connection", "b", "{type: sqlite, path: ../x}"),
        document("Connection", "c", "{type: duck, path: x}"),
        document("Connection", "d", "{path: x}"),
        document("Connection", "e", "{type: dbt, profile: p, target: t}"),
        document("Connection", "f", "{type: bigquery, project: p}"),
        document("Connection", "g", "{type: sqlite, path: ''}"),
    ),
    "identities": (
        document("Identity", "a", "{type: env, env: {}}"),
        document("Identity", "b", "{type: env, env: {'x y': z}}"),
        document("Sync", "s", "{identity: c, run: {type: Command, args: [x], identity: d}}"),
    ),
    "origins": (
        document("Origin", "a", "{type: DBT, connection: none, projectDir: dbt}"),
        document("Origin", "b", "{type: DBT}"),
        document("Origin", "c", "{type: dlt, connection: x, projectDir: y}"),
    ),
    "never looked at": (
        document("Conditions", "k", "[{name: c, type: Command, run: [x]}]"),
        asset("{onDrift: [{conditions: k}]}"),
    ),
    "at once: a misspelt key and unknown names": (
        *GOOD,
        asset("{modelname: x, upstreams: [b], onDrift: [{conditions: ther, snyc: write}], onUpstream: write}"),
    ),
    "at once: a wrong type and a cycle": (
        asset("{autoSync: 3, upstreams: [b, 5]}"),
        asset("{upstreams: [a], evaluateCacheTtl: soon}", "b"),
    ),
    "at once: a sync without run": (
        document("Sync", "s", "{pre: {type: Command, args: ['{{ asset.nme }}'], identity: me}, timeout: x}"),
        asset("{onDrift: [{conditions: k, sync: s}]}"),
    ),
    "at once: one condition of three": (
        LAKE,
        document(
            "Conditions",
            "q",
            "[{name: a, type: SQL, query: drop table x}, {name: b, type: Comand, run: [x], interval: soon},"
            " {name: a, type: Command, run: [x, 5, '{{ nope }}'], timezone: UTC}]",
        ),
        asset("{connection: lake, onDrift: [{conditions: q}]}"),
    ),
    "at once: a name that is none": (
        *GOOD,
        asset("{upstreams: [c], onDrift: [{conditions: ther}]}", "Big"),
        asset("{upstreams: [Big], onDrift: [{conditions: there, sync: wrote}]}", "b"),
    ),
    "at once: no name": (
        document("Sync", "[x]", "{run: {type: Command, args: ['{{ nope }}']}}"),
        asset("{upstreams: [b], onDrift: [{conditions: there, sync: write}]}"),
    ),
    "at once: a misspelt kind": (
        HEAD.replace("v1alpha1", "v1") + "kind: Condition\nmetadata: {name: There}\nspec: []\n",
        asset("{upstreams: [b], onDrift: [{conditions: There, sync: write}]}"),
    ),
    "at once: a misspelt connection": (
        LAKE,
        document("Conditions", "q", "[{name: a, type: SQL, query: selec true, interval: 0s}]"),
        asset("{conection: lake, onDrift: [{conditions: q, with: {x: 1}}]}"),
        asset("{connection: lake, onDrift: [{conditions: q}], labels: {}}", "b"),
    ),
    "at once: connections and an origin": (
        document("Connection", "a", "{type: dbt, profile: 5, identity: me}"),
        document("Connection", "b", "{type: postgres, host: h, port: high, database: d, user: u}"),
        document("Conditions", "q", "[{name: a, type: SQL, query: select true, interval: 1m}]"),
        asset("{connection: b, onDrift: [{conditions: q}], upstreams: [o.x, x.o]}"),
        document("Origin", "o", "{type: DBT, projectDir: dbt, interval: x, defaultSync: {sync: s}}"),
    ),
    "at once: a tag": (
        document("Sync", "s", "{run: {type: Command, args: !odd [x]}, lockKey: !odd k, identity: me}"),
        document("Identity", "i", "{type: env, env: {A: '${NO}', B C: x}}"),
    ),
    "at once: a document that is no YAML": (
        document("Sync", "maybe", "{run: {type: Command, args: [x}}"),
        asset("{upstrems: [], onDrift: [{conditions: gone, sync: maybe}]}"),
        "kind: 'Asset\n",
        asset("{upstreams: [a], autoSync: x}", "b"),
    ),
    "a server that nobody asks": (
        document("Connection", "b", "{type: postgres, host: h, database: d, user: u}"),
        asset("{connection: b}"),
    ),
    "yaml: twice a key": ("kind: Asset\nkind: Asset\n",),
    "yaml: not closed": ("spec: [1, 2\n",),
    "yaml: a tab": ("a:\n\t- b\n",),
    "yaml: a tag": ("a: !!python/object x\n",),
    "yaml: numbers": ("a: 0x1g\nb: " + "9" * 400 + "\nc: !!int x\nd: !!float y\n",),
    "yaml: NUL": ('a: "\\0"\n',),
    "yaml: an alias of nothing": ("a: *b\n",),
    "nothing": ("",),
}
PROFILES = """\
shop:
  target: dev
  outputs:
    dev: {type: duckdb}
    cloud: {type: snowflake}
    odd: {type: [duckdb]}
    jinja: {type: duckdb, path: "{{ target.name }}.duckdb"}
    unset: {type: duckdb, path: "{{ env_var('GONE') }}.duckdb"}
"""
TARGETS = tuple(
    document("Connection", f"to-{profile}-{target}", f"{{type: dbt, profile: {profile}, target: {target}}}")
    for profile, target in [
        *(("shop", name) for name in ("dev", "cloud", "odd", "jinja", "unset", "clod")),
        ("shp", "dev"),
    ]
)
ELSEWHERE = document("Connection", "elsewhere", "{type: dbt, profile: shop, profilesDir: conf}")
ORIGINS = (dbt.CONNECTION, dbt.SHOP, dbt.FINANCE)
SAME = (
    dbt.model("a", schema="x", alias="t")
    | dbt.model("B")
    | dbt.model("b")
    | dbt.model("d", "model.shop.gone", "model.x.gone")
)
WITH_FILES: dict[str, tuple[tuple[str, ...], dict[str, bytes]]] = {
    "profiles of dbt": ((*TARGETS, ELSEWHERE), {"profiles.yml": PROFILES.encode()}),
    "profiles of dbt that are none": ((ELSEWHERE, *TARGETS[:1]), {"profiles.yml": b"[]", "conf/profiles.yml": b"a: ["}),
    "manifests that are not there": ((dbt.SHOP, dbt.FINANCE.replace("warehouse", "warehous"), dbt.CONNECTION), {}),
    "manifests that cannot be read": (
        ORIGINS,
        {"shop/target/manifest.json": b"{", "finance/target/manifest.json": dbt.manifest({"model.x": {"name": 1}})},
    ),
    "manifests of another version": (ORIGINS[:2], {"shop/target/manifest.json": dbt.manifest({}, schema="v9")}),
    "projects of dbt that clash": (
        ORIGINS,
        {
            "shop/target/manifest.json": dbt.manifest(SAME),
            "finance/target/manifest.json": dbt.manifest(
                dbt.model("c", project="finance", schema="X", alias="T")
                | dbt.check("both", "model.x.a", "model.x.b", project="finance"),
                name="finance",
            ),
        },
    ),
    "an asset of an Origin and a person": (
        (
            *ORIGINS[:2],
            LAKE,
            f"{HEAD}kind: Asset\nmetadata: {{name: shop.a, labels: {{dbt/nightly: no}}}}\n"
            "spec: {connection: lake, modelName: z, autoSync: false, upstreams: [gone], onDrift: [{conditions: k}]}\n",
        ),
        {"shop/target/manifest.json": dbt.manifest(dbt.model("a", tags=["nightly"]))},
    ),
}
SETTINGS = {
    "settings: misspelt": "defaultTimout: 5m\nmaxSyncConcurrency: 0\ncooldownInitialSecs: x\nbackend: {type: s3}\n",
    "settings: not yet": "notify: {slack: {channel: x}}\nexport: {connection: x, dataset: y}\nmaxControllers: 3\n",
    "settings: no mapping": "- 1\n",
}


def told() -> list[str]:
    """Return what compile says of all projects, a line each."""
    projects = {
        title: {"resources/x.yaml": "---\n".join(documents).encode()} for title, documents in PROJECTS.items()
    } | {
        title: {"setpoint.yaml": text.encode(), "resources/x.yaml": asset("{}").encode()}
        for title, text in SETTINGS.items()
    }
    projects["files"] = {
        "setpoint.yml": b"",
        "resources/x.yaml": b"# nothing\n",
        "resources/y.yaml": b"\xff",
        "nagi.yaml": b"",
    }
    projects |= {
        title: {"resources/x.yaml": "---\n".join(documents).encode(), **files}
        for title, (documents, files) in WITH_FILES.items()
    }
    projects["settings: twice"] = {"setpoint.yaml": b"", "nagi.yaml": b""}
    lines = []
    for title, files in projects.items():
        result = compile_project(files)
        lines.append(f"## {title}" + ("" if result.encoded is None else " (compiles)"))
        for fault in (*result.faults, *result.warnings):
            hint = f" | {fault.hint}" if fault.hint else ""
            place = f"{fault.file}:{fault.line}:{fault.column}"
            lines.append(f"{place} {fault.severity} {fault.code}: {fault.message}{hint}")
    return lines


def test_what_is_said_of_broken_projects_is_as_it_was_read() -> None:
    for number, (before, now) in enumerate(zip(TOLD.read_text().splitlines(), told(), strict=True), start=1):
        assert now == before, f"told.txt:{number}"


@pytest.mark.parametrize("title", [*PROJECTS, *WITH_FILES])
def test_each_broken_project_is_told_of(title: str) -> None:
    lines = told()
    at = next(index for index, line in enumerate(lines) if line.startswith(f"## {title}"))
    assert not lines[at + 1].startswith("##"), title


if __name__ == "__main__":
    TOLD.write_text("\n".join(told()) + "\n")
