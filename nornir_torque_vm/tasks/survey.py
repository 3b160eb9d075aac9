"""Task: find out what a node is and what it has free."""

from __future__ import annotations

import dataclasses
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.capabilities import Capabilities, node_facts, parse_capabilities
from nornir_torque_vm.connections.libvirt import map_error, mapped
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.tasks.common import LIBVIRT, connection, our_guests, storage_of

CONNECTION_NAME = LIBVIRT

_NO_SUPPORT = 3
"""``VIR_ERR_NO_SUPPORT``."""
_MIB = 1 << 20


def survey(task: Task) -> Result:
    """Ask a node's libvirt for its processors, memory, domain types and the guests of ours it has.

    Arguments:
        none

    Returns:
        Result object with the following attributes set:
          * result (:class:`~nornir_torque_vm.model.NodeFacts`): sizes in bytes

    Raises:
        HypervisorError: libvirt refuses or cannot be reached
        StorageError: the guests' disks could not be put there
    """
    host, node = task.host, node_of(task.host)
    conn = connection(task)
    with mapped(node):
        capabilities = _complete(conn, parse_capabilities(conn.getCapabilities()))
    facts = node_facts(
        node,
        capabilities,
        memory_stats=_memory_stats(conn, node),
        guests_memory=[guest.memory for guest in our_guests(conn, node)],
    )
    # Makes the storage pool when there is none yet: better a sentence now than half a start later.
    storage_of(task).names(DOMAIN_PREFIX)
    return Result(host=host, result=facts)


def _complete(conn: Any, found: Capabilities) -> Capabilities:
    """Ask for processors and memory where the capabilities have no topology (some containers)."""
    if found.cpus and found.memory:
        return found
    _, mebibytes, cpus, *_ = conn.getInfo()
    return dataclasses.replace(found, cpus=found.cpus or cpus, memory=found.memory or mebibytes * _MIB)


def _memory_stats(conn: Any, node: str) -> dict[str, int] | None:
    """``getMemoryStats`` of the whole node, None where the driver has no such call."""
    from libvirt import libvirtError

    try:
        stats: dict[str, int] = conn.getMemoryStats(-1)  # VIR_NODE_MEMORY_STATS_ALL_CELLS
    except libvirtError as exc:
        if exc.get_error_code() == _NO_SUPPORT:
            return None
        raise map_error(exc, node) from exc
    return stats
