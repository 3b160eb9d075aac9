"""Names, addresses and paths of a lab."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import layout
from nornir_torque_vm.lab.layout import LabPaths, lab_nodes

CACHE = Path("/cache")


@given(st.integers(1, layout.MAX_NODES))
def test_nodes_have_names_and_addresses_of_their_own_outside_the_dhcp_range(count: int) -> None:
    """The contract with tests and docs: node1 is 10.89.0.11, and no guest can get a node's address."""
    nodes = lab_nodes(count)
    assert nodes[0].name == "node1"
    assert nodes[0].address == "10.89.0.11"
    assert len({node.name for node in nodes}) == len({node.address for node in nodes}) == count
    first = ipaddress.IPv4Address(layout.DHCP_RANGE[0])
    assert all(ipaddress.IPv4Address(node.address) < first for node in nodes)
    assert len({node.mac for node in (*nodes, layout.SWITCH_NODE)}) == count + 1


@pytest.mark.parametrize("count", [-1, 0, layout.MAX_NODES + 1])
def test_a_number_of_nodes_without_room_is_refused(count: int) -> None:
    """The subnet has a place for each node or there is no lab."""
    with pytest.raises(LabError, match="1 to 64 nodes"):
        lab_nodes(count)


def test_a_bridge_has_a_unicast_address_that_is_local_to_the_lab() -> None:
    """The second-lowest bit of the first byte says local, the lowest says group."""
    first = int(lab_nodes(1)[0].mac[:2], 16)
    assert first & 0b11 == 0b10


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "-x", "x" * 40, "a b", "a\n", "a.lock"])
def test_a_lab_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    """The name becomes a directory that is deleted later."""
    with pytest.raises(LabError, match="no name for a lab"):
        LabPaths(CACHE, name)


@given(st.from_regex(layout.LAB_NAME, fullmatch=True))
def test_everything_of_a_lab_lies_in_its_directory(name: str) -> None:
    """Only the lock lies beside it, because it outlives the directory."""
    paths = LabPaths(CACHE, name)
    inside = [paths.record, paths.keys, paths.spec("node1"), paths.files("node1"), paths.log("node1", "sshd")]
    assert all(path.is_relative_to(paths.state) for path in inside)
    assert paths.state.parent == paths.lock.parent == CACHE / "lab"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TORQUE_VM_CACHE itself, else a directory in XDG_CACHE_HOME, else in ~/.cache; links resolved."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("TORQUE_VM_CACHE", str(tmp_path / "link"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert layout.cache_dir() == tmp_path / "real"
    monkeypatch.delenv("TORQUE_VM_CACHE")
    assert layout.cache_dir() == Path("/xdg/torque-vm")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert layout.cache_dir() == Path("/h/.cache/torque-vm")


def test_being_on_the_bridge_comes_last() -> None:
    """Whoever finds a cable's end on its bridge may rely on all earlier steps."""
    node = lab_nodes(1)[0]
    assert layout.cable_commands(node, 77).splitlines() == [
        "link add eth0 type veth peer name node1 netns 77",
        "link set eth0 up",
        "link set eth0 master br0",
    ]
    assert layout.port_commands(node).splitlines()[-1] == "link set node1 master br0"


def test_the_bridge_carries_the_nodes_address() -> None:
    """Guests and nodes are on one flat network, so the bridge itself has the address."""
    assert "address add 10.89.0.11/24 brd + dev br0\n" in layout.bridge_commands(lab_nodes(1)[0])
