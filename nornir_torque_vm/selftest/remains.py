"""What a job that is over has left on a node: looked at, nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nornir.core.task import Result, Task

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.model import Node
from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.volumes import VolumeStorage
from nornir_torque_vm.tasks.common import connection, uri_of
from nornir_torque_vm.tasks.destroy import destroy

FOLDERS = {MARKERS: "its marker", HANDOVERS: "its hand-over"}


def look(
    engine: Engine, settings: Settings, jobs: Mapping[str, str]
) -> tuple[Mapping[str, Sequence[str]], Mapping[str, str]]:
    """Return what is left, by node, and for nodes where that cannot be seen from here why not.

    :param jobs: node → id of the job that was there.
    """
    inventory = node_inventory([Node(name) for name in jobs], settings)
    results = engine.run(inventory, left_of_job, role="node", jobs=jobs)
    left, unseen = dict[str, Sequence[str]](), dict[str, str]()
    for name, multi in results.items():
        if multi.failed:
            unseen[name] = str(getattr(multi[0].exception, "what", "") or "it does not answer")
        else:
            left[name] = multi[0].result
    return left, unseen


def left_of_job(task: Task, jobs: Mapping[str, str]) -> Result:
    """Ask a node's libvirt for domains and files of its job; its result is a list of their names."""
    host, job_id = task.host, jobs[task.host.name]
    found = destroy(task, job_id=job_id, dry_run=True)
    if found.failed:
        return found
    return Result(host=host, result=[*found.result.domains, *found.result.volumes, *_run_state(task, job_id)])


def _run_state(task: Task, job_id: str) -> list[str]:
    """What tells the node's job starter of the job, in words."""
    host = task.host
    run_dir = settings_of(host).run_dir
    if host.get("local") or uri_of(host).startswith("test:"):
        return [word for name, word in FOLDERS.items() if os.path.lexists(f"{run_dir}/{name}/{job_id}")]
    conn, found = connection(task), list[str]()
    for name, word in FOLDERS.items():
        storage = VolumeStorage(conn, f"{run_dir}/{name}", node=node_of(host), kind=run_state(name))
        found += [word] if job_id in storage.names(job_id) else []
    return found
