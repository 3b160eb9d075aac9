"""Task: introduce the guests of a job to each other."""

from __future__ import annotations

from collections.abc import Mapping

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.inventory.hostdata import keys_of, plan_of, settings_of
from nornir_torque_vm.render.cloudinit.accounts import WRONG_ACCOUNT, account_check
from nornir_torque_vm.render.roster import roster_script
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where

CONNECTION_NAME = GUEST_SSH


def publish_roster(task: Task, addresses: Mapping[str, str] | None = None) -> Result:
    """Tell a guest the names, addresses and host keys of all guests, and give its user the job's key.

    Arguments:
        addresses: guest name → IPv4 address; by default those of the inventory's hosts

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): always True: the guest's files are written anew

    Raises:
        NoAddress: the address of a guest of the job is not known
        NotHealthy: the guest could not be reached or refused, or has another account for the job's owner
    """
    plan, keys = plan_of(task.host), keys_of(task.host)
    known = _addresses(task) if addresses is None else addresses
    script = account_check(plan.job.owner) + roster_script(
        plan, known, keys, domain=settings_of(task.host).host_domain
    )
    current.get().check()
    result = connection(task, GUEST_SSH).run("sh -s", stdin=script.encode())
    if result.rc == WRONG_ACCOUNT and result.stderr.strip():
        raise NotHealthy(result.stderr.strip().splitlines()[-1], hint="correct the image", **where(task))
    if not result.ok:
        raise NotHealthy(f"cannot write its list of guests: {result.summary()}", **where(task))
    return Result(host=task.host, changed=True)


def _addresses(task: Task) -> dict[str, str]:
    return {name: host.hostname for name, host in task.nornir.inventory.hosts.items() if host.hostname}
