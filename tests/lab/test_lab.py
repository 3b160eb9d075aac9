"""The lab on real namespaces: what comes up works, what goes down leaves nothing, whatever was killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nornir_torque_vm.cli.lab import lab as command
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import Lab, health, processes, record
from nornir_torque_vm.lab.layout import SWITCH

pytestmark = pytest.mark.lab

TLS = "qemu+tls://{}/system?pkipath=/etc/torque-vm/pki"
OUTSIDE = (
    "/etc/torque-vm", "/etc/libvirt/qemu.conf", "/home/alice", "/run/lab", "/run/libvirt", "/run/torque-vm",
    "/run/sshd", "/srv/torque-vm", "/var/lib/libvirt", "/var/lib/torque-vm", "/var/log/lab",
    "/var/log/torque-vm", "/var/spool/torque",
)  # fmt: skip
"""What a host has at these paths must never appear on the machine."""
GUEST = """
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface></devices>
</domain>
"""


@pytest.fixture
def own(lab_possible: None) -> Iterator[Lab]:
    """The name of a lab of the test's own, not up yet."""
    cluster = Lab(f"test-{os.getpid()}-own", nodes=2)
    try:
        yield cluster
    finally:
        cluster.down()


def namespaces(pid: int | str = "*") -> set[str]:
    """The namespaces that this process is in; without one, those of all processes."""
    found = set()
    for link in Path("/proc").glob(f"{pid}/ns/*"):
        if link.name in {"net", "mnt", "uts", "pid"}:
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found


def of_lab(cluster: Lab) -> dict[str, record.Running]:
    return dict(record.load(cluster.paths.record).hosts)


def machine(cluster: Lab) -> tuple[set[str], list[str], dict[str, bool]]:
    """What a lab could change of the machine: network devices, mounts, files outside its directory."""
    mounts = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if str(cluster.paths.state) in line
    ]
    devices = {device.name for device in Path("/sys/class/net").iterdir()}
    return devices, mounts, {path: os.path.lexists(path) for path in OUTSIDE}


def left_of(cluster: Lab) -> list[object]:
    """Processes and files of a lab that is down; there should be none."""
    files = [path for path in (cluster.paths.state, cluster.paths.lock) if path.exists()]
    return [*processes.below(cluster.paths.state), *files]


def start_guest(cluster: Lab, node: str, name: str) -> None:
    """Start a guest without a disk; its firmware looks for one for ever."""
    cluster.run(node, ["virsh", "create", "/dev/stdin"], input=GUEST.format(name=name))


class TestUp:
    def test_every_node_reaches_every_libvirtd_over_tls(self, lab: Lab) -> None:
        """Certificates name the nodes and are accepted in both directions."""
        for here, there in (("node1", "node2"), ("node2", "node1"), ("node1", "node1")):
            assert lab.run(here, ["virsh", "-c", TLS.format(there), "hostname"]).stdout.strip() == there

    def test_a_client_without_the_labs_certificate_is_refused(self, lab: Lab) -> None:
        """Knowing the authority is not enough: no certificate, no connection."""
        copied = "mkdir /tmp/pki && cp /etc/torque-vm/pki/cacert.pem /tmp/pki/"
        uri = TLS.format("node2").replace("/etc/torque-vm/pki", "/tmp/pki")
        try:
            refused = lab.run("node1", ["sh", "-c", f"{copied} && virsh -c '{uri}' hostname"], check=False)
        finally:
            lab.run("node1", ["rm", "-r", "/tmp/pki"])
        assert refused.returncode != 0
        assert "node2" not in refused.stdout

    def test_ssh_works_with_the_pinned_key_and_only_with_it(self, lab: Lab) -> None:
        """The ssh client knows the other node's key; with an empty known_hosts it refuses to go there."""
        assert lab.run("node1", ["ssh", "node2", "hostname; id -u"]).stdout.split() == ["node2", "0"]
        assert lab.run("node1", ["ssh", "10.89.0.12", "hostname"]).stdout.strip() == "node2"
        refused = lab.run(
            "node1", ["ssh", "-o", "UserKnownHostsFile=/dev/null", "node2", "true"], check=False
        )
        assert "Host key verification failed" in refused.stderr

    def test_the_switch_gives_addresses_from_its_range(self, lab: Lab) -> None:
        """A network card behind the node's bridge gets an address quickly, and the lease is in the file."""
        mac = "02:00:5e:10:00:01"
        card = f"ip link add c0 up address {mac} type veth peer name c1 && ip link set c1 up master br0"
        began = time.monotonic()
        try:
            lab.run("node2", ["sh", "-c", f"{card} && busybox udhcpc -i c0 -n -q -f -s /bin/true"])
        finally:
            lab.run("node2", ["ip", "link", "del", "c0"], check=False)
        assert time.monotonic() - began < 2.5, "a ping before the offer takes three seconds"
        leases = [line.split() for line in lab.lease_file.read_text().splitlines()]
        address = next(fields[2] for fields in leases if fields[1] == mac)
        assert 100 <= int(address.rpartition(".")[2]) <= 250

    def test_libvirt_offers_emulation_only_unless_kvm_was_proven(self, lab: Lab) -> None:
        """Settings and capabilities agree on the domain type."""
        offered = lab.run("node1", ["virsh", "capabilities"]).stdout
        settings = lab.run("node1", ["cat", "/etc/torque-vm/settings.toml"]).stdout
        assert ("domain type='kvm'" in offered) == ('hypervisor_default = "kvm"' in settings)
        assert "domain type='qemu'" in offered

    def test_a_node_cannot_change_the_machine(self, lab: Lab) -> None:
        """System directories are read-only, also through the links in /etc; the pool is too."""
        for path in ("/usr/x", "/x", "/etc/fstab", "/srv/torque-vm/images/x"):
            refused = lab.run("node1", ["sh", "-c", f": >>{path}"], check=False)
            assert "Read-only file system" in refused.stderr, path

    def test_a_node_has_what_torque_and_its_user_expect(self, lab: Lab) -> None:
        """Spool directories, the user's home, and a Python with this package."""
        lab.run("node1", ["test", "-d", "/var/spool/torque/mom_priv/jobs"])
        written = [
            "setpriv",
            "--reuid",
            "alice",
            "--regid",
            "alice",
            "--clear-groups",
            "touch",
            "/home/alice/x",
        ]
        lab.run("node1", [*written])
        assert (lab.root("node1") / "home/alice/x").stat().st_uid == 2001
        (lab.root("node1") / "home/alice/x").unlink()
        import_it = "import nornir_torque_vm.config.settings as s; print(s.load().bridge)"
        assert lab.run("node1", [sys.executable, "-I", "-c", import_it]).stdout == "br0\n"

    def test_again_keeps_everything(self, lab: Lab) -> None:
        """A second up finds nothing to do: the same processes, the same guests."""
        start_guest(lab, "node1", "kept")
        try:
            before = of_lab(lab)
            lab.up()
            assert of_lab(lab) == before
            assert lab.status()[0].guests == ("kept",)
        finally:
            lab.run("node1", ["virsh", "destroy", "kept"])

    def test_status_names_every_node_and_its_guests(self, lab: Lab) -> None:
        """As a table and as JSON."""
        start_guest(lab, "node2", "shown")
        try:
            shown = CliRunner().invoke(command, ["status", "--name", lab.name, "--json"])
            assert shown.exit_code == 0
            nodes = json.loads(shown.output)["nodes"]
            assert [(n["name"], n["address"], n["ok"], n["guests"]) for n in nodes] == [
                ("node1", "10.89.0.11", True, []),
                ("node2", "10.89.0.12", True, ["shown"]),
            ]
            assert (
                "node2  10.89.0.12  ok        shown"
                in CliRunner().invoke(command, ["status", "--name", lab.name]).output
            )
        finally:
            lab.run("node2", ["virsh", "destroy", "shown"])

    def test_shell_opens_in_the_node(self, lab: Lab) -> None:
        """The command becomes a login shell inside the node."""
        main = f"from nornir_torque_vm.cli.lab import lab; lab(['shell', '--name', '{lab.name}', 'node2'])"
        done = subprocess.run(
            [sys.executable, "-c", main],
            input="hostname\n",
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert done.stdout == "node2\n"

    def test_what_is_started_from_outside_dies_with_its_starter(self, lab: Lab) -> None:
        """A program that is too slow is ended in the node as well."""
        with pytest.raises(LabError, match=r"node node1: sleep was not done after 0\.3 s"):
            lab.run("node1", ["sleep", "4711"], seconds=0.3)
        time.sleep(0.2)
        assert "sleep 4711" not in lab.run("node1", ["ps", "-eo", "args"]).stdout

    def test_an_unknown_node_is_named_with_those_there_are(self, lab: Lab) -> None:
        """One line, no traceback for people who mistype."""
        with pytest.raises(LabError, match="has no node 'node7', only node1, node2"):
            lab.enter("node7")


class TestDown:
    def test_nothing_is_left_and_nothing_else_was_touched(self, own: Lab) -> None:
        """Processes, namespaces, mounts, devices and files: as before, twice in a row."""
        before = machine(own)
        for _ in range(2):
            own.up()
            start_guest(own, "node1", "doomed")
            assert machine(own) == before, "a lab that is up shows nowhere on the machine"
            hosts = of_lab(own)
            inside = set().union(*(namespaces(host.init) for host in hosts.values()))
            assert len(inside) == 12
            assert own.down()
            assert inside & namespaces() == set()
            assert left_of(own) == []
            assert machine(own) == before

    def test_again_is_no_error(self, own: Lab) -> None:
        """A lab that is not up is down already."""
        assert not own.down()
        assert own.status() == []

    def test_the_lab_beside_it_goes_on(self, lab: Lab, own: Lab) -> None:
        """Another lab, whose name even begins like the first one's, is another lab."""
        assert own.name.startswith(lab.name)
        own.up()
        assert lab.run("node1", ["ssh", "node2", "true"]).returncode == 0, "same addresses, another network"
        before = of_lab(lab)
        own.down()
        assert of_lab(lab) == before
        assert all(node.ok for node in lab.status())

    def test_a_killed_libvirtd_does_not_hinder_it(self, own: Lab) -> None:
        """Its guests, which live on without it, go too."""
        own.up()
        start_guest(own, "node1", "orphan")
        own.run("node1", ["sh", "-c", "kill -9 $(cat /run/libvirtd.pid)"])
        own.down()
        assert left_of(own) == []

    def test_lost_files_do_not_hinder_it(self, own: Lab) -> None:
        """Processes are found by their command lines when the record is gone."""
        own.up()
        own.paths.record.unlink()
        assert own.status() == []
        assert own.down()
        assert left_of(own) == []

    def test_a_mount_in_its_directory_stops_it(self, own: Lab) -> None:
        """What somebody has mounted there is not the lab's to delete."""
        place = own.paths.state / "precious"
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        try:
            (place / "file").touch()
            with pytest.raises(LabError, match="something is mounted"):
                own.down()
            assert (place / "file").exists()
        finally:
            subprocess.run(["umount", place], check=True)


DIE_AT = """
import os, signal
from nornir_torque_vm.lab import Lab, {module}
inner = {module}.{name}
def die(*args, **kw):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
{module}.{name} = die
Lab({lab!r}, nodes=2).up()
"""
KILLED_IN = {
    "with only files written": ("builder", "Birth", "pass"),
    "with one host started": ("builder", "Birth", "inner(*args, **kw)"),
    "with hosts started and no network": ("network", "lay_network", "pass"),
    "with a network and no word to go": ("builder.Birth", "go", "pass"),
    "with one host told to go": ("builder.Birth", "go", "inner(*args, **kw)"),
    "with daemons starting": ("builder", "await_hosts", "pass"),
}


def die_in_up(own: Lab, moment: str) -> None:
    """Run up in a process of its own that kills itself at that moment."""
    module, name, before = KILLED_IN[moment]
    code = DIE_AT.format(module=module, name=name, before=before, lab=own.name)
    code = code.replace("Lab, builder.Birth\n", "Lab, builder\n")
    died = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


class TestKilledUp:
    @pytest.mark.parametrize("moment", KILLED_IN)
    def test_one_down_removes_everything(self, own: Lab, moment: str) -> None:
        """After kill -9 of up at any point: processes are found by their command lines."""
        before = machine(own)
        die_in_up(own, moment)
        own.down()
        assert left_of(own) == []
        assert machine(own) == before

    @pytest.mark.parametrize("moment", KILLED_IN)
    def test_one_up_completes_it(self, own: Lab, moment: str) -> None:
        """The next up builds what is missing and works."""
        die_in_up(own, moment)
        own.up()
        assert own.run("node1", ["virsh", "-c", TLS.format("node2"), "hostname"]).stdout.strip() == "node2"
        roles = sorted(Path(processes.marker(p)).parent.name for p in processes.below(own.paths.state))
        assert roles == ["node1"] * 2 + ["node2"] * 2 + [SWITCH] * 2, "no host runs twice"

    def test_hosts_that_were_not_told_to_go_end_by_themselves(self, own: Lab) -> None:
        """Even without any further command nothing half-built stays behind."""
        die_in_up(own, "with hosts started and no network")
        end = time.monotonic() + 5.0
        while processes.below(own.paths.state) and time.monotonic() < end:
            time.sleep(0.05)
        assert processes.below(own.paths.state) == []


def kill(host: record.Running) -> None:
    """End a host as a power failure would."""
    os.kill(host.init, signal.SIGKILL)
    while host.alive:
        time.sleep(0.01)


class TestMending:
    def test_a_dead_node_is_built_anew_and_the_others_are_kept(self, own: Lab) -> None:
        """Only what is broken is replaced."""
        own.up()
        before = of_lab(own)
        kill(before["node2"])
        assert [node.ok for node in own.status()] == [True, False]
        own.up()
        after = of_lab(own)
        assert (after["node1"], after[SWITCH]) == (before["node1"], before[SWITCH])
        assert own.run("node1", ["ssh", "node2", "hostname"]).stdout.strip() == "node2"

    def test_a_dead_switch_costs_no_node(self, own: Lab) -> None:
        """Its cables are laid anew between the nodes that live on."""
        own.up()
        before = of_lab(own)
        kill(before[SWITCH])
        own.up()
        assert {name: host for name, host in of_lab(own).items() if name != SWITCH} == {
            name: host for name, host in before.items() if name != SWITCH
        }
        assert own.run("node1", ["ssh", "node2", "hostname"]).stdout.strip() == "node2"

    @pytest.mark.parametrize("sign", ["KILL", "STOP"])
    def test_a_node_whose_libvirtd_is_dead_or_frozen_is_built_anew(
        self, own: Lab, sign: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The status says so within seconds, up mends it."""
        own.up()
        own.run("node1", ["sh", "-c", f"kill -{sign} $(cat /run/libvirtd.pid)"])
        began = time.monotonic()
        states = own.status()
        assert time.monotonic() - began < 10.0
        assert [node.ok for node in states] == [False, True]
        monkeypatch.setattr("nornir_torque_vm.lab.cluster.PATIENCE", 2.0)
        own.up()
        assert all(node.ok for node in own.status())

    def test_a_lost_sshd_or_dhcp_server_is_noticed(self, own: Lab) -> None:
        """Every daemon counts, not only the one that status asks."""
        own.up()
        before = of_lab(own)
        for host, program in ((before["node1"], "sshd"), (before[SWITCH], "dnsmasq")):
            daemon = next(
                p for p in processes.everything() if p.parent == host.init and program in p.words[0]
            )
            processes.kill(daemon)
            while not health.exited(host):
                time.sleep(0.01)
        own.up()
        after = of_lab(own)
        assert [name for name in after if after[name] == before[name]] == ["node2"]
        assert own.run("node2", ["ssh", "node1", "hostname"]).stdout.strip() == "node1"

    def test_it_grows_and_shrinks_around_what_is_there(self, own: Lab) -> None:
        """New nodes join, old ones stay and know the new ones; a smaller number removes the last."""
        own.up()
        before = of_lab(own)
        Lab(own.name, nodes=3).up()
        assert of_lab(own)["node2"] == before["node2"]
        assert own.run("node1", ["ssh", "node3", "hostname"]).stdout.strip() == "node3"
        assert own.run("node3", ["virsh", "-c", TLS.format("node1"), "hostname"]).stdout.strip() == "node1"
        Lab(own.name).up()
        assert Lab(own.name).node_names == ("node1", "node2", "node3"), "without a number it stays as it is"
        Lab(own.name, nodes=1).up()
        assert of_lab(own)["node1"] == before["node1"]
        assert sorted(of_lab(own)) == ["node1", SWITCH]

    def test_two_ups_at_once_build_one_lab(self, own: Lab) -> None:
        """The second waits for the first and finds its work."""
        errors: list[BaseException] = []

        def build() -> None:
            try:
                Lab(own.name, nodes=2).up()
            except BaseException as exc:  # noqa: BLE001 -- shown by the assertion below
                errors.append(exc)

        threads = [threading.Thread(target=build) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(processes.below(own.paths.state)) == 6

    def test_settings_and_slots_of_the_caller_reach_the_nodes(self, lab_possible: None) -> None:
        """Tests need short time limits without editing files in nodes."""
        cluster = Lab(f"test-{os.getpid()}-set", nodes=1, slots=2, settings={"timeout": 7})
        try:
            cluster.up()
            assert "\ntimeout = 7\n" in cluster.run("node1", ["cat", "/etc/torque-vm/settings.toml"]).stdout
            assert Lab(cluster.name).slots == 2
        finally:
            cluster.down()


class TestFailure:
    def test_a_daemon_that_does_not_start_is_named_with_its_last_words(
        self, own: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One line with node, program and the end of its log; then down cleans up."""
        monkeypatch.setattr("nornir_torque_vm.lab.files.QEMU_CONF", 'user = "nobody-knows-me"\n')
        with pytest.raises(LabError) as caught:
            own.up()
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith("node node")
        assert "libvirtd ended with code" in line or "libvirtd does not answer" in line
        assert "nobody-knows-me" in line
        own.down()
        assert left_of(own) == []

    def test_a_host_that_cannot_be_made_is_named_at_once(
        self, own: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failing set-up command ends the start within a second, not at the deadline."""
        monkeypatch.setattr("nornir_torque_vm.lab.spec.DEVICES", {"null/impossible": (1, 3)})
        began = time.monotonic()
        with pytest.raises(LabError, match="mknod"):
            own.up()
        assert time.monotonic() - began < 15.0
