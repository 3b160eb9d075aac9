"""Task: mount the user's disk in the job's first guest."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NotHealthy, RequestError
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of
from nornir_torque_vm.render.datadisk import MOUNT_POINT, NO_FILE_SYSTEM, mount_disk_script
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where

CONNECTION_NAME = GUEST_SSH
SECONDS = 90.0
"""How long mounting may take: a journal may have to be replayed first."""


def mount_disk(task: Task) -> Result:
    """Mount the disk of the plan as ``/data`` in the guest that has it; in others do nothing.

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): False when the guest has no such disk

    Raises:
        RequestError: the disk has no file system that can be mounted
        NotHealthy: it was not mounted, or the guest could not be reached; says why
        DeadlineExceeded: the time is up
    """
    plan = plan_of(task.host)
    if plan.disk is None or guest_of(task.host).rank != 0:
        return Result(host=task.host, changed=False)
    current.get().check()
    script = mount_disk_script(plan.job.owner)
    result = connection(task, GUEST_SSH).run("sh -s", stdin=script.encode(), timeout=SECONDS)
    if result.ok:
        return Result(host=task.host, changed=True)
    reason = (result.stderr.strip().splitlines() or [result.summary()])[-1].strip()
    what = f"disk {show(plan.disk.path)} was not mounted as {MOUNT_POINT}: {reason}"
    if result.rc == NO_FILE_SYSTEM:
        raise RequestError(what, hint="nobody makes one for you: see docs/submitting.md", **where(task))
    raise NotHealthy(what, **where(task))
