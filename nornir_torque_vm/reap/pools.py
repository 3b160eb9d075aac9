"""Storage pools on this node whose directories are gone: of folders of guests, of hand-overs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from nornir.core.task import Result, Task

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.identity import is_job_id
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.runstate.handover import HANDOVERS
from nornir_torque_vm.storage import RAMDISK, VOLUMES, Kind, run_state
from nornir_torque_vm.storage.folder import FILLING
from nornir_torque_vm.tasks.common import connection, folder_of, uri_of
from nornir_torque_vm.tasks.hand_over import sealed


def close_pools(task: Task) -> Result:
    """Nornir task: have libvirt give up the pools whose directory is not on this node any more.

    Somebody was killed, or removed the files by hand. A pool that is being made has its directory before
    libvirt tells of it, so it is left alone.
    """
    host, settings = task.host, settings_of(task.host)
    if uri_of(host).startswith("test:"):
        return Result(host=host)
    with mapped(node_of(host)):
        names = [pool.name() for pool in connection(task).listAllStoragePools()]
    jobs, folders = list(_hand_overs(names, settings)), list(_folders(names, settings))
    for job_id in jobs:
        sealed(task, job_id).close()
    for kind, folder in folders:
        folder_of(task, folder, kind).dispose()
    gone = [*jobs, *(folder for _, folder in folders)]
    return Result(host=host, result=gone, changed=bool(gone))


def _hand_overs(names: Sequence[str], settings: Settings) -> Iterator[str]:
    """Ids of the jobs whose hand-overs have a pool and no directory, sorted."""
    start, around = f"{run_state(HANDOVERS).pool}-", f"{settings.run_dir}/{HANDOVERS}"
    jobs = {name.removeprefix(start).partition("+")[0] for name in names if name.startswith(start)}
    for job_id in sorted(jobs):
        if is_job_id(job_id) and not os.path.lexists(f"{around}/{job_id}"):
            yield job_id


def _folders(names: Sequence[str], settings: Settings) -> Iterator[tuple[Kind, str]]:
    """Folders that have a pool and no directory, sorted, and where they were."""
    for kind in (VOLUMES, RAMDISK):
        start, around = f"{kind.pool}-", kind.directory(settings)
        found = {name.removeprefix(start).removesuffix(FILLING) for name in names if name.startswith(start)}
        for folder in sorted(found):
            if folder.startswith(DOMAIN_PREFIX) and not os.path.lexists(f"{around}/{folder}"):
                yield kind, folder
