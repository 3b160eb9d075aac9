"""Task: let go of the user's disk before its guest is ended."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of
from nornir_torque_vm.render.datadisk import unmount_disk_script
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where

CONNECTION_NAME = GUEST_SSH


def unmount_disk(task: Task, seconds: float = 30.0) -> Result:
    """Unmount ``/data`` in the guest that has the disk; what is left of the job and still uses it is killed.

    Arguments:
        seconds: how long that may take

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): False when the guest has no such disk

    Raises:
        NotHealthy: it is still mounted, or the guest could not be reached
        DeadlineExceeded: the time is up
    """
    plan = plan_of(task.host)
    if plan.disk is None or guest_of(task.host).rank != 0:
        return Result(host=task.host, changed=False)
    current.get().check()
    script = unmount_disk_script().encode()
    result = connection(task, GUEST_SSH).run("sh -s", stdin=script, timeout=seconds)
    if not result.ok:
        raise NotHealthy(f"its disk was not unmounted: {result.summary()}", **where(task))
    return Result(host=task.host, changed=True)
