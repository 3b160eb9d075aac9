"""Settings: their defaults, the file, what contradicts, and messages that name file and setting."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

import pytest

from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.config import settings as module
from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import SETTINGS, Settings, load, loads, read_values
from nornir_torque_vm.errors import Blame, SettingsError
from nornir_torque_vm.model import Distro, UserFiles

DEFAULTS: dict[str, object] = {
    "image_pool": "/srv/torque-vm/images",
    "img_default": "",
    "allow_user_images": False,
    "user_image_bridge": "",
    "allow_osv": False,
    "distro_default": Distro.DEBIAN,
    "arch_default": "x86_64",
    "ram_default": 2 * 1024**3,
    "vcpus_default": 1,
    "vms_per_node_default": 1,
    "max_vms_per_node": 8,
    "vcpu_pinning_default": True,
    "disk_default": "",
    "filesystem_type_default": "sharedfs",
    "ramdisk_dir": "",
    "ramdisk_mb": 1024,
    "image_cache": "",
    "image_cache_mb": 20480,
    "hypervisor_default": "kvm",
    "host_os_core_count": 0,
    "host_os_ram_mb": 512,
    "user_files": UserFiles.NONE,
    "work_dirs": (),
    "nfs_sources": (),
    "nfs_options": "vers=4.2",
    "template_dir": "",
    "emulator": "",
    "skvm_emulator": "",
    "machine_type": "",
    "cpu_model": "",
    "cpu_model_emulated": "",
    "network": "",
    "network_filter": "torque-vm-guest",
    "domain": "",
    "search_domain": "",
    "name_server": (),
    "ntp_server_1": "",
    "ntp_server_2": "",
    "sw_packages_debian": (),
    "sw_packages_redhat": (),
    "package_update": False,
    "software_dirs": (),
    "metadata_file": "",
    "metadata_keys": ("locale", "timezone"),
    "site_hook_timeout": 60.0,
    "guest_prologue": "",
    "guest_epilogue": "",
    "guest_script_timeout": 60.0,
    "allow_user_disks": True,
    "shutdown_timeout": 30.0,
    "console_file": True,
    "sister_grace": 600.0,
    "offline_after": 3,
    "offline_within": 3600.0,
    "max_offline_nodes": 3,
    "static_ip_mapping": False,
    "static_network": "",
    "static_first": "",
    "static_nodes": "",
    "static_slots": 64,
    "static_gateway": "",
    "ip_script": "",
    "check_addresses": True,
    "release_leases": True,
    "disable_mikelangelo_hpc_stack": False,
    "disabled_hosts_list": Hosts(""),
    "server_hostname": "",
    "real_qsub_on_server": "/usr/local/bin/qsub",
    "real_qsub_on_nodes": "/usr/local/bin/qsub",
    "site_submit_filter": "",
    "node_property": "vm",
    "pbs_exclusive_node_alloc": False,
    "request_mem": False,
    "snap_monitoring_enabled": False,
    "monitoring_backend": "prometheus",
    "textfile_dir": "/var/lib/prometheus/node-exporter",
    "snap_bin_dir": "/usr/local/bin",
    "snap_tag_format": "snapTask-[username]-[jobid]",
    "snap_task": "",
    "vrdma_enabled": False,
    "vrdma_nodes": Hosts("*"),
    "vrdma_enabled_default": False,
    "vrdma_backend": "sriov",
    "vrdma_network": "vrdma",
    "iocm_enabled": False,
    "iocm_backend": "iothreads",
    "iocm_dim_dir": "",
    "iocm_dim_interface": "ib0",
    "iocm_nodes": Hosts("*"),
    "iocm_min_cores": 0,
    "iocm_max_cores": 7,
    "iocm_enabled_default": False,
    "iocm_min_cores_default": 1,
    "iocm_max_cores_default": 4,
    "unclot_enabled": False,
    "unclot_distros": (Distro.OSV,),
    "unclot_default": False,
    "unclot_shmem_default": 1024**3,
    "components": (),
    "component_failure": (),
    "on_disabled": "ignore",
    "timeout": 240.0,
    "prologalarm": 300.0,
    "teardown_margin": 30.0,
    "max_requeues": 3,
    "requeue_pause": 10.0,
    "torque_home": "/var/spool/torque",
    "parallel": True,
    "bridge": "br0",
    "local_uri": "qemu:///system",
    "node_uri": "qemu+ssh://root@{node}/system",
    "max_connections_per_node": 5,
    "address_sources": (
        AddressSource.AGENT, AddressSource.LEASE, AddressSource.ARP, AddressSource.NEIGHBOUR,
    ),
    "node_shell_user": "root",
    "node_shell_key": "",
    "node_shell_known_hosts": "",
    "volume_dir": "/var/lib/torque-vm/volumes",
    "run_dir": "/run/torque-vm",
    "history_dir": "/var/log/torque-vm",
    "history_days": 30,
    "reap_grace": 600.0,
}  # fmt: skip


def message(text: str) -> str:
    """The error that ``text`` as a settings file gives."""
    with pytest.raises(SettingsError) as caught:
        loads(text, "f.toml")
    assert caught.value.blame is Blame.SITE
    return str(caught.value)


def test_the_defaults() -> None:
    """A site relies on them: they change only on purpose."""
    assert {name: getattr(Settings(), name) for name in DEFAULTS} == DEFAULTS
    assert loads("") == Settings()


def test_every_setting_has_kind_help_and_a_default_it_takes_itself() -> None:
    """The sample file and the documentation show the default in the form one would write."""
    assert [field.name for field in SETTINGS] == list(DEFAULTS)
    for field in SETTINGS:
        assert field.help
        assert not field.help.endswith(".")
        assert field.kind.words
        value = field.kind.parse(field.kind.dump(field.default))
        assert value == field.default == DEFAULTS[field.name]
        assert type(value) is type(field.default)


def test_a_file_changes_what_it_names() -> None:
    """TOML's own types and the written forms; the rest stays at its default."""
    text = """
    # a comment
    image_pool = "/images//pool/"
    ram_default = "512M"
    distro_default = "ubuntu"
    timeout = 90.5
    address_sources = ["neighbour", "agent"]
    """
    assert loads(text) == Settings(
        image_pool="/images/pool",
        ram_default=512 << 20,
        distro_default=Distro.DEBIAN,
        timeout=90.5,
        address_sources=(AddressSource.NEIGHBOUR, AddressSource.AGENT),
    )


def test_a_setting_carries_its_kind_and_help() -> None:
    """The table is made of what the dataclass fields carry."""
    from nornir_torque_vm.config.kinds import Bool

    kind = Bool()
    made = dataclasses.make_dataclass("Made", [("x", bool, setting(kind, True, "help"))])
    (field,) = dataclasses.fields(made)
    about = {"kind": kind, "help": "help", "aliases": ()}
    assert (field.default, dict(field.metadata)) == (True, about)


def test_settings_cannot_be_changed_afterwards() -> None:
    """What was validated stays valid."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().timeout = 1.0  # type: ignore[misc]


BOOLEANS: tuple[list[object], list[object]] = ([True, "off"], [0, 1, "", "maybe"])
HOSTS: tuple[list[object], list[object]] = (["", "*", "node(1|2)"], ["(", "[[:digit:]]", 1])
LIMITS: dict[str, tuple[list[object], list[object]]] = {
    "image_pool": (["/a"], ["a", "/", ""]),
    "allow_user_images": BOOLEANS,
    "allow_osv": BOOLEANS,
    "vcpu_pinning_default": BOOLEANS,
    "disk_default": (["", "/d.img"], ["d.img", "/"]),
    "filesystem_type_default": (["ramdisk", "SharedFS"], ["", "nfs"]),
    "ramdisk_dir": (["", "/ramdisk"], ["ramdisk", "/"]),
    "ramdisk_mb": ([16, 1 << 24], [15, (1 << 24) + 1]),
    "image_cache": (["", "/var/cache/torque-vm"], ["cache", "/"]),
    "image_cache_mb": ([1, 1 << 24], [0, (1 << 24) + 1]),
    "static_ip_mapping": ([False, "no"], BOOLEANS[1]),
    "static_network": (
        ["", "10.89.0.0/24", "10.0.0.0/8", "192.168.1.4/30"],
        ["10.89.0.0", "10.89.0.1/24", "10.89.0.0/31", "10.0.0.0/7", "256.0.0.0/8", "fe80::/64"],
    ),
    "static_first": (["", "10.89.0.1"], ["10.89.0", "10.89.0.256", "01.2.3.4", "a"]),
    "static_nodes": (
        ["", "node1", "node[01-16,20],big1.site", "a,b", "n[0-65535]"],
        ["node[1-2],node1", "a,a", "n[2-1]", "n[]", "n[a]", "n[1", "-a", "a b", "n[0-65536]", 1],
    ),
    "static_slots": ([1, 65_536], [0, 65_537]),
    "static_gateway": (["", "10.89.0.1"], ["gw", "10.89.0.1/24"]),
    "ip_script": (["", "/etc/torque-vm/address"], ["address", "/"]),
    "check_addresses": BOOLEANS,
    "release_leases": BOOLEANS,
    "user_files": (["none", "nfs", "9P", "virtiofs"], ["", "nfs4", True]),
    "work_dirs": (
        [[], ["/w"], ["/w", "/scratch/a-b"], [f"/w{n}" for n in range(16)]],
        [
            ["w"],
            ["/"],
            ["/w/"],
            ["/a//b"],
            ["/a/../b"],
            ["/a/."],
            ["/a b"],
            ["/a", "/a"],
            ["/a\n"],
            [f"/w{n}" for n in range(17)],
            1,
        ],
    ),
    "nfs_sources": (
        [[], ["filer:/home=/home"], ["filer.site:/vol/a=/home/a", "10.0.0.1:/w=/w"]],
        [
            ["filer:/home"],
            ["/home=/home"],
            ["filer:home=/home"],
            ["filer:/=/home"],
            ["a b:/h=/h"],
            ["-o:/h=/h"],
            ["filer:/h=/h=/h"],
            ["filer:/h=/a/../h"],
        ],
    ),
    "nfs_options": (
        ["vers=4.1,hard", "ro", "rsize=65536,sec=sys"],
        ["", "a b", "-o", "a=$(b)", "a,,b", "a="],
    ),
    "template_dir": (["", "/t"], ["t"]),
    "site_hook_timeout": ([1, 86_400], [0, 86_401]),
    "guest_prologue": (["", "/p"], ["p", "/"]),
    "guest_epilogue": (["", "/e"], ["e", "/"]),
    "guest_script_timeout": ([1, 86_400], [0, 86_401]),
    "allow_user_disks": BOOLEANS,
    "shutdown_timeout": ([1, 86_400], [0, 86_401]),
    "console_file": BOOLEANS,
    "sister_grace": ([1, 86_400], [0, 86_401]),
    "offline_after": ([0, 100], [-1, 101]),
    "offline_within": ([60, 604_800], [59, 604_801]),
    "max_offline_nodes": ([1, 10_000], [0, 10_001]),
    "disable_mikelangelo_hpc_stack": BOOLEANS,
    "disabled_hosts_list": HOSTS,
    "real_qsub_on_server": (["/usr/bin/qsub"], ["", "qsub"]),
    "real_qsub_on_nodes": (["/usr/bin/qsub"], ["", "qsub"]),
    "site_submit_filter": (["", "/f"], ["f"]),
    "node_property": (
        ["", "vm", "kvm_node-1.x", "a" * 64],
        ["1a", "a b", "a:b", "a+b", "a#b", "a" * 65, "shared"],
    ),
    "pbs_exclusive_node_alloc": BOOLEANS,
    "request_mem": BOOLEANS,
    "domain": (["", "guests.example"], [".example", "a b"]),
    "name_server": (
        [[], ["10.0.0.1"], "10.0.0.1 fd00::53", ["1.1.1.1", "2.2.2.2", "3.3.3.3"]],
        [["ns"], ["10.0.0.256"], ["::" * 30], ["fd00"], ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]],
    ),
    "ntp_server_1": (["", "ntp.example", "10.0.0.1", "fd00::1"], ["a b", "-a", "ntp;x"]),
    "ntp_server_2": (["", "ntp.example"], ["a b"]),
    "sw_packages_debian": (
        [[], ["g++", "libc6.1"], [f"p{n}" for n in range(64)]],
        [["./a.deb"], ["/a.deb"], ["a b"], ["-y"], [f"p{n}" for n in range(65)]],
    ),
    "sw_packages_redhat": ([[], ["a_b"]], [["a/b"], ["a", "a"]]),
    "package_update": BOOLEANS,
    "software_dirs": (
        [[], ["/opt=/opt-hpc", "/sw/a=/b"]],
        [["/opt"], ["/opt="], ["opt=/o"], ["/opt=/"], ["/opt=/a/../b"]],
    ),
    "metadata_file": (["", "/m.yaml"], ["m.yaml", "/"]),
    "metadata_keys": ([[], ["timezone"], "runcmd packages"], [["users"], ["timezone", "timezone"], 1]),
    "iocm_enabled": BOOLEANS,
    "iocm_backend": (["iothreads", "dim"], ["", "threads"]),
    "iocm_dim_dir": (["", "/opt/dim/src"], ["dim", "/opt/../dim"]),
    "iocm_dim_interface": (["ib0", "eth0,eth1"], ["", "a,b,c", "a b", "-x"]),
    "iocm_nodes": HOSTS,
    "iocm_min_cores": ([0, 7], [-1, 8]),
    "iocm_max_cores": ([0, 1024], [-1, 1025]),
    "iocm_enabled_default": BOOLEANS,
    "iocm_min_cores_default": ([0, 4], [-1, 5]),
    "iocm_max_cores_default": ([1, 1024], [0, 1025]),
    "vrdma_enabled": BOOLEANS,
    "vrdma_nodes": HOSTS,
    "vrdma_enabled_default": BOOLEANS,
    "vrdma_backend": (["sriov", "hyv"], ["", "ovs"]),
    "vrdma_network": (["vf", "vf-1.0"], ["", "a b", "-a", "a'b"]),
    "unclot_enabled": BOOLEANS,
    "unclot_distros": (["osv", "debian redhat"], [[], "", "osv osv", "plan9"]),
    "unclot_default": BOOLEANS,
    "unclot_shmem_default": (["1M", "4G"], ["1K", 1024]),
    "snap_monitoring_enabled": BOOLEANS,
    "monitoring_backend": (["prometheus", "Snap"], ["", "influx", 1]),
    "textfile_dir": (["/a"], ["", "a", "/"]),
    "snap_bin_dir": (["/a"], ["", "a"]),
    "snap_tag_format": (["[jobid]", "a.b-[username]"], ["", "a b", "a,b:c", "'"]),
    "snap_task": (["", "/a.json"], ["a.json"]),
    "components": (["notice", "a_b2 c", []], ["Notice", "a-b", "a a", ["../x"], 1]),
    "component_failure": (["iocm=warn", "iocm=abort,notice=warn", []], ["iocm", "iocm=stop", "=warn"]),
    "on_disabled": (["ignore", "refuse"], ["", "warn"]),
    "parallel": BOOLEANS,
    "max_requeues": ([0, 100], [-1, 101]),
    "requeue_pause": ([0, 0.5, 3600], [-1, 3601]),
    "torque_home": (["/t"], ["", "t"]),
    "img_default": (["", "debian.qcow2"], ["a/b", ".a", 1]),
    "distro_default": (["osv", "centos"], ["", "windows"]),
    "arch_default": (["aarch64"], ["", "x86-64"]),
    "vcpus_default": ([1, 1024], [0, 1025]),
    "ram_default": (["1M", "3G"], ["1023K", 2048, "2048"]),
    "vms_per_node_default": ([1, 8], [0, 9]),
    "hypervisor_default": (["kvm", "qemu"], ["xen", "", "skvm"]),
    "max_vms_per_node": ([1, 1024], [0, 1025]),
    "host_os_core_count": ([0, 4096], [-1, 4097]),
    "emulator": (["", "/usr/bin/qemu-system-{arch}"], ["qemu", "/"]),
    "skvm_emulator": (["", "/opt/skvm/bin/qemu"], ["qemu", "/"]),
    "machine_type": (["", "q35", "pc-q35-7.2"], ["-q35", "a b", "a" * 65]),
    "cpu_model": (["", "host-model", "EPYC-Rome", "qemu64"], ["-a", "a,b", "a" * 65]),
    "cpu_model_emulated": (["", "maximum", "Nehalem-v1"], ["-a", "a,b", "a" * 65]),
    "network_filter": (["", "clean-traffic"], ["-a", "a b", "a/b", "a" * 65]),
    "network": (["", "default", "guests.100"], ["-a", "a b", "a/b", "a" * 65]),
    "host_os_ram_mb": ([1, 16_777_216], [0, 16_777_217]),
    "timeout": ([1, 260], [0.9, 261, 86_401]),
    "prologalarm": ([41, 86_400], [10.9, 86_401]),
    "teardown_margin": ([1, 289], [0.9, 86_401]),
    "bridge": (["b", "br-lan.100", "a" * 15], ["", "a" * 16, "-b", "b/0", "b 0", "br0\0"]),
    "user_image_bridge": (["", "b", "br-lan.100"], ["a" * 16, "-b", "b/0"]),
    "local_uri": (
        ["qemu:///session", "test:///default"],
        ["", "qemu", "qemu:///a b", "qemu://{node}/system"],
    ),
    "node_uri": (
        ["qemu+tls://{node}/system?pkipath=/etc/pki", "test:///default", "test:///srv/nodes.xml"],
        [
            "",
            "qemu:///system",
            "qemu+ssh://{host}/system",
            "qemu+ssh://{node}/{x}",
            "qemu+ssh://{node} /system",
        ],
    ),
    "max_connections_per_node": ([1, 64], [0, 65]),
    "address_sources": ([["arp"], "lease agent"], [[], ["arp", "arp"], ["dns"], ""]),
    "node_shell_user": (["root", "_vm-1"], ["", "Root", "-a", "1a", "a b", "a" * 33]),
    "node_shell_key": (["", "/root/.ssh/id"], ["~/.ssh/id", "/"]),
    "node_shell_known_hosts": (["", "/root/.ssh/known_hosts"], ["known_hosts"]),
    "volume_dir": (["/v"], ["", "/"]),
    "run_dir": (["/r"], ["", "/"]),
    "history_dir": (["/h"], ["", "/"]),
    "history_days": ([1, 36_500], [0, 36_501]),
    "reap_grace": ([0, 86_400], [-1, 86_401]),
    "server_hostname": (["", "head", "head.example"], ["head/1", "-head", "head."]),
    "search_domain": (["", "cluster.example"], [".example", "a b"]),
}


def test_the_limits_of_every_setting_are_listed_here() -> None:
    """A new setting needs values it takes and values it refuses."""
    assert set(LIMITS) == set(DEFAULTS)


@pytest.mark.parametrize(("name", "raw"), [(name, raw) for name, (good, _) in LIMITS.items() for raw in good])
def test_values_within_the_limits(name: str, raw: object) -> None:
    """The borders themselves and the unusual forms."""
    import json

    beside = 'ramdisk_dir = "/ramdisk"' if name == "unclot_enabled" else ""
    assert loads(f"{name} = {json.dumps(raw)}\n{beside}") is not None


@pytest.mark.parametrize(("name", "raw"), [(name, raw) for name, (_, bad) in LIMITS.items() for raw in bad])
def test_values_outside_the_limits(name: str, raw: object) -> None:
    """One step beyond the border, and what only looks right; the setting is named."""
    import json

    assert name in message(f"{name} = {json.dumps(raw)}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("img_default", "the name of a file in the image pool, or empty"),
        ("bridge", "a network interface name of 1 to 15 characters"),
        ("local_uri", "a libvirt URI"),
        ("node_uri", "a libvirt URI with {node} where the node's name belongs"),
        ("node_shell_user", "an account name"),
        ("server_hostname", "a host name, or empty"),
        ("search_domain", "a domain name, or empty"),
    ],
)
def test_words_that_say_what_a_setting_must_be(name: str, words: str) -> None:
    """Where a pattern decides, people get words."""
    assert message(f'{name} = " a b "') == f"f.toml: setting {name} is ' a b ' but must be {words}"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("allow_user_images", "its owner"),
        ("user_image_bridge", "empty: no such jobs"),
        ("allow_osv", "everybody on their network"),
        ("vcpu_pinning_default", "topology"),
        ("disk_default", "/data"),
        ("filesystem_type_default", "the node's memory"),
        ("ramdisk_dir", "tmpfs of limited size"),
        ("ramdisk_mb", "counts like the guest's own"),
        ("image_cache", "guests read from the pool"),
        ("image_cache_mb", "may take on a node"),
        ("static_ip_mapping", "without a DHCP server"),
        ("static_nodes", "append new ones at the end"),
        ("static_slots", "one for each of its slots"),
        ("ip_script", "in place of the computed one"),
        ("check_addresses", "another machine answers"),
        ("release_leases", "given back to the DHCP server"),
        ("user_files", "with the user's rights (9p)"),
        ("work_dirs", "at the path they have on the nodes"),
        ("nfs_sources", "those below them too"),
        ("nfs_options", "nosuid and nodev"),
        ("template_dir", "before the built-in ones"),
        ("emulator", "{arch} stands for"),
        ("skvm_emulator", "cannot ask for skvm"),
        ("machine_type", "empty: q35"),
        ("cpu_model", "host-passthrough"),
        ("cpu_model_emulated", "maximum"),
        ("network", "empty: bridge"),
        ("network_filter", "no foreign MAC"),
        ("site_hook_timeout", "site's own prologue"),
        ("guest_prologue", "before the user's vm_prologue"),
        ("guest_epilogue", "after the user's vm_epilogue"),
        ("guest_script_timeout", "as far as the hook's time"),
        ("allow_user_disks", "of its owner's"),
        ("shutdown_timeout", "with the user's disk"),
        ("console_file", "beside the job's output"),
        ("sister_grace", "other nodes"),
        ("disable_mikelangelo_hpc_stack", "TORQUE's own"),
        ("disabled_hosts_list", "submitted or executed"),
        ("real_qsub_on_server", "on the batch server"),
        ("real_qsub_on_nodes", "on all other hosts"),
        ("site_submit_filter", "runs before ours"),
        ("node_property", "nodes that run guests"),
        ("pbs_exclusive_node_alloc", "jobs of its owner"),
        ("request_mem", "names none"),
        ("domain", "host names"),
        ("name_server", "in place of those DHCP names"),
        ("ntp_server_1", "by NTP"),
        ("ntp_server_2", "another time server"),
        ("sw_packages_debian", "of Debian's family"),
        ("sw_packages_redhat", "of Red Hat's family"),
        ("package_update", "before they install"),
        ("software_dirs", "read-only"),
        ("metadata_file", "for all guests"),
        ("metadata_keys", "users may add"),
        ("components", "other installed packages"),
        ("component_failure", "whose failure ends"),
        ("on_disabled", "switched off"),
        ("parallel", "one after the other"),
        ("max_requeues", "the site's fault"),
        ("requeue_pause", "tried again"),
        ("torque_home", "mom_priv"),
        ("image_pool", "images users may boot"),
        ("img_default", "such jobs are refused"),
        ("distro_default", "file name does not tell"),
        ("arch_default", "architecture"),
        ("vcpus_default", "virtual processors"),
        ("ram_default", "memory of each guest"),
        ("vms_per_node_default", "at most max_vms_per_node"),
        ("hypervisor_default", "emulation"),
        ("max_vms_per_node", "all jobs together"),
        ("host_os_core_count", "kept for its own system"),
        ("host_os_ram_mb", "in MiB"),
        ("timeout", "become ready"),
        ("prologalarm", "$prologalarm"),
        ("teardown_margin", "failed start"),
        ("bridge", "bridge"),
        ("local_uri", "node we are on"),
        ("node_uri", "{node} stands for its name"),
        ("max_connections_per_node", "at the same time"),
        ("address_sources", "guest's address"),
        ("node_shell_user", "account"),
        ("node_shell_key", "private key"),
        ("node_shell_known_hosts", "known_hosts"),
        ("volume_dir", "disks"),
        ("run_dir", "running jobs"),
        ("history_dir", "past jobs"),
        ("history_days", "days"),
        ("reap_grace", "seen to be over"),
        ("server_hostname", "batch server"),
        ("search_domain", "short names"),
    ],
)
def test_the_help_says_what_the_setting_is(name: str, part: str) -> None:
    """The essential words of each."""
    assert part in SETTINGS[name].help


def test_an_unknown_setting_names_the_nearest() -> None:
    """With the file it stands in; sections are names too."""
    assert message("image_pol = 1") == "f.toml: unknown setting 'image_pol'; did you mean image_pool?"
    assert message("[timeouts]\nx = 1").endswith("unknown setting 'timeouts'; did you mean timeout?")


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("IMAGE_POOL", "image_pool", "/a"),
        ("VM_IMG_DIR", "image_pool", "/a"),
        ("global_img_dir", "image_pool", "/a"),
        ("PBS_QSUB_ON_FE", "real_qsub_on_server", "/a"),
        ("PBS_QSUB_ON_NODES", "real_qsub_on_nodes", "/a"),
        ("DISABLE_MIKELANGELO_HPC_STACK", "disable_mikelangelo_hpc_stack", True),
        ("DISABLE_MIKELANGELO_HPCSTACK", "disable_mikelangelo_hpc_stack", True),
        ("IP_TO_MAC_SCRIPT", "ip_script", "/a"),
    ],
)
def test_the_earlier_systems_names_are_read(written: str, name: str, value: object) -> None:
    """In any case of letters, and under the names it had later."""
    import json

    text = f"{written} = {json.dumps(value)}"
    assert getattr(loads(text), name) == value
    assert read_values(text) == {name: value}


def test_every_name_of_the_earlier_documents_is_a_setting() -> None:
    """Both tables of the document this project began with."""
    names = """DISABLE_MIKELANGELO_HPC_STACK DISABLED_HOSTS_LIST PARALLEL ALLOW_USER_IMAGES IMAGE_POOL
        HOST_OS_CORE_COUNT HOST_OS_RAM_MB MAX_VMS_PER_NODE STATIC_IP_MAPPING TIMEOUT SERVER_HOSTNAME
        REAL_QSUB_ON_SERVER REAL_QSUB_ON_NODES IOCM_ENABLED IOCM_MIN_CORES IOCM_MAX_CORES VRDMA_ENABLED
        VRDMA_NODES SNAP_MONITORING_ENABLED FILESYSTEM_TYPE_DEFAULT IMG_DEFAULT DISTRO_DEFAULT
        ARCH_DEFAULT VCPU_PINNING_DEFAULT VCPUS_DEFAULT RAM_DEFAULT VMS_PER_NODE_DEFAULT DISK_DEFAULT
        HYPERVISOR_DEFAULT VRDMA_ENABLED_DEFAULT IOCM_ENABLED_DEFAULT IOCM_MIN_CORES_DEFAULT
        IOCM_MAX_CORES_DEFAULT"""
    for name in names.split():
        assert SETTINGS.find(name).name == name.lower()


def test_a_setting_that_is_set_twice_is_refused() -> None:
    """Nobody could tell which one counts."""
    assert message('image_pool = "/a"\nVM_IMG_DIR = "/b"') == (
        "f.toml: setting image_pool is set twice, the second time as 'VM_IMG_DIR'"
    )


def test_a_timeout_that_the_mom_would_not_grant_is_refused() -> None:
    """The hook would be killed, and a killed prologue counts as success. An unstated one gives way."""
    assert loads("timeout = 260").prologue_seconds() == 260
    assert message("timeout = 261") == (
        "f.toml: timeout (261 s) does not fit into prologalarm (300 s): hooks are killed 10 s before it, "
        "and teardown_margin takes 30 s; lower timeout to 260, or raise $prologalarm on all nodes and here"
    )
    assert loads("prologalarm = 100").prologue_seconds() == 60


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("vms_per_node_default", "max_vms_per_node"),
        ("iocm_min_cores", "iocm_max_cores"),
        ("iocm_min_cores_default", "iocm_max_cores_default"),
    ],
)
def test_a_least_above_its_most_is_refused(small: str, large: str) -> None:
    """Equal is fine."""
    assert loads(f"{small} = 3\n{large} = 3") is not None
    assert message(f"{small} = 4\n{large} = 3") == f"f.toml: {small} (4) is more than {large} (3)"


def test_a_bad_value_names_file_setting_and_remedy() -> None:
    """One line."""
    assert message("ram_default = 2048") == (
        "f.toml: setting ram_default is 2048 but must have a unit, K, M, G or T: 512M or 2G, for example"
    )


def test_text_without_a_file_has_a_name_too() -> None:
    """Messages never begin with a bare colon."""
    with pytest.raises(SettingsError, match=r"^the settings: unknown setting 'x'; "):
        loads("x = 1")


@pytest.mark.parametrize("text", ["a\n\n", "a = \n\n", "timeout = 1\ntimeout = 2\n\n", "a = '\x00'"])
def test_what_is_no_toml_says_where(text: str) -> None:
    """The parser's line and column are kept."""
    assert message(text).startswith("f.toml: not valid TOML: ")
    assert "(at line " in message(text)


def test_a_number_too_long_for_python_is_no_toml_either() -> None:
    """Python refuses decimal numbers of more than 4300 digits in its own words."""
    assert message(f"timeout = {'9' * 5000}").startswith("f.toml: not valid TOML: ")


def test_a_huge_number_is_refused_without_printing_it() -> None:
    """Hexadecimal has no such limit when read, only when printed."""
    assert message(f"timeout = 0x{'f' * 5000}") == (
        "f.toml: setting timeout is a very long int but must be a number of seconds from 1 to 86400"
    )


def test_the_prologue_ends_before_the_mom_kills_it() -> None:
    """The least of timeout and what the MOM leaves after its 10 seconds and our teardown."""
    assert Settings().prologue_seconds() == 240.0
    assert Settings(timeout=260.0).prologue_seconds() == 260.0
    assert Settings(timeout=261.0).prologue_seconds() == 260.0
    assert Settings(timeout=900.0, prologalarm=600.0, teardown_margin=60.0).prologue_seconds() == 530.0


def test_an_alarm_that_leaves_no_time_is_refused() -> None:
    """Above zero is enough; the message names all three numbers and both remedies."""
    assert Settings(prologalarm=40.5).prologue_seconds() == 0.5
    assert message("prologalarm = 40") == (
        "f.toml: prologalarm (40 s) leaves no time for the guests: hooks are killed 10 s before it, "
        "and teardown_margin takes 30 s; raise $prologalarm on all nodes and prologalarm here, "
        "or lower teardown_margin"
    )


def test_a_default_above_the_maximum_is_refused() -> None:
    """Otherwise every job without the key would fail; equal is fine."""
    assert Settings(vms_per_node_default=8).vms_per_node_default == 8
    assert message("vms_per_node_default = 9") == (
        "f.toml: vms_per_node_default (9) is more than max_vms_per_node (8)"
    )


def test_a_default_that_no_job_could_have_is_refused() -> None:
    """Here skvm without its emulator."""
    assert message('hypervisor_default = "skvm"') == (
        "f.toml: hypervisor_default is skvm and there is no skvm_emulator; name it"
    )
    assert loads('hypervisor_default = "skvm"\nskvm_emulator = "/opt/skvm"') is not None


def test_load_reads_the_named_file(tmp_path: pathlib.Path) -> None:
    """And messages name it."""
    path = tmp_path / "s.toml"
    path.write_text("history_days = 7\n", encoding="utf-8")
    assert load(str(path)) == Settings(history_days=7)
    path.write_text("history_day = 7\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}: unknown setting 'history_day'; did you mean history_days?"


def test_a_named_file_must_be_there(tmp_path: pathlib.Path) -> None:
    """A wrong path is not silently the defaults."""
    with pytest.raises(SettingsError) as caught:
        load(str(tmp_path / "none"))
    assert str(caught.value) == f"there is no settings file {tmp_path}/none"


def test_without_a_name_the_sites_file_is_read_if_it_is_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without one has the defaults; a broken one is an error."""
    assert module.DEFAULT_PATH == "/etc/torque-vm/settings.toml"
    path = tmp_path / "settings.toml"
    monkeypatch.setattr(module, "DEFAULT_PATH", str(path))
    assert load() == Settings()
    path.write_text("history_days = 8\n", encoding="utf-8")
    assert load() == Settings(history_days=8)
    path.write_text("history_days = 0\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="history_days"):
        load()


def test_a_file_that_cannot_be_read_says_why(tmp_path: pathlib.Path) -> None:
    """A directory, and bytes that are no UTF-8."""
    with pytest.raises(SettingsError) as caught:
        load(str(tmp_path))
    assert str(caught.value) == f"the settings file {tmp_path} cannot be read: Is a directory"
    path = tmp_path / "latin1"
    path.write_bytes(b"bridge = '\xe4'")
    with pytest.raises(SettingsError) as caught:
        load(str(path))
    assert str(caught.value) == f"the settings file {path} cannot be read: it is not UTF-8 text"


def test_the_pure_modules_stay_lean() -> None:
    """The qsub wrapper and the hooks start with these; each costs milliseconds they must not pay."""
    import subprocess

    code = (
        "import sys\n"
        "from nornir_torque_vm import identity, keys, nodefile, request, sizes\n"
        "from nornir_torque_vm.config import fields, settings\n"
        "request.parse_request(['vcpus=2'])\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {[os.fspath(ROOT)]!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "nornir_torque_vm.config.settings" in loaded
    heavy = {
        "asyncio", "difflib", "hashlib", "importlib.metadata", "json", "logging", "pathlib", "subprocess",
        "tempfile", "tomllib", "typing", "urllib.parse", "jinja2", "libvirt", "nornir",
    }  # fmt: skip
    assert not loaded & heavy


ROOT = pathlib.Path(__file__).parents[2]
