"""Task: leave a job's hand-over on a node that is not this one."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.model import Owner
from nornir_torque_vm.runstate.handover import HANDOVERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.volumes import VolumeStorage
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of

CONNECTION_NAME = LIBVIRT


def hand_over(task: Task, job_id: str, text: str, owner: Owner) -> Result:
    """Write a hand-over through a node's libvirt, for the job's owner to read and nobody else.

    The node we are on is left to the job's run state; libvirt's test driver takes no data.
    :func:`~nornir_torque_vm.tasks.forget_job` removes it.

    Arguments:
        job_id: ``17.head``
        text: :meth:`~nornir_torque_vm.runstate.handover.HandOver.to_json`
        owner: whose job it is

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether something was written

    Raises:
        InventoryError: no job id
        HypervisorError: libvirt refuses or cannot be reached
        StorageError: the file could not be written
    """
    job_slug(job_id)
    host = task.host
    if host.get("local") or uri_of(host).startswith("test:"):
        return Result(host=host)
    conn, directory = connection(task), f"{settings_of(host).run_dir}/{HANDOVERS}"
    current.get().check()
    storage = VolumeStorage(conn, directory, node=node_of(host), kind=run_state(HANDOVERS))
    storage.put(job_id, text.encode(), reader=(owner.uid, owner.gid))
    return Result(host=host, changed=True)
