"""Computed addresses: never the same for two guests of jobs that hold different slots."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_kit import plan_of

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.addresses.static import NO_JOB, computed
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, InventoryError, RequestError, TorqueVMError
from nornir_torque_vm.model import Guest, Node, Plan
from nornir_torque_vm.plan import plan_from_json, plan_to_json

SITE = Settings(
    static_ip_mapping=True, static_network="10.89.0.0/24", static_first="10.89.0.20",
    static_nodes="node[1-3]", static_slots=8, static_gateway="10.89.0.1",
)  # fmt: skip


def on_nodes(*nodes: Node, per_node: int = 1) -> Plan:
    """A plan of that many guests on each of these nodes."""
    plan = plan_of(1)
    guests: list[Guest] = []
    for node in nodes:
        for index in range(per_node):
            one = dataclasses.replace(plan.guests[0], node=node.name, index=index, name=f"g{len(guests)}")
            guests.append(one)
    return dataclasses.replace(plan, nodes=nodes, guests=tuple(guests))


def addresses(plan: Plan) -> list[str]:
    """Of its guests."""
    return [guest.static.address if guest.static else "" for guest in plan.guests]


def test_an_address_is_that_of_the_node_and_the_slot() -> None:
    """The guest with index i has the job's i-th slot there; prefix and router are the settings'."""
    plan = computed(
        on_nodes(Node("node1", 3, indexes=(2, 5, 7)), Node("node3", 2, indexes=(0, 1)), per_node=2), SITE
    )
    assert addresses(plan) == ["10.89.0.22", "10.89.0.25", "10.89.0.36", "10.89.0.37"]
    assert plan.guests[0].static == StaticAddress("10.89.0.22", 24, "10.89.0.1")


def test_a_plan_with_addresses_is_read_as_it_was_written() -> None:
    """The epilogue has to know them."""
    plan = computed(on_nodes(Node("node1", 1, indexes=(0,))), SITE)
    assert plan_from_json(plan_to_json(plan)) == plan
    assert plan_from_json(plan_to_json(plan_of())).guests[0].static is None


@pytest.mark.parametrize(
    ("node", "guests", "kind", "said"),
    [
        (
            Node("node4", 1, indexes=(0,)), 1, InventoryError,
            ("node node4: it has no addresses for guests; append it to static_nodes in the settings, by the "
            "name that pbsnodes shows"),
        ),
        (
            Node("node1", 1), 1, InventoryError,
            (f"node node1: static_ip_mapping cannot compute addresses: {NO_JOB}; root on the node has to see "
            "exec_host in qstat -f, or use ip_script"),
        ),
        (
            Node("node1", 1, indexes=(4,)), 2, RequestError,
            ("node node1: 2 guests need as many slots for their addresses, the job has 1 here; ask for "
            "ppn=2, or for fewer guests with vms_per_node="),
        ),
        (
            Node("node1", 1, indexes=(8,)), 1, InventoryError,
            ("node node1: slot 8 has no address: the node has 8, for slots from 0; raise static_slots in the "
            "settings to the np of the largest node, when no guests run"),
        ),
    ],
)  # fmt: skip
def test_what_has_no_address_is_refused_with_a_sentence(
    node: Node, guests: int, kind: type[TorqueVMError], said: str
) -> None:
    """And never given one that might be another's."""
    with pytest.raises(kind) as caught:
        computed(on_nodes(node, per_node=guests), SITE, NO_JOB)
    assert str(caught.value) == said
    assert (caught.value.blame is Blame.USER) == (kind is RequestError)


shares = st.lists(st.tuples(st.sampled_from(["node1", "node2", "node3"]), st.integers(0, 7)), unique=True)


@given(shares, st.data())
def test_jobs_with_different_slots_never_share_an_address(
    slots: list[tuple[str, int]], data: st.DataObject
) -> None:
    """However TORQUE deals the slots of all nodes out, and however many guests each job has of them."""
    jobs: dict[int, dict[str, list[int]]] = {}
    for node, slot in slots:
        jobs.setdefault(data.draw(st.integers(0, 3)), {}).setdefault(node, []).append(slot)
    found: list[str] = []
    for share in jobs.values():
        nodes = tuple(Node(name, len(own), indexes=tuple(sorted(own))) for name, own in share.items())
        guests = data.draw(st.integers(1, min(node.slots for node in nodes)))
        found += addresses(computed(on_nodes(*nodes, per_node=guests), SITE))
    assert len(set(found)) == len(found)
    first, last = SITE.static_range()
    assert all(first <= ipaddress.IPv4Address(address) <= last for address in found)
