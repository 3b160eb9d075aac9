"""Task: take a job's marker and hand-over away from a node that is not this one."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.volumes import VolumeStorage
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of

CONNECTION_NAME = LIBVIRT


def forget_job(task: Task, job_id: str) -> Result:
    """Remove what tells a node's job starter about a job, through the node's libvirt.

    A sister that had marked the job runs no epilogue when the start fails (TF 1.6). The node we are on is
    left to :class:`~nornir_torque_vm.runstate.jobstate.JobState`; libvirt's test driver has no such files.

    Arguments:
        job_id: ``17.head``

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether there was anything

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
    removed = [
        VolumeStorage(conn, f"{run_dir}/{name}", node=node_of(host), kind=run_state(name)).remove(job_id)
        for name in (HANDOVERS, MARKERS)  # a hand-over without a marker would never be looked at
    ]
    return Result(host=host, changed=any(removed))
