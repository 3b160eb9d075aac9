"""Task: give a guest its user's files."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.inventory.hostdata import plan_of, settings_of
from nornir_torque_vm.model import Plan, UserFiles
from nornir_torque_vm.render.mounts import mount_script
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where
from nornir_torque_vm.tasks.node_address import resolve

CONNECTION_NAME = GUEST_SSH
SECONDS = 90.0
"""How long mounting may take: a file server that does not answer is waited for in the kernel."""


def mount_files(task: Task) -> Result:
    """Mount the home and the work directories of the job's owner in a guest, as the plan says.

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): False when the plan gives guests no files

    Raises:
        NotHealthy: a directory was not mounted, or the guest could not be reached; says why
        DeadlineExceeded: the time is up
    """
    plan = plan_of(task.host)
    if not plan.user_dirs:
        return Result(host=task.host, changed=False)
    servers = _servers(task, plan) if plan.user_files is UserFiles.NFS else {}
    script = mount_script(plan, settings_of(task.host).nfs_options, servers)
    current.get().check()
    result = connection(task, GUEST_SSH).run("sh -s", stdin=script.encode(), timeout=SECONDS)
    if not result.ok:
        reason = (result.stderr.strip().splitlines() or [result.summary()])[-1].strip()
        raise NotHealthy(
            f"it has no files of {plan.job.owner.name} by {plan.user_files}: {reason}",
            hint="see user_files in docs/security.md",
            **where(task),
        )
    return Result(host=task.host, changed=True)


def _servers(task: Task, plan: Plan) -> dict[str, str]:
    """The addresses of the plan's file servers, by name.

    :raises NotHealthy: one has none.
    """
    names = {one.source.partition(":")[0] for one in plan.user_dirs}
    found = {name: resolve(name) for name in sorted(names)}
    for name, address in found.items():
        if not address:
            raise NotHealthy(
                f"the file server {name} has no IPv4 address here", hint="correct nfs_sources", **where(task)
            )
    return found
