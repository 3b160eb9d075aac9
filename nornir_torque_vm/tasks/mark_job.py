"""Task: make sure that a node that is not this one has a job's marker."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.runstate.handover import MARKERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.volumes import VolumeStorage
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of
from nornir_torque_vm.tasks.hand_over import sealed

CONNECTION_NAME = LIBVIRT


def mark_job(task: Task, job_id: str) -> Result:
    """Mark a job on a node through its libvirt, unless it is marked there already.

    A sister's own prologue does that, and counts as a success when it is killed before. A marker that is
    there is never replaced: for a moment there would be none. The node we are on has been marked by the hook
    itself; libvirt's test driver has no such files. :func:`~nornir_torque_vm.tasks.forget_job` removes it.

    Also on the node we are on, which may have been a sister then, libvirt gives up the pool of a hand-over
    that an earlier attempt was killed at: a new hand-over must not lie in it.

    Arguments:
        job_id: ``17.head``

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether there was none

    Raises:
        InventoryError: no job id
        HypervisorError: libvirt refuses or cannot be reached
        StorageError: the file could not be written
    """
    job_slug(job_id)
    host = task.host
    if uri_of(host).startswith("test:"):
        return Result(host=host)
    sealed(task, job_id).close()
    if host.get("local"):
        return Result(host=host)
    conn, directory = connection(task), f"{settings_of(host).run_dir}/{MARKERS}"
    current.get().check()
    storage = VolumeStorage(conn, directory, node=node_of(host), kind=run_state(MARKERS))
    if job_id in storage.names(job_id):
        return Result(host=host)
    storage.put(job_id, b"")
    return Result(host=host, changed=True)
