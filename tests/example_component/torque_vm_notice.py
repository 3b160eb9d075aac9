"""A component: leaves a note on each node of a job for as long as the job has guests there.

The note lies with the guests' disks and says whose they are. Switched on by ``components = ["notice"]``.
"""

from __future__ import annotations

from collections.abc import Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component, OnFailure
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.hostdata import node_of, plan_of
from nornir_torque_vm.model import Node
from nornir_torque_vm.request import Request
from nornir_torque_vm.tasks.common import storage_of
from nornir_torque_vm.tasks.selection import is_of_job

END = "-notice.txt"


def component(settings: Settings) -> Component:
    """What the entry point leads to."""
    return Component(
        name="notice",
        wanted=wanted,
        start=leave_notice,
        verify=read_notice,
        stop=remove_notice,
        find=find_notices,
        failure=OnFailure.WARN,
        share=0.1,
    )


def wanted(request: Request, settings: Settings, node: Node) -> bool:
    """Every job has it, on all its nodes but those the site has switched off."""
    return not settings.disabled_hosts_list.matches(node.name)


def leave_notice(task: Task) -> Result:
    """Nornir task: write the note."""
    plan = plan_of(task.host)
    guests = len(plan.on(node_of(task.host)))
    text = f"{guests} guests of job {plan.job.id} of {plan.job.owner.name}\n"
    path = storage_of(task).put(job_tag(plan.job) + END, text.encode())
    return Result(host=task.host, result=path, changed=True)


def read_notice(task: Task) -> Result:
    """Nornir task: see that it is there."""
    job = plan_of(task.host).job
    if job.id.encode() not in storage_of(task).read(job_tag(job) + END):
        raise StorageError("the note is another job's", node=node_of(task.host))
    return Result(host=task.host)


def remove_notice(task: Task, job_id: str, tags: Collection[str] | None = None) -> Result:
    """Nornir task: remove the notes of a job, as the node has them."""
    storage = storage_of(task)
    names = [name for name in storage.names(DOMAIN_PREFIX) if name.endswith(END)]
    gone = [storage.remove(name) for name in names if is_of_job(name, job_id, tags)]
    return Result(host=task.host, changed=any(gone))


def find_notices(task: Task) -> Result:
    """Nornir task: all notes on the node."""
    names = storage_of(task).names(DOMAIN_PREFIX)
    return Result(host=task.host, result=[name for name in names if name.endswith(END)])
