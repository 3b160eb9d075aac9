"""Task: read the end of a guest's console."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.inventory.hostdata import guest_of
from nornir_torque_vm.tasks.common import LIBVIRT, folder_of
from nornir_torque_vm.tasks.volumes import console_name

CONNECTION_NAME = LIBVIRT


def read_console(task: Task, limit: int) -> Result:
    """Read the end of what a guest printed on its serial console, from its node's storage.

    When its folder is closed, only on the node itself.

    Arguments:
        limit: bytes at most

    Returns:
        Result object with the following attributes set:
          * result (``bytes``): as the guest wrote them: for a terminal only through
            :func:`~nornir_torque_vm.consoletext.lines_of`

    Raises:
        StorageError: there is no console, or it cannot be read
        HypervisorError: libvirt refuses or cannot be reached
    """
    domain = guest_of(task.host).domain
    name = console_name(domain)
    return Result(host=task.host, result=folder_of(task, domain).read(name, -limit, limit))
