"""Task: take the folders of a guest that runs from libvirt."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of
from nornir_torque_vm.storage import RAMDISK
from nornir_torque_vm.tasks.common import LIBVIRT, folder_of
from nornir_torque_vm.tasks.volumes import closed_when_ready, places_of

CONNECTION_NAME = LIBVIRT


def close_folders(task: Task) -> Result:
    """Have libvirt forget the folders of a guest's files, and of memory that it shares; all of that stays.

    From here on the job's owner may write into some of them, so libvirt must not look at them again, see
    :mod:`~nornir_torque_vm.storage.folder`, and only the node itself can remove them. Where no file is the
    owner's, that folder stays open. What is shared guests may write in any case.

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
    extras = guest_of(task.host).extras
    for memory in extras.shared_memory if extras is not None else ():
        folder_of(task, memory.name, RAMDISK).close()
    return Result(host=task.host)
