"""Which processors of a node are a job's own: its share, from the slots TORQUE gave it. Pure.

TORQUE gives slots, numbers from 0 to the node's ``np`` less one, each to one job at a time: bare-metal
jobs have theirs as well. So processors that follow from slots alone never overlap between jobs, and no two
mother superiors have to agree. The map holds as long as ``np`` and the number of processors kept for
the host do; both are changed on an empty node only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nornir_torque_vm.pinning.topology import Cpu, Topology


def kept_for_host(topology: Topology, count: int) -> frozenset[int]:
    """The processors of the host's own system: the first cores that together have ``count`` of them.

    Always whole cores: what a guest does on one thread of a core, the other one feels.
    """
    kept: list[Cpu] = []
    for core in topology.cores({cpu.id for cpu in topology.cpus}):
        if len(kept) >= count:
            break
        kept += core
    return frozenset(cpu.id for cpu in kept)


def usable(topology: Topology, reserved: Collection[int]) -> tuple[int, ...]:
    """The processors jobs may have, in topology order."""
    return tuple(cpu.id for cpu in topology.cpus if cpu.id not in reserved)


def of_slots(topology: Topology, reserved: Collection[int], slots: Iterable[int], np: int) -> tuple[int, ...]:
    """The processors that belong to ``slots`` of a node that has ``np`` of them, in topology order.

    Blocks in topology order: whole cores where there are at least as many cores as slots, else
    processors. Every slot has at least one, no two slots have one in common.

    :raises ValueError: more slots than processors, or a slot beyond ``np``; says so with numbers.
    """
    free = usable(topology, reserved)
    if np > len(free):
        raise ValueError(f"TORQUE gives out {np} slots here (np={np}) on {len(free)} processors")
    cores = topology.cores(free)
    units = [[cpu.id for cpu in core] for core in cores] if np <= len(cores) else [[cpu] for cpu in free]
    mine: set[int] = set()
    for slot in slots:
        if not 0 <= slot < np:
            raise ValueError(f"the job has slot {slot} of a node with np={np}")
        for unit in units[len(units) * slot // np : len(units) * (slot + 1) // np]:
            mine.update(unit)
    return tuple(cpu for cpu in free if cpu in mine)
