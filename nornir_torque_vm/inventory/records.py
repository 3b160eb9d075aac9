"""A Nornir inventory of what libvirt says exists: no plan file needed, nothing taken for granted."""

from __future__ import annotations

from collections.abc import Iterable

from nornir.core.inventory import Inventory

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.inventory.build import InventoryBuilder
from nornir_torque_vm.model import Guest, JobKeys, Node, Shape


def guests_inventory(
    records: Iterable[FoundGuest],
    settings: Settings,
    *,
    keys: JobKeys | None = None,
    base: Inventory | None = None,
    here: str | None = None,
) -> Inventory:
    """Return an inventory of guests that exist, and the nodes they are on.

    Addresses are not known yet: ``discover_address`` finds them. A host is called like its guest, or
    like its domain where two guests share a name (two attempts of one job). Besides the data of any
    guest host it has ``job_id``, ``owner``, ``attempt`` and ``state``.

    :param records: what ``list_guests`` returned, of one node or several.
    :param keys: of the guests' job; guests they do not know are not given any.
    :param base, here: as for :func:`~nornir_torque_vm.inventory.build.build_inventory`.
    """
    builder = InventoryBuilder(settings, base=base, here=here)
    builder.share(job_keys=keys)
    found = tuple(records)
    for node in dict.fromkeys(record.node for record in found):
        builder.add_node(Node(node))
    names, index = {record.node for record in found}, dict.fromkeys((record.node for record in found), 0)
    for record in found:
        name = record.domain if record.guest in names else record.guest
        names.add(name)
        known = keys is not None and record.guest in keys.hosts
        builder.add_guest(
            guest_from(record, index[record.node]),
            keys=keys if known else None,
            name=name,
            data={
                "job_id": record.job_id,
                "owner": record.owner,
                "attempt": record.attempt,
                "state": record.state,
            },
        )
        index[record.node] += 1
    return builder.inventory()


def guest_from(record: FoundGuest, index: int = 0) -> Guest:
    """The guest behind a domain that exists.

    :param index: which of the guests on its node it is.
    """
    shape = Shape(record.vcpus, record.memory, record.arch, record.domain_type)
    return Guest(
        name=record.guest,
        rank=record.rank,
        node=record.node,
        index=index,
        mac=record.mac,
        uuid=record.uuid,
        domain=record.domain,
        shape=shape,
        static=record.static,
    )
