"""Task: take a job's marker, and what can be of its hand-over, away from a node that is not this one."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.runstate.handover import MARKERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.volumes import VolumeStorage
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of
from nornir_torque_vm.tasks.hand_over import sealed

CONNECTION_NAME = LIBVIRT


def forget_job(task: Task, job_id: str) -> Result:
    """Remove what tells a node's job starter about a job, through the node's libvirt.

    A sister that had marked the job runs no epilogue when the start fails (TF 1.6). The node we are on is
    left to :class:`~nornir_torque_vm.runstate.jobstate.JobState`; libvirt's test driver has no such files.

    A hand-over that was given stays: its owner can write it, and libvirt would have to look at it. The job's
    next prologue on that node removes it, or the node's reaper. Until then it opens nothing, as the guests
    are gone; and like a marker it keeps the job's tasks from the node itself.

    Arguments:
        job_id: ``17.head``

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether anything was removed

    Raises:
        InventoryError: no job id
        HypervisorError: libvirt refuses or cannot be reached
        StorageError: a file could not be removed
    """
    job_slug(job_id)
    host = task.host
    if host.get("local") or uri_of(host).startswith("test:"):
        return Result(host=host)
    conn, run_dir = connection(task), settings_of(host).run_dir
    withdrawn = sealed(task, job_id).withdraw()
    markers = VolumeStorage(conn, f"{run_dir}/{MARKERS}", node=node_of(host), kind=run_state(MARKERS))
    return Result(host=host, changed=markers.remove(job_id) or withdrawn)
