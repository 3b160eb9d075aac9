"""Monitoring by snap: a task of the daemon on each node of a job, for as long as the job has guests there.

Facts (snap 2.0, ``cmd/snaptel/task.go``): a task has a name of ours and an id of snap's; ``task list`` shows
both, one task a line, cells apart by tabs, names in full where the output is no terminal; ``stop`` and
``remove`` take the id, and ``remove`` wants a task that was stopped. So nothing has to be remembered.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component, OnFailure
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import NodeShellError
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.hostdata import node_of, plan_of, settings_of
from nornir_torque_vm.model import Node
from nornir_torque_vm.monitoring.manifest import manifest_for
from nornir_torque_vm.request import Request
from nornir_torque_vm.tasks.common import storage_of
from nornir_torque_vm.tasks.node_command import must_on_node
from nornir_torque_vm.tasks.selection import is_of_job

NAME = "monitoring"
END = "-snap"
FILE_END = f"{END}.json"


@dataclasses.dataclass(frozen=True, slots=True)
class SnapTask:
    """A task of the daemon."""

    id: str
    name: str
    state: str


def component(settings: Settings) -> Component:  # noqa: ARG001 - it has one form only
    """Return the component."""
    return Component(
        name=NAME,
        wanted=wanted,
        start=create_task,
        verify=verify_task,
        stop=remove_tasks,
        find=find_tasks,
        failure=OnFailure.WARN,
        share=0.1,
    )


def wanted(request: Request, settings: Settings, node: Node) -> bool:  # noqa: ARG001 - as all components
    """Every job has it, everywhere."""
    return True


def create_task(task: Task) -> Result:
    """Nornir task: have the daemon watch the node for the job.

    :raises SettingsError: the site's manifest cannot be used.
    :raises NodeShellError: the daemon refuses, or does not run.
    """
    job, storage = plan_of(task.host).job, storage_of(task)
    name = job_tag(job) + END
    if any(one.name == name for one in _tasks(task)):
        return Result(host=task.host, result=name)
    file = job_tag(job) + FILE_END
    path = storage.put(file, manifest_for(job, settings_of(task.host)))
    try:
        _snaptel(task, "create", "-t", path, "-n", name)
    finally:
        storage.remove(file)
    return Result(host=task.host, result=name, changed=True)


def verify_task(task: Task) -> Result:
    """Nornir task: see that the job's task runs.

    :raises NodeShellError: it does not.
    """
    name = job_tag(plan_of(task.host).job) + END
    states = [one.state for one in _tasks(task) if one.name == name]
    if states != ["Running"]:
        found = f"is {states[0].lower()}" if states else "is not there"
        raise NodeShellError(f"the task of snap {found}", hint="ask snapteld's log", node=node_of(task.host))
    return Result(host=task.host)


def remove_tasks(task: Task, job_id: str, tags: Collection[str] | None = None) -> Result:
    """Nornir task: stop and remove the tasks of a job on a node, as the daemon has them.

    Arguments:
        job_id: whose: ``17.head``; ``17`` for that number of any server
        tags: only of the attempts with these tags; of any by default

    Raises:
        InventoryError: no job id
        NodeShellError: the daemon refuses, or does not run
    """
    storage = storage_of(task)
    files = [storage.remove(name) for name in _files(task) if is_of_job(name, job_id, tags)]
    found = [one for one in _tasks(task) if is_of_job(one.name, job_id, tags)]
    for one in found:
        if one.state != "Stopped":
            _snaptel(task, "stop", one.id)
        _snaptel(task, "remove", one.id)
    return Result(host=task.host, changed=bool(found) or any(files))


def find_tasks(task: Task) -> Result:
    """Nornir task: names of all tasks of jobs on a node."""
    return Result(host=task.host, result=[*(one.name for one in _tasks(task)), *_files(task)])


def read_tasks(text: str) -> list[SnapTask]:
    """Read what ``snaptel task list`` printed; only tasks of ours. Pure."""
    lines = ([cell.strip() for cell in re.split(r"\t+", line)] for line in text.splitlines())
    return [SnapTask(*cells[:3]) for cells in lines if len(cells) > 2 and cells[1].startswith(DOMAIN_PREFIX)]


def _tasks(task: Task) -> list[SnapTask]:
    return [one for one in read_tasks(_snaptel(task, "list")) if one.name.endswith(END)]


def _files(task: Task) -> list[str]:
    return [name for name in storage_of(task).names(DOMAIN_PREFIX) if FILE_END in name]


def _snaptel(task: Task, *words: str) -> str:
    return must_on_node(task, [f"{settings_of(task.host).snap_bin_dir}/snaptel", "task", *words]).stdout
