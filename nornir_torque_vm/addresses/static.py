"""Addresses computed from a node's place among the nodes and a slot that TORQUE gave the job there. Pure.

Slots of a node belong to one job at a time (DESIGN: a job's share of a node), and no two nodes share a range,
so no two guests can get one address and no mother superior needs to ask another.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.config.addresses import MOST_NODES
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError, RequestError
from nornir_torque_vm.model import Guest, Node, Plan
from nornir_torque_vm.nodefile import unfold

NO_JOB = "these nodes are no job's, so there are no slots"
"""Why slots are not known outside of jobs."""


def computed(plan: Plan, settings: Settings, unknown: str = "") -> Plan:
    """Return the plan with an address for every guest.

    The guest with index ``i`` on its node has the address of the job's ``i``-th slot there.

    :param unknown: why the job's slots are not known, as ``hooks.slots`` says.
    :raises InventoryError: the job's slots are not known, or a node has no range of addresses, or one that is
        too small. Not an error of this node's settings: no node is to be taken out for it.
    :raises RequestError: the job has fewer slots of a node than guests there.
    """
    numbers = {name: number for number, name in enumerate(unfold(settings.static_nodes, MOST_NODES))}
    nodes = {node.name: node for node in plan.nodes}
    return given(
        plan,
        {
            guest.name: _address(
                guest, nodes[guest.node], len(plan.on(guest.node)), numbers, settings, unknown
            )
            for guest in plan.guests
        },
    )


def given(plan: Plan, addresses: Mapping[str, StaticAddress]) -> Plan:
    """Return the plan with these addresses, by guest name."""
    guests = (dataclasses.replace(guest, static=addresses[guest.name]) for guest in plan.guests)
    return dataclasses.replace(plan, guests=tuple(guests))


def _address(
    guest: Guest, node: Node, guests: int, numbers: Mapping[str, int], settings: Settings, unknown: str
) -> StaticAddress:
    if node.name not in numbers:
        raise InventoryError(
            "it has no addresses for guests",
            hint="append it to static_nodes in the settings, by the name that pbsnodes shows",
            node=node.name,
        )
    if not node.indexes:
        raise InventoryError(
            f"static_ip_mapping cannot compute addresses: {unknown or 'the slots of the job are not known'}",
            hint="root on the node has to see exec_host in qstat -f, or use ip_script",
            node=node.name,
        )
    if guests > len(node.indexes):
        raise RequestError(
            f"{guests} guests need as many slots for their addresses, the job has {len(node.indexes)} here",
            hint=f"ask for ppn={guests}, or for fewer guests with vms_per_node=",
            node=node.name,
        )
    slot = node.indexes[guest.index]
    if slot >= settings.static_slots:
        raise InventoryError(
            f"slot {slot} has no address: the node has {settings.static_slots}, for slots from 0",
            hint="raise static_slots in the settings to the np of the largest node, when no guests run",
            node=node.name,
        )
    network = ipaddress.IPv4Network(settings.static_network)
    address = settings.static_range()[0] + numbers[node.name] * settings.static_slots + slot
    return StaticAddress(str(address), network.prefixlen, settings.static_gateway)
