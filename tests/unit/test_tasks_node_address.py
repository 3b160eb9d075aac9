"""What a guest pings at boot so that its node's table knows it."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest
from nornir.core.inventory import ConnectionOptions, Host
from render_kit import IMAGE, plan_of

from nornir_torque_vm.addresses import bridge
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.tasks import node_address
from nornir_torque_vm.tasks.node_address import interface_address, resolve


def host(uri: str, **data: Any) -> Host:
    """A node of a plain hosts file."""
    options = {"libvirt": ConnectionOptions(extras={"uri": uri})}
    return Host("node2", connection_options=options, data={"settings": Settings(), **data})


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows two names; the real one is never asked."""
    known = {"node2": "10.89.0.12", "loop": "127.0.1.1"}

    def getaddrinfo(name: str, *_: object) -> Any:
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolve.cache_clear()


def test_what_the_inventory_states_is_believed() -> None:
    """The nodefile's reader may have resolved it."""
    nodes = [Node("node1"), Node("node2", address="10.0.0.2")]
    hosts = node_inventory(nodes, Settings(), here="node1").hosts
    assert node_address.node_address(hosts["node2"], plan_of()) == "10.0.0.2"


def test_another_node_is_greeted_where_its_libvirt_is_reached() -> None:
    """The name in the URI is resolved for the connection anyway."""
    assert node_address.node_address(host("qemu+ssh://root@node2/system"), plan_of()) == "10.89.0.12"
    tls = host("qemu+tls://node2:16514/system?pkipath=/etc/pki")
    assert node_address.node_address(tls, plan_of()) == "10.89.0.12"


def test_this_node_is_greeted_at_its_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own name may stand for 127.0.1.1, which every guest is itself."""
    monkeypatch.setattr(node_address, "interface_address", {"br0": "10.89.0.11"}.get)
    assert node_address.node_address(host("qemu:///system"), plan_of()) == "10.89.0.11"


def test_that_is_the_bridge_that_its_guests_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their libvirt network, or of guests whose user is root."""
    monkeypatch.setattr(bridge, "_asked", lambda _uri, name: {"cluster": "virbr7"}[name])
    known = {"virbr7": "192.168.7.1", "br-user": "10.90.0.11"}
    monkeypatch.setattr(node_address, "interface_address", known.get)
    site = {"settings": Settings(network="cluster", user_image_bridge="br-user")}
    own = plan_of(image=dataclasses.replace(IMAGE, own=True))
    here = host("qemu:///system", **site)
    assert node_address.node_address(here, plan_of()) == "192.168.7.1"
    assert node_address.node_address(here, own) == "10.90.0.11"


@pytest.mark.parametrize("uri", ["test:///default", "qemu+ssh://nowhere/system", "qemu+ssh://loop/system"])
def test_there_may_be_nothing_to_greet(uri: str) -> None:
    """A test driver, an unknown name, a loopback address: the seed then has no greeting."""
    assert node_address.node_address(host(uri), plan_of()) == ""


def test_an_interfaces_address_is_read_from_the_kernel() -> None:
    """The loopback interface is the one that every machine has."""
    assert interface_address("lo") == "127.0.0.1"
    assert interface_address("no-such-if") == ""
    assert interface_address("a-name-that-is-longer-than-any-interface") == ""
