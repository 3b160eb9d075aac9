"""What the first process of a lab host is told."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.lab import spec
from nornir_torque_vm.lab.layout import lab_nodes

FILES = Path("/cache/lab/x/node1/files")
PATHS = st.lists(
    st.lists(st.sampled_from(["usr", "home", "root", "opt", "a", "b"]), min_size=1, max_size=4).map(
        lambda parts: "/" + "/".join(parts)
    )
)


def commands(*, kvm: bool = False) -> list[str]:
    """The set-up commands of a node as lines."""
    made = spec.setup_commands(FILES, ["/opt/venv"], {"/srv/pool": "/cache/pool"}, kvm=kvm)
    return [" ".join(argv) for argv in made]


@given(PATHS)
def test_shown_directories_cover_what_was_asked_for_and_nothing_twice(paths: list[str]) -> None:
    """Each was asked for, none lies in another; what is missing is in /usr or holds a hidden directory."""
    shown = spec.visible(paths)
    assert set(shown) <= set(paths)
    pairs = [(a, b) for a in shown for b in shown if a != b]
    assert not any(PurePosixPath(a).is_relative_to(b) for a, b in pairs)
    for path in paths:
        covered = any(PurePosixPath(path).is_relative_to(top) for top in (*shown, "/usr"))
        assert covered or any(PurePosixPath(hidden).is_relative_to(path) for hidden in spec.HIDDEN)


def test_a_directory_that_holds_a_hidden_one_is_not_shown() -> None:
    """Showing / or /home would undo what makes a host a host of its own."""
    assert spec.visible(["/", "/home", "/home/bob/checkout", "/usr/lib/python3"]) == ("/home/bob/checkout",)


def test_the_hosts_sys_is_a_new_one_and_the_machines_is_gone_before() -> None:
    """Else libvirt finds the machine's control groups below it and starts no guest."""
    lines = commands()
    assert lines.index("umount -l -R /sys") < lines.index("mount -t sysfs sysfs /sys")


def test_the_machines_tree_is_gone_in_the_end() -> None:
    """Only while the mounts are made can a host see all of the machine."""
    assert commands()[-1] == f"umount -l -R {spec.STAGE}"


def test_sources_are_taken_from_the_stage() -> None:
    """A directory may already be hidden when something in it is mounted elsewhere."""
    binds = [line.split() for line in commands() if line.startswith("mount --bind")]
    assert len(binds) == len(spec.OWN) + 3
    assert all(words[2].startswith(f"{spec.STAGE}/") for words in binds)


def test_what_is_read_only_is_made_so_after_it_is_mounted() -> None:
    """The pool and the machine's /etc: a bind mount takes that flag only in a second step."""
    lines = commands()
    for target in ("/srv/pool", spec.MACHINE_ETC):
        mounted = next(
            n for n, line in enumerate(lines) if line.startswith("mount --bind") and line.endswith(target)
        )
        assert lines.index(f"mount -o remount,bind,ro {target}") > mounted
    assert "mount -o remount,bind,ro /opt/venv" not in lines


def test_kvm_shows_only_when_it_was_proven() -> None:
    """A /dev/kvm that does not work costs 13 seconds for every guest (measured)."""
    assert not any("/dev/kvm" in line for line in commands())
    assert "mknod -m 666 /dev/kvm c 10 232" in commands(kvm=True)


def test_orders_are_complete_json() -> None:
    """The first process reads nothing but this text, and a new identity makes another text."""
    node = lab_nodes(1)[0]

    def orders(identity: str) -> str:
        return spec.node_spec(
            node, FILES, pool=Path("/pool"), tools=Path("/tools"),
            sshd="/run/lab/tools/sshd", libraries="/run/lab/lib", show=["/opt/venv"],
            kvm=False, identity=identity,
        ).text()  # fmt: skip

    read = json.loads(orders("one"))
    assert read["hostname"] == "node1"
    assert [daemon["name"] for daemon in read["daemons"]] == ["virtlogd", "libvirtd", "sshd"]
    assert read["daemons"][2]["env"] == {"LD_LIBRARY_PATH": "/run/lab/lib"}
    assert {"/opt/venv", "/etc"} <= set(read["writable"])
    assert orders("one") == orders("one") != orders("two")


def test_a_common_home_replaces_the_hosts_own() -> None:
    """Everything else stays the host's."""
    made = spec.setup_commands(FILES, (), {}, kvm=False, home=Path("/cache/lab/x/shared/home"))
    binds = {argv[-1]: argv[-2] for argv in made if argv[:2] == ("mount", "--bind")}
    assert binds["/home"] == f"{spec.STAGE}/cache/lab/x/shared/home"
    assert binds["/etc"] == f"{spec.STAGE}{FILES}/etc"


def test_an_installed_sshd_needs_no_libraries_of_its_own() -> None:
    """An empty LD_LIBRARY_PATH would mean the current directory."""
    assert spec.node_daemons("/usr/sbin/sshd", "")[2].env == {}


def test_dhcp_offers_addresses_at_once_and_no_way_out() -> None:
    """No ping before an offer (seconds), no router, no name server."""
    argv = spec.switch_daemons()[0].argv
    assert {"--no-ping", "--port=0", "--dhcp-option=option:router"} <= set(argv)
    assert "--dhcp-range=10.89.0.100,10.89.0.250,255.255.255.0,15m" in argv
