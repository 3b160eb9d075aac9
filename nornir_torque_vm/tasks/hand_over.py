"""Task: leave a job's hand-over on a node that is not this one."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.model import Owner
from nornir_torque_vm.runstate.handover import GIVEN, HANDOVERS, UPLOADED
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.sealed import SealedFile
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of

CONNECTION_NAME = LIBVIRT


def hand_over(task: Task, job_id: str, text: str, owner: Owner) -> Result:
    """Write a hand-over through a node's libvirt, for the job's owner to read and nobody else.

    The node we are on is left to the job's run state; libvirt's test driver takes no data. What an earlier
    attempt left has been removed by the node's own prologue: nothing is put into a directory that is there,
    as libvirt would look at files that the owner can write, see :mod:`~nornir_torque_vm.storage.sealed`. In
    the end the node itself removes the hand-over, in its epilogue or with its reaper.

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
        StateError: there is one already
        StorageError: the file could not be written
    """
    job_slug(job_id)
    host = task.host
    if host.get("local") or uri_of(host).startswith("test:"):
        return Result(host=host)
    current.get().check()
    sealed(task, job_id).give(text.encode(), (owner.uid, owner.gid))
    return Result(host=host, changed=True)


def sealed(task: Task, job_id: str) -> SealedFile:
    """The hand-over of a job on the host's node, as libvirt reaches it."""
    host = task.host
    around, copy = f"{settings_of(host).run_dir}/{HANDOVERS}", job_id + UPLOADED
    kind, node = run_state(HANDOVERS), node_of(host)
    return SealedFile(connection(task), around, job_id, GIVEN, copy=copy, kind=kind, node=node)
