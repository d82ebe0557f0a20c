"""The arguments of a sandbox: all namespaces, nothing below the tenant's mount, read-only last."""

from __future__ import annotations

from sandboxd.core import plan
from setpoint.contracts.probe import Probe
from setpoint.contracts.run import Step

LAYOUT = plan.Layout(
    binds=(("/usr", "/usr"), ("/state/etc/passwd", "/etc/passwd")),
    links=(("/bin", "usr/bin"),),
    hidden_files=("/proc/keys",),
    hidden_dirs=("/proc/acpi",),
)
STEP = Step(0, "tool", "t", ("true",), 1.0, (("A", "1"), ("HOME", "/elsewhere")))


def words(layout: plan.Layout = LAYOUT) -> list[str]:
    return list(plan.describe(layout, "/ws/1/files", {"A": "1"}, status_fd=9, tmp_bytes_max=1024))


def test_every_namespace_no_capability_and_a_death_tied_to_the_daemon() -> None:
    said = words()
    for flag in ("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"):
        assert flag in said
    assert said[said.index("--cap-drop") + 1] == "ALL"
    assert "--share-net" not in said
    assert "--disable-userns" not in words(plan.Layout(userns_off=False))


def test_the_environment_is_cleared_before_it_is_set() -> None:
    said = words()
    assert said.index("--clearenv") < said.index("--setenv")


def test_only_the_workspace_is_bound_for_writing_and_nothing_is_made_below_it() -> None:
    said = words()
    assert said.count("--bind") == 1
    at = said.index("--bind")
    assert said[at + 1 : at + 3] == ["/ws/1/files", plan.WORKSPACE]
    assert said[at + 3 :] == ["--remount-ro", "/", "--chdir", plan.WORKSPACE, "--json-status-fd", "9"]


def test_temporary_directories_have_a_size() -> None:
    said = words()
    for at in (n for n, word in enumerate(said) if word == "--tmpfs" and said[n + 1] in ("/tmp", "/dev/shm")):
        assert said[at - 4] == "--size"
    assert said[said.index("/tmp") - 4] == "1024"


def test_what_says_too_much_about_the_host_is_hidden() -> None:
    said = " ".join(words())
    assert "--ro-bind /dev/null /proc/keys" in said
    assert "--tmpfs /proc/acpi --remount-ro /proc/acpi" in said


def test_a_steps_own_variables_win_over_the_five_of_ours() -> None:
    env = plan.environment(STEP)
    assert env["A"] == "1" and env["HOME"] == "/elsewhere"
    assert set(env) == {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "A"}


PROBE = Step(0, "condition", "c", (), 1.0, (("LD_PRELOAD", "evil.so"),), Probe("sqlite", "sales.db", "SELECT true"))


def test_a_probe_sees_its_program_and_can_only_read_the_workspace() -> None:
    said = list(plan.describe(LAYOUT, "/ws/1/files", {}, status_fd=9, tmp_bytes_max=1024, kit="/state/kit"))
    assert "--bind" not in said
    binds = [said[at + 1 : at + 3] for at, word in enumerate(said) if word == "--ro-bind"]
    assert binds[-2:] == [["/state/kit", plan.KIT], ["/ws/1/files", plan.WORKSPACE]]
    assert plan.KIT not in words()


def test_a_probe_has_nothing_of_its_steps_environment() -> None:
    assert set(plan.environment(PROBE)) == {"PATH", "HOME", "LANG", "TZ", "TMPDIR"}


def test_what_held_for_a_probe_is_said_where_something_is_isolated() -> None:
    assert plan.held(PROBE, {"isolation": "bwrap"}) == {"isolation": "bwrap", "workspace": "read-only"}
    assert plan.held(STEP, {"isolation": "bwrap"}) == {"isolation": "bwrap"}
    assert plan.held(PROBE, {"isolation": "none"}) == {"isolation": "none"}
