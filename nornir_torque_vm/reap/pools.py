"""Storage pools of hand-overs on this node whose makers were killed."""

from __future__ import annotations

import os

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.identity import is_job_id
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.runstate.handover import HANDOVERS
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.tasks.common import connection, uri_of
from nornir_torque_vm.tasks.hand_over import sealed


def close_pools(task: Task) -> Result:
    """Nornir task: have libvirt give up the pools of hand-overs that are not on this node any more.

    One that is being made has its directory before its pool, so it is left alone.
    """
    host = task.host
    if uri_of(host).startswith("test:"):
        return Result(host=host)
    with mapped(node_of(host)):
        names = [pool.name() for pool in connection(task).listAllStoragePools()]
    start, folder = f"{run_state(HANDOVERS).pool}-", f"{settings_of(host).run_dir}/{HANDOVERS}"
    jobs = {name.removeprefix(start).partition("+")[0] for name in names if name.startswith(start)}
    gone = [job for job in sorted(jobs) if is_job_id(job) and not os.path.lexists(f"{folder}/{job}")]
    for job_id in gone:
        sealed(task, job_id).close()
    return Result(host=host, result=gone, changed=bool(gone))
