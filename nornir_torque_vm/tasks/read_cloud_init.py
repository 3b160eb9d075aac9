"""Task: read the end of what cloud-init printed in a guest."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where

CONNECTION_NAME = GUEST_SSH

LOG = "/var/log/cloud-init-output.log"
"""Where cloud-init, and what it runs, prints to (its documentation, "Log files")."""


def read_cloud_init(task: Task, limit: int) -> Result:
    """Read the end of cloud-init's output, over ssh.

    Arguments:
        limit: bytes at most

    Returns:
        Result object with the following attributes set:
          * result (``bytes``): as the guest wrote them: for a terminal only through
            :func:`~nornir_torque_vm.consoletext.lines_of`

    Raises:
        NotHealthy: the guest could not be reached, or has no such file
    """
    result = connection(task, GUEST_SSH).run(f"tail -c {limit:d} {LOG}")
    if not result.ok:
        raise NotHealthy(f"cannot read {LOG}: {result.summary()}", **where(task))
    return Result(host=task.host, result=result.stdout.encode())
