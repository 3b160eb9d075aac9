"""What our hosts carry in their Nornir data, and how tasks read it.

============ ================ =====================================================================
key          on               value
============ ================ =====================================================================
role         node, guest      ``"node"`` or ``"guest"``
node         node, guest      name of the physical node
slots        node             slots the job has there
guest        guest            :class:`~nornir_torque_vm.model.Guest`
rank         guest            its rank; also ``mac``, ``domain``: plain values to filter by and to print
disk         guest            descriptor of the user's disk, on the guest that starts with it
started      guest            True once ``start_guest`` has created it; not when it was running before
facts        both, by node    :class:`~nornir_torque_vm.model.NodeFacts`, when there was a survey
uri          both, by node    the node's libvirt
local        both, by node    True on the node this process runs on
node_address both, by node    the node's address, when the nodefile's reader resolved it
neighbours   both, by node    :class:`~nornir_torque_vm.neighbours.NeighbourTable` of the node
plan         both, defaults   :class:`~nornir_torque_vm.model.Plan`
job_keys     both, defaults   :class:`~nornir_torque_vm.model.JobKeys`
image        both, defaults   name of the image
settings     both, defaults   :class:`~nornir_torque_vm.config.settings.Settings`, or the path of a file
============ ================ =====================================================================

None of them is called like an attribute of Nornir's hosts (``keys`` is one), which ``host.get()`` and
filters would find instead.
"""

from __future__ import annotations

import functools
from typing import TypeVar

from nornir.core.inventory import Host

from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.model import Guest, JobKeys, Plan
from nornir_torque_vm.neighbours import NeighbourTable

T = TypeVar("T")

NODE = "node"
"""Group and role of physical nodes."""
GUEST = "guest"
"""Group and role of guests."""


def is_guest(host: Host) -> bool:
    """Whether ``host`` is a guest; anything else counts as a node, as in a plain hosts file."""
    return bool(host.get("role") == GUEST)


def node_of(host: Host) -> str:
    """The node ``host`` is or is on; a host without ``node`` in its data is a node itself."""
    return str(host.get("node") or host.name)


def guest_of(host: Host) -> Guest:
    """The guest behind ``host``.

    :raises InventoryError: the host is no guest.
    """
    return _demand(host, "guest", Guest, "run this task on guests only: nr.filter(role='guest')")


def plan_of(host: Host) -> Plan:
    """The plan ``host`` belongs to.

    :raises InventoryError: the inventory was not made from a plan.
    """
    return _demand(host, "plan", Plan, "make the inventory with a job_id, or by build_inventory()")


def keys_of(host: Host) -> JobKeys:
    """The keys of the job ``host`` belongs to.

    :raises InventoryError: the inventory was made without keys.
    """
    return _demand(host, "job_keys", JobKeys, "make the inventory with the job's keys")


def settings_of(host: Host) -> Settings:
    """The settings that hold for ``host``; the default file's when its data name none.

    :raises SettingsError: the file cannot be used.
    """
    found = host.get("settings")
    return found if isinstance(found, Settings) else _load(found)


def neighbours_of(host: Host) -> NeighbourTable:
    """The neighbour table of the host's node, shared by all its guests; else one of its own."""
    found = host.get("neighbours")
    if not isinstance(found, NeighbourTable):
        found = host.data["neighbours"] = NeighbourTable()
    return found


@functools.lru_cache(maxsize=8)
def _load(path: str | None) -> Settings:
    return settings_module.load(path)


def _demand(host: Host, key: str, kind: type[T], hint: str) -> T:
    found = host.get(key)
    if not isinstance(found, kind):
        raise InventoryError(f"host {host.name} has no {key.replace('_', ' ')}", hint=hint)
    return found
