"""What pinning needs to know: which slots of its nodes a job has, and the mapping of its owner's own.

The nodefile has the number of the slots only, so the server is asked for the rest.

TORQUE 6.1.3: ``qstat -f -x`` tells a job's ``exec_host`` to a manager or operator, and to everybody with
``query_other_jobs``; ``pbsnodes -x`` tells everybody the nodes' ``np``. 10 to 20 ms each (measured).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InventoryError, TorqueVMError
from nornir_torque_vm.model import FileRef, Node, Owner, Plan
from nornir_torque_vm.nodefile import parse_exec_host
from nornir_torque_vm.ownerfile import read_as_owner
from nornir_torque_vm.pbsnodes import Pbsnodes
from nornir_torque_vm.pinning.pinfile import PinMap, parse_pins
from nornir_torque_vm.reap.qstat import Qstat
from nornir_torque_vm.request import Request

PATIENCE = 5.0
"""Seconds both answers together may take: a job can do without them."""


def with_slots(
    nodes: Sequence[Node], job_id: str, settings: Settings, deadline: Deadline
) -> tuple[tuple[Node, ...], str]:
    """Return a job's nodes with their slots and "", or the nodes as they were and why.

    Never fails: who insists on the slots finds them missing.

    :param nodes: as the nodefile has them.
    """
    patience = Deadline.after(deadline.clamp(PATIENCE))
    qsub = settings.real_qsub_on_nodes
    try:
        told = parse_exec_host(Qstat.find(qsub, patience).exec_host(job_id))
        sizes = Pbsnodes.find(qsub, patience).states()
        return joined(nodes, told, {name: state.np for name, state in sizes.items()}), ""
    except TorqueVMError as error:
        return tuple(nodes), f"the job's slots are not known: {error.what}"


def joined(nodes: Sequence[Node], told: Sequence[Node], sizes: dict[str, int]) -> tuple[Node, ...]:
    """Join what the nodefile, ``exec_host`` and the server's list of nodes say.

    :raises InventoryError: they contradict each other.
    """
    indexes = {node.name: node.indexes for node in told}
    for node in nodes:
        if len(indexes.get(node.name, ())) != node.slots or not sizes.get(node.name):
            raise InventoryError(
                f"the nodefile gives the job {node.slots} slots of {node.name}, exec_host "
                f"{len(indexes.get(node.name, ()))} of {sizes.get(node.name, 0)}"
            )
    return tuple(dataclasses.replace(node, indexes=indexes[node.name], np=sizes[node.name]) for node in nodes)


def pins_of(request: Request, owner: Owner, deadline: Deadline) -> PinMap | None:
    """Return the owner's own mapping of virtual to physical processors; None when the request names none.

    :raises TorqueVMError: it cannot be read, or is no mapping.
    """
    ref = request.vcpu_pinning
    if not isinstance(ref, FileRef):
        return None
    return parse_pins(read_as_owner("vcpu_pinning", ref, owner, deadline))


def floating(plan: Plan, unknown: str) -> list[str]:
    """Return why guests float that should be pinned, a sentence for each reason.

    :param unknown: why the job's slots are not known, as :func:`with_slots` says.
    """
    reasons = {guest.placement.why for guest in plan.guests if guest.placement} - {""}
    return [f"guests are not pinned: {'; '.join(filter(None, (why, unknown)))}" for why in sorted(reasons)]
