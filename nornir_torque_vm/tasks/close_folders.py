"""Task: take the folder of a guest that runs from libvirt."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.inventory.hostdata import plan_of
from nornir_torque_vm.tasks.common import LIBVIRT
from nornir_torque_vm.tasks.volumes import closed_when_ready, places_of

CONNECTION_NAME = LIBVIRT


def close_folders(task: Task) -> Result:
    """Have libvirt forget the folder that a guest's files are in; the files, and their guest, stay.

    From here on the job's owner may write into some of them, so libvirt must not look at them again, see
    :mod:`~nornir_torque_vm.storage.folder`, and only the node itself can remove them. Where none is the
    owner's, nothing is done.

    Arguments:
        none

    Returns:
        Result object

    Raises:
        HypervisorError: libvirt refuses or cannot be reached
        DeadlineExceeded: the time is up
    """
    current.get().check()
    if closed_when_ready(plan_of(task.host)):
        for folder in places_of(task).folders:
            folder.close()
    return Result(host=task.host)
