"""Task: find out what a node is and what it has free."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.capabilities import Capabilities, node_facts, parse_capabilities
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import map_error, mapped
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.errors import HypervisorError, HypervisorUnreachable, StorageError
from nornir_torque_vm.found import DOMAIN_PREFIX, read_holding
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.machine.netfilter import provide
from nornir_torque_vm.machine.offer import lacking
from nornir_torque_vm.model import Shape
from nornir_torque_vm.pinning.topology import flat
from nornir_torque_vm.render.domain import MACHINES
from nornir_torque_vm.storage import COPIES, RAMDISK
from nornir_torque_vm.tasks.common import LIBVIRT, connection, descriptions, found_in, storage_of, uri_of

CONNECTION_NAME = LIBVIRT

_NO_SUPPORT = 3
"""``VIR_ERR_NO_SUPPORT``."""
_MIB = 1 << 20


def survey(task: Task, shape: Shape | None = None, copy: str = "") -> Result:
    """Ask a node's libvirt for its processors, memory, domain types and what the guests there hold.

    Arguments:
        shape (:class:`~nornir_torque_vm.model.Shape`): also ask whether such guests can be made there
        copy: also ask for the node's own copy of an image, by the copy's name

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
        # The test driver's map is another machine's than its other answers.
        online = None if is_test(uri_of(host)) else _online(conn)
        capabilities = _complete(conn, parse_capabilities(conn.getCapabilities(), online), online)
        refused = _refused(conn, capabilities, shape, settings_of(host)) if shape else ""
    domains = descriptions(conn, node, prefix="")
    guests = found_in(domains, node)
    facts = node_facts(
        node,
        capabilities,
        memory_stats=_memory_stats(conn, node),
        guests_memory=[guest.memory for guest in guests],
        guests_ramdisk=sum(guest.ramdisk for guest in guests),
        guests_shared=sum(dict(memory for guest in guests for memory in guest.shared).values()),
        ramdisk=storage_of(task, RAMDISK).capacity() if settings_of(host).ramdisk_dir else 0,
        copy=_copy(task, copy) if copy else "",
        held=[held for text, _ in domains if (held := read_holding(text, node=node)) is not None],
    )
    offers = _offers(conn, settings_of(host))
    claimed = {guest.static.address: guest.domain for guest in guests if guest.static is not None}
    # Makes the storage pool when there is none yet: better a sentence now than half a start later.
    storage_of(task).names(DOMAIN_PREFIX)
    return Result(
        host=host, result=dataclasses.replace(facts, refused=refused, claimed=claimed, offers=offers)
    )


def _offers(conn: Any, settings: Settings) -> Mapping[str, object]:
    """What the site's components find on the node; where it has none, nothing is imported for that."""
    if not settings.switched_on():
        return {}
    from nornir_torque_vm.components.planning import looked

    return looked(conn, settings)


def _copy(task: Task, name: str) -> str:
    """Path of a copy of an image on the node; "" when it has none that can be trusted, or does not say."""
    copies = storage_of(task, COPIES)
    with contextlib.suppress(StorageError, HypervisorError):  # the pool's own will do
        return copies.path(name) if copies.holds(name) else ""
    return ""


def _refused(conn: Any, capabilities: Capabilities, shape: Shape, settings: Settings) -> str:
    """What the node has against guests of a shape, in libvirt's words; "" when nothing.

    What the capabilities rule out already is said better from those.
    """
    from libvirt import libvirtError

    if shape.domain_type not in capabilities.domain_types.get(shape.arch, ()):
        return ""
    machine = shape.machine or MACHINES.get(shape.arch)
    try:
        text = conn.getDomainCapabilities(shape.emulator or None, shape.arch, machine, shape.domain_type)
        if settings.network and not conn.networkLookupByName(settings.network).isActive():
            return f"the network {settings.network} is not active"
        if missing := provide(conn, settings.network_filter):
            return missing
    except libvirtError as exc:
        if isinstance(map_error(exc), HypervisorUnreachable):
            raise
        return exc.get_error_message() or str(exc)
    return lacking(text, shape.cpu)


def _online(conn: Any) -> tuple[int, ...] | None:
    """The processors that are online; None where the driver does not tell."""
    from libvirt import libvirtError

    try:
        _, online, _ = conn.getCPUMap()
    except libvirtError as exc:
        if exc.get_error_code() == _NO_SUPPORT:
            return None
        raise
    return tuple(number for number, is_online in enumerate(online) if is_online)


def _complete(conn: Any, found: Capabilities, online: tuple[int, ...] | None) -> Capabilities:
    """Ask for processors and memory where the capabilities have no topology (some containers)."""
    if found.cpus and found.memory:
        return found
    _, mebibytes, cpus, *_ = conn.getInfo()
    memory = found.memory or mebibytes * _MIB
    topology = found.topology if found.cpus else flat(range(cpus) if online is None else online, memory)
    return dataclasses.replace(found, cpus=len(topology.cpus), memory=memory, topology=topology)


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
