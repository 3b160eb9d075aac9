"""What a guest is: every key and setting of its machine, not at its default, on a real node."""

from __future__ import annotations

import itertools
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import leftovers

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

FOLDER = "/var/tmp/test-machines"
"""On the node."""
NETWORK = """<network><name>cluster</name><forward mode="bridge"/><bridge name="br0"/></network>"""
FUNCTIONS = """<network><name>functions</name><forward mode="hostdev" managed="yes"/></network>"""
"""A network of virtual functions of which there are none."""
SCREEN = """{% extends "builtin/domain.xml.j2" %}
{% block more_devices %}<graphics type="vnc" autoport="yes" listen="0.0.0.0"/>{% endblock %}
"""

FILTER = "devices/interface/filterref@filter"

Case = tuple[str, dict[str, object], str, str, str]
"""Name, settings, request, where to look in the live XML, and what is there."""
EFFECTS: tuple[Case, ...] = (
    ("vcpus", {}, "vcpus=2", "vcpu", "2"),
    ("vcpus_default", {"vcpus_default": 2}, "", "vcpu", "2"),
    ("cores", {}, "vcpus=2", "cpu/topology@cores", "2"),
    ("sockets", {}, "vcpus=2", "cpu/topology@sockets", "1"),
    ("ram", {}, "ram=144M", "memory", str(144 << 10)),
    ("ram_default", {"ram_default": "160M"}, "", "memory", str(160 << 10)),
    ("arch", {}, "arch=i686", "os/type@arch", "i686"),
    ("arch_default", {"arch_default": "i686"}, "", "os/type@arch", "i686"),
    ("hypervisor", {"hypervisor_default": "kvm"}, "hypervisor=qemu", "@type", "qemu"),
    ("hypervisor_default", {"hypervisor_default": "qemu"}, "", "@type", "qemu"),
    ("emulator", {"emulator": f"{FOLDER}/qemu-{{arch}}"}, "", "devices/emulator", f"{FOLDER}/qemu-x86_64"),
    ("machine_type", {"machine_type": "pc-q35-6.2"}, "", "os/type@machine", "pc-q35-6.2"),
    ("cpu_model_emulated", {"cpu_model_emulated": "Nehalem"}, "", "cpu/model", "Nehalem"),
    ("cpu mode", {"cpu_model_emulated": "maximum"}, "", "cpu@mode", "maximum"),
    ("bridge", {"bridge": "br9"}, "", "devices/interface/source@bridge", "br9"),
    ("filter", {"network_filter": "torque-vm-guest"}, "", FILTER, "torque-vm-guest"),
    ("no filter", {"network_filter": ""}, "", "devices/interface/source@bridge", "br0"),
    ("network", {"network": "cluster"}, "", "devices/interface/source@network", "cluster"),
)
REFUSED: tuple[tuple[str, dict[str, object], str, str], ...] = (
    ("no emulator", {"emulator": "/opt/none/qemu-{arch}"}, "", "/opt/none/qemu-x86_64"),
    ("no machine", {"machine_type": "pc-q35-99"}, "", "pc-q35-99"),
    ("no model", {"cpu_model_emulated": "Pentium-99"}, "", "there is no processor model Pentium-99"),
    ("no mode", {"cpu_model_emulated": "host-passthrough"}, "", "host-passthrough is not supported"),
    ("no network", {"network": "elsewhere"}, "", "elsewhere"),
    ("no such filter", {"network_filter": "strict"}, "", "there is no network filter strict"),
    ("no arch", {}, "arch=sparc", "node node1: arch=sparc cannot be run here; the node offers "),
    (
        "no function",
        {"vrdma_enabled": True, "vrdma_network": "functions"},
        "vrdma=true",
        "guests cannot have vrdma here: no free virtual function: the network functions has none at all",
    ),
    ("no skvm", {}, "hypervisor=skvm", "the site names no emulator for it; ask for hypervisor=kvm"),
)
CASES = {
    **{name: (settings, request) for name, settings, request, *_ in EFFECTS},
    **{name: (settings, request) for name, settings, request, _ in REFUSED},
    "vms_per_node": ({}, "vms_per_node=3,ram=64M"),
    "vms_per_node_default": ({"vms_per_node_default": 2}, "ram=64M"),
    "screen": ({"template_dir": f"{FOLDER}/templates"}, ""),
}


@pytest.fixture(scope="module")
def seen(lab: Lab) -> Iterator[dict[str, Any]]:
    """What machine_probe saw."""
    lab.run("node1", ["mkdir", "-p", f"{FOLDER}/templates"])
    lab.run("node1", ["ln", "-s", "/usr/bin/qemu-system-x86_64", f"{FOLDER}/qemu-x86_64"])
    lab.run("node1", ["tee", f"{FOLDER}/templates/domain.xml.j2"], input=SCREEN)
    lab.run("node1", ["ip", "link", "add", "br9", "type", "bridge"])
    lab.run("node1", ["virsh", "-q", "net-create", "/dev/stdin"], input=NETWORK)
    lab.run("node1", ["virsh", "-q", "net-create", "/dev/stdin"], input=FUNCTIONS)
    try:
        done = lab.run(
            "node1",
            [sys.executable, str(Path(__file__).parent / "machine_probe.py")],
            input=json.dumps(CASES),
            seconds=240,
        )
        assert done.stderr == ""
        yield json.loads(done.stdout)
    finally:
        lab.run("node1", ["virsh", "-q", "net-destroy", "cluster"])
        lab.run("node1", ["ip", "link", "del", "br9"])
        lab.run("node1", ["rm", "-r", FOLDER])


@pytest.mark.proves(
    "vcpus", "vcpus_default", "ram", "ram_default", "arch", "arch_default", "hypervisor",
    "hypervisor_default", "emulator", "machine_type", "cpu_model_emulated", "bridge", "network",
)  # fmt: skip
@pytest.mark.parametrize(("name", "where", "what"), [(case[0], case[3], case[4]) for case in EFFECTS])
def test_it_is_so_in_the_live_domain(seen: dict[str, Any], name: str, where: str, what: str) -> None:
    """As libvirt describes the guest that runs."""
    assert "refused" not in seen[name], seen[name]
    path, _, attribute = where.partition("@")
    root = ET.fromstring(seen[name]["xml"])  # noqa: S314 - libvirt's own
    element = root.find(path) if path else root
    assert element is not None
    assert (element.get(attribute) if attribute else element.text) == what


@pytest.mark.parametrize(("name", "said"), [(case[0], case[3]) for case in REFUSED])
def test_what_a_node_has_not_got_is_said_before_anything_starts(
    seen: dict[str, Any], name: str, said: str
) -> None:
    """In one line that names the node where it is the node's, and the cure."""
    refused = seen[name]["refused"]
    assert said in refused
    assert "; " in refused
    assert "\n" not in refused
    assert refused.startswith("node node1: ") == (name != "no skvm")


@pytest.mark.proves("vms_per_node", "vms_per_node_default")
@pytest.mark.parametrize(("name", "number"), [("vms_per_node", 3), ("vms_per_node_default", 2)])
def test_as_many_guests_run_on_a_node(seen: dict[str, Any], name: str, number: int) -> None:
    """All of them started."""
    assert seen[name]["guests"] == number


def test_the_emulator_is_the_one_that_runs(seen: dict[str, Any]) -> None:
    """In the process table, too."""
    assert seen["emulator"]["argv"][0] == f"{FOLDER}/qemu-x86_64"


def test_a_guests_emulator_listens_on_nothing(seen: dict[str, Any]) -> None:
    """No screen, no console over the network: no socket of the internet's families at all."""
    for words in (seen["vcpus"]["argv"], seen["network"]["argv"]):
        text = " ".join(words)
        assert not [word for word in ("-vnc", "-spice", "telnet:", "tcp:", "-gdb") if word in text]
        assert ("-display", "none") in itertools.pairwise(words) or "-nographic" in words
    assert seen["vcpus"]["sockets"] == []


def test_that_would_be_seen(seen: dict[str, Any]) -> None:
    """Of a guest to which the site's own template gives a screen."""
    assert "-vnc" in seen["screen"]["argv"]
    assert len(seen["screen"]["sockets"]) == 1


def test_nothing_is_left(seen: dict[str, Any], lab: Lab) -> None:
    """No guest, no file."""
    assert seen
    assert leftovers(lab) == {}
