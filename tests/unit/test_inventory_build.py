"""The Nornir inventory of a job: who is in it, how each is reached, what each carries."""

from __future__ import annotations

import dataclasses
import pathlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nornir.core import Nornir
from nornir.core.inventory import ConnectionOptions, Host, Hosts, Inventory

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.inventory import hostdata
from nornir_torque_vm.inventory.build import build_inventory, group_name, is_local, node_inventory
from nornir_torque_vm.model import Guest, Image, Job, JobKeys, KeyPair, Node, NodeFacts, Owner, Plan, Shape

OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice")
JOB = Job("17.head", "head", OWNER)
SETTINGS = Settings()


def plan(nodes: int = 2, per_node: int = 2) -> Plan:
    """A plan as ``make_plan`` lays it out: ranks in nodefile order."""
    names = [f"node{number}" for number in range(1, nodes + 1)]
    places = [(name, index) for name in names for index in range(per_node)]
    guests = tuple(
        Guest(f"j17-r{rank}", rank, node, index, f"02:00:00:00:{rank >> 8:02x}:{rank & 255:02x}",
              f"00000000-0000-8000-8000-{rank:012x}", f"tvm-17-a1-r{rank}-0000aaaa", Shape(1, 192 << 20))
        for rank, (node, index) in enumerate(places)
    )  # fmt: skip
    return Plan(
        JOB, tuple(Node(name, slots=2) for name in names), guests, Image("micro.qcow2", "/pool/micro.qcow2")
    )


def keys(wanted: Plan) -> JobKeys:
    hosts = {
        guest.name: KeyPair(f"host key of {guest.name}", f"ssh-ed25519 {guest.name}")
        for guest in wanted.guests
    }
    return JobKeys(KeyPair("admin's", "ssh-ed25519 admin"), KeyPair("user's", "ssh-ed25519 user"), hosts)


def test_nodes_come_first_and_guests_follow_by_rank() -> None:
    """The order of the inventory is the order people read results in."""
    found = build_inventory(plan(), SETTINGS, here="node1")
    assert list(found.hosts) == ["node1", "node2", "j17-r0", "j17-r1", "j17-r2", "j17-r3"]


def test_roles_and_nodes_select_hosts_with_nornirs_own_filters() -> None:
    """``nr.filter(role='guest', node='node2')`` is how an administrator picks guests."""
    nornir = Nornir(inventory=build_inventory(plan(), SETTINGS, here="node1"))
    assert list(nornir.filter(role="guest", node="node2").inventory.hosts) == ["j17-r2", "j17-r3"]
    assert list(nornir.filter(role="node").inventory.hosts) == ["node1", "node2"]
    assert list(nornir.filter(rank=3).inventory.hosts) == ["j17-r3"]
    assert {host.name for host in nornir.inventory.children_of_group("node1")} == {
        "node1",
        "j17-r0",
        "j17-r1",
    }


@pytest.mark.proves("max_connections_per_node", "local_uri", "node_uri")
def test_node_and_guests_share_one_statement_of_how_libvirt_is_reached() -> None:
    """The node's own machine uses the local URI, another node the one made from its name."""
    near, far = "qemu+unix:///system", "qemu+tls://node2/system"
    settings = dataclasses.replace(
        SETTINGS, max_connections_per_node=3, local_uri=near, node_uri="qemu+tls://{node}/system"
    )
    hosts = build_inventory(plan(), settings, here="node1.cluster").hosts
    uris = {"node1": near, "j17-r1": near, "node2": far, "j17-r2": far}
    for name, uri in uris.items():
        options = hosts[name].get_connection_parameters("libvirt")
        assert (options.extras or {})["uri"] == hosts[name]["uri"] == uri
        assert (options.extras or {})["max_connections"] == 3
    assert hosts["j17-r0"]["local"] is True
    assert hosts["j17-r2"]["local"] is False


def test_a_guest_is_not_reached_at_its_nodes_address() -> None:
    """Groups carry no host name, so an undiscovered guest has none; a discovered one has its own."""
    found = build_inventory(plan(), SETTINGS, addresses={"j17-r1": "10.89.0.9"}, here="node1").hosts
    assert found["j17-r0"].hostname is None
    assert found["j17-r1"].get_connection_parameters("guest_ssh").hostname == "10.89.0.9"
    assert found["j17-r1"].get_connection_parameters("libvirt").hostname == "node1"
    assert found["node1"].hostname == "node1"


def test_each_guest_is_pinned_to_its_own_host_key() -> None:
    """Root's key is the job's; the expected host key differs from guest to guest."""
    wanted = plan()
    hosts = build_inventory(wanted, SETTINGS, keys=keys(wanted), here="x").hosts
    for guest in wanted.guests:
        options = hosts[guest.name].get_connection_parameters("guest_ssh")
        assert options.username == "root"
        assert guest.name in (options.extras or {})["host_key"]


def test_private_keys_are_not_printed_with_the_inventory() -> None:
    """``print(host.data)`` and tracebacks must not show a key."""
    wanted = plan()
    secret = JobKeys(
        KeyPair("SECRET", "a"),
        KeyPair("SECRET", "u"),
        {g.name: KeyPair("SECRET", "h") for g in wanted.guests},
    )
    found = build_inventory(wanted, SETTINGS, keys=secret, here="x")
    assert "SECRET" not in repr(found.defaults.data)


def test_tasks_read_what_the_inventory_says() -> None:
    """Every accessor finds its value through groups and defaults."""
    wanted = plan()
    facts = {"node2": NodeFacts("node2", 4, 1 << 30, 1 << 29, {"x86_64": ("qemu",)})}
    found = build_inventory(wanted, SETTINGS, keys=keys(wanted), facts=facts, here="x").hosts
    guest = found["j17-r3"]
    assert hostdata.is_guest(guest)
    assert not hostdata.is_guest(found["node2"])
    assert hostdata.guest_of(guest) is wanted.guests[3]
    assert hostdata.plan_of(guest) is wanted
    assert hostdata.settings_of(guest) is SETTINGS
    assert hostdata.keys_of(guest).admin.public == "ssh-ed25519 admin"
    assert hostdata.node_of(guest) == hostdata.node_of(found["node2"]) == "node2"
    assert guest["facts"] == facts["node2"]
    assert (guest["mac"], guest["domain"], guest["image"]) == (
        wanted.guests[3].mac,
        wanted.guests[3].domain,
        "micro.qcow2",
    )


def test_guests_of_a_node_share_its_neighbour_table() -> None:
    """One reading serves all guests of a node and none of another."""
    found = build_inventory(plan(), SETTINGS, here="x").hosts
    tables = [hostdata.neighbours_of(found[name]) for name in ("j17-r0", "j17-r1", "j17-r2")]
    assert tables[0] is tables[1]
    assert tables[0] is not tables[2]


@pytest.mark.parametrize(
    ("read", "word"),
    [(hostdata.guest_of, "guest"), (hostdata.plan_of, "plan"), (hostdata.keys_of, "job keys")],
)
def test_what_an_inventory_lacks_is_said_in_one_line(read: object, word: str) -> None:
    """A task on the wrong kind of host names what is missing and how to get it."""
    with pytest.raises(InventoryError, match=rf"host n1 has no {word}; \w+"):
        read(Host("n1"))  # type: ignore[operator]


def test_a_host_of_a_plain_hosts_file_is_a_node() -> None:
    """SimpleInventory without any of our data still works for survey, list and destroy."""
    host = Host("n1", data={"settings": None})
    assert (hostdata.node_of(host), hostdata.is_guest(host)) == ("n1", False)
    assert hostdata.settings_of(host) == Settings()
    assert hostdata.neighbours_of(host) is hostdata.neighbours_of(host)


def test_settings_may_be_named_by_path(tmp_path: pathlib.Path) -> None:
    """``defaults.yaml`` can say where the settings are."""
    path = tmp_path / "settings.toml"
    path.write_text('bridge = "br7"\n')
    assert hostdata.settings_of(Host("n1", data={"settings": str(path)})).bridge == "br7"


def test_no_data_key_shadows_an_attribute_of_nornirs_hosts() -> None:
    """``host.get("keys")`` would return a bound method."""
    wanted = plan()
    host = build_inventory(wanted, SETTINGS, keys=keys(wanted), here="x").hosts["j17-r0"]
    assert not [key for key in host.extended_data() if hasattr(Host, key)]


def test_two_hosts_of_one_name_are_refused() -> None:
    """A node called like a guest would silently replace it."""
    wanted = plan(1, 1)
    clash = Plan(wanted.job, (Node("j17-r0"), *wanted.nodes), wanted.guests, wanted.image)
    with pytest.raises(InventoryError, match="two hosts are called j17-r0"):
        build_inventory(clash, SETTINGS, here="x")


@pytest.mark.parametrize("name", ["node", "guest"])
def test_a_node_may_be_called_like_a_role(name: str) -> None:
    """Its own group then has another name, which no host can have."""
    found = node_inventory([Node(name), Node("n2")], SETTINGS, here="x")
    assert group_name(name) == f"{name}."
    uri = (found.hosts[name].get_connection_parameters("libvirt").extras or {})["uri"]
    assert uri == f"qemu+ssh://root@{name}/system"
    assert (found.hosts["n2"].get_connection_parameters("libvirt").extras or {})["uri"] != uri


def test_an_administrators_own_connection_options_go_before_the_settings() -> None:
    """A hosts.yaml that states a node's URI is believed; what it does not state is ours."""
    own = {"libvirt": ConnectionOptions(extras={"uri": "qemu+tls://node2/system"})}
    base = Inventory(Hosts({"node2": Host("node2", "10.0.0.2", connection_options=own)}))
    hosts = node_inventory([Node("node1"), Node("node2")], SETTINGS, base=base, here="x").hosts
    options = hosts["node2"].get_connection_parameters("libvirt")
    assert options.hostname == "10.0.0.2"
    assert (options.extras or {})["uri"] == "qemu+tls://node2/system"
    assert (options.extras or {})["max_connections"] == SETTINGS.max_connections_per_node
    assert (hosts["node1"].get_connection_parameters("libvirt").extras or {})[
        "uri"
    ] == "qemu+ssh://root@node1/system"


@pytest.mark.parametrize(
    ("node", "here", "local"),
    [
        ("node1", "node1", True),
        ("node1", "node1.cluster", True),
        ("node1.cluster", "node1", True),
        ("NODE1.cluster", "node1.Cluster.", True),
        ("localhost", "node1", True),
        ("node1.a", "node1.b", False),
        ("node1", "node10", False),
        ("node2", "node1", False),
    ],
)
def test_this_machine_is_recognized_by_short_or_full_name(node: str, here: str, local: bool) -> None:
    """A nodefile has the name the server knows, the system may have the other form."""
    assert is_local(node, here) is local


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_guest_is_in_exactly_the_group_of_its_node(shape: list[int]) -> None:
    """Whatever the layout, filtering by node and by group agree."""
    wanted = plan(len(shape), max(shape))
    found = build_inventory(wanted, SETTINGS, here="x")
    for node in wanted.nodes:
        members = {host.name for host in found.children_of_group(node.name)} - {node.name}
        assert members == {guest.name for guest in wanted.on(node.name)}


def test_a_thousand_nodes_load_in_half_a_second() -> None:
    """Building the inventory is not what limits the size of a job.

    The best of three counts: a collection of the garbage of all tests before may fall into one.
    """
    wanted = plan(1000, 1)
    secrets = keys(wanted)
    took = []
    for _ in range(3):
        started = time.process_time()
        found = build_inventory(wanted, SETTINGS, keys=secrets, here="node1")
        took.append(time.process_time() - started)
        assert len(found.hosts) == 2000
    assert min(took) < 0.5
