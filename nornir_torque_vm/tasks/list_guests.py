"""Task: list the guests of ours that exist on a node."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.tasks.common import LIBVIRT, connection, our_guests

CONNECTION_NAME = LIBVIRT


def list_guests(task: Task) -> Result:
    """Ask a node's libvirt which of its domains are guests of ours, of any job.

    Arguments:
        none

    Returns:
        Result object with the following attributes set:
          * result (list of :class:`~nornir_torque_vm.found.FoundGuest`): by job, attempt and rank

    Raises:
        HypervisorError: libvirt refuses or cannot be reached
    """
    node = node_of(task.host)
    found = sorted(
        our_guests(connection(task), node), key=lambda guest: (guest.job_id, guest.attempt, guest.rank)
    )
    return Result(host=task.host, result=found)
