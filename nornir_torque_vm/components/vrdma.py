"""Remote memory access in guests (vRDMA): a function of the node's card for each, or the earlier device.

``sriov``: a card that can divide itself (SR-IOV) gives every guest a function of its own. libvirt keeps them
as a network whose ``forward`` mode is ``hostdev`` (https://libvirt.org/formatnetwork.html), gives one to each
domain that starts and takes it back when the domain is gone: nothing has to be started or stopped.
``hyv``: see :mod:`.hyv`.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component
from nornir_torque_vm.components.devices import VRDMA, Extras, NetworkFunction, extended
from nornir_torque_vm.components.live import descriptions_of
from nornir_torque_vm.config.devices import HYV
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import map_error
from nornir_torque_vm.errors import BusyError, HypervisorError, HypervisorUnreachable, RequestError
from nornir_torque_vm.identity import mac_address
from nornir_torque_vm.inventory.hostdata import node_of, plan_of, settings_of
from nornir_torque_vm.model import Guest, Node, Plan
from nornir_torque_vm.request import Request


@dataclasses.dataclass(frozen=True, slots=True)
class Functions:
    """What there is of the network on a node."""

    total: int = 0
    taken: int = 0
    """Guests of anybody that have one."""
    why: str = ""
    """Why there is none."""


def component(settings: Settings) -> Component:
    """Return the component, in the form that ``vrdma_backend`` says."""
    if settings.vrdma_backend == HYV:
        from nornir_torque_vm.components import hyv

        return Component(
            name=VRDMA, wanted=wanted, adjust=hyv.adjust, start=hyv.load_modules, verify=hyv.verify_modules
        )
    return Component(
        name=VRDMA, wanted=wanted, look=look, judge=judge, adjust=adjust, verify=verify_functions
    )


def wanted(request: Request, settings: Settings, node: Node) -> bool:
    """Whether the job's guests on a node get one."""
    asked = settings.vrdma_enabled_default if request.vrdma is None else request.vrdma
    return asked and settings.vrdma_nodes.matches(node.name)


def look(conn: Any, settings: Settings) -> Functions:
    """Ask a node's libvirt for its functions.

    :raises HypervisorUnreachable: it does not answer.
    """
    from libvirt import libvirtError

    name = settings.vrdma_network
    try:
        network = conn.networkLookupByName(name)
        if not network.isActive():
            return Functions(why=f"the network {name} is not active")
        return read_functions(network.XMLDesc(0), name)
    except libvirtError as exc:
        error = map_error(exc)
        if isinstance(error, HypervisorUnreachable):
            raise error from exc
        return Functions(why=exc.get_error_message() or str(exc))


def read_functions(text: str, name: str) -> Functions:
    """Read the XML of an active network. Pure.

    An active one lists its functions, also where it is described by the card that has them; ``connections``
    is how many guests are on it (``networkCreateInterfacePool`` and ``virNetworkDefFormat`` of libvirt).
    """
    root = ET.fromstring(text)  # noqa: S314 - from the node's own libvirtd
    forward = root.find("forward")
    mode = "" if forward is None else forward.get("mode", "")
    if forward is None or mode != "hostdev":
        return Functions(why=f"the network {name} has no functions: its forward mode is {mode or 'none'}")
    total = len(forward.findall("address")) + len(forward.findall("interface"))
    if not total:
        return Functions(why=f"no free virtual function: the network {name} has none at all")
    taken = root.get("connections", "0")
    return Functions(total, int(taken) if taken.isdecimal() else 0)


def judge(found: Functions, node: str, guests: int, settings: Settings) -> None:
    """Refuse a node that has not a function for each guest.

    :raises HypervisorError: it has none, by the site's fault.
    :raises RequestError: it never has that many.
    :raises BusyError: others have them now.
    """
    if found.why:
        raise HypervisorError(
            f"guests cannot have vrdma here: {found.why}",
            hint="start the network there, or take the node out of vrdma_nodes",
            node=node,
        )
    if guests > found.total:
        raise RequestError(
            f"vrdma=true for {guests} guests, and the network {settings.vrdma_network} has "
            f"{found.total} virtual functions",
            hint="ask for fewer guests per node",
            node=node,
        )
    if found.taken + guests > found.total:
        free = max(0, found.total - found.taken)
        raise BusyError(
            f"{free or 'no'} free virtual function{'' if free <= 1 else 's'}, {guests} asked: "
            f"other guests have {found.taken} of {found.total}",
            node=node,
        )


def adjust(plan: Plan, request: Request, settings: Settings) -> Plan:  # noqa: ARG001 - as all components
    """Give a function of the network to every guest on the nodes that have them."""

    def with_function(extras: Extras, guest: Guest) -> Extras:
        card = NetworkFunction(settings.vrdma_network, function_mac(plan, guest))
        return dataclasses.replace(extras, network_functions=(*extras.network_functions, card))

    return extended(plan, VRDMA, with_function)


def function_mac(plan: Plan, guest: Guest) -> str:
    """MAC address of a guest's function: behind those of the job's own cards."""
    return mac_address(plan.job.server, plan.job.id, len(plan.guests) + guest.rank)


def verify_functions(task: Task) -> Result:
    """Nornir task: see that every guest of the job on the node runs with its function.

    :raises HypervisorError: one does not.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    for guest, domain in descriptions_of(task, plan.on(node)):
        macs = {mac.get("address", "").lower() for mac in domain.findall("devices/interface/mac")}
        if function_mac(plan, guest) not in macs:
            network = settings_of(task.host).vrdma_network
            raise HypervisorError(
                f"it runs without a virtual function of {network}", node=node, guest=guest.name
            )
    return Result(host=task.host)
