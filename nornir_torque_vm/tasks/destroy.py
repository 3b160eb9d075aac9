"""Task: remove guests and their files."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.inventory.hostdata import guest_of, is_guest, node_of, settings_of
from nornir_torque_vm.model import Plan
from nornir_torque_vm.storage import Kind, Storage
from nornir_torque_vm.tasks.common import LIBVIRT, all_storages, candidates, connection, folder_of, uri_of
from nornir_torque_vm.tasks.ending import Ending
from nornir_torque_vm.tasks.selection import Selection, of_guest, of_job, of_job_id, of_names, volumes_of

CONNECTION_NAME = LIBVIRT


@dataclasses.dataclass(frozen=True, slots=True)
class Destroyed:
    """What was removed: names of domains and of volumes; in a dry run, what would be."""

    domains: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Folders of guests that only their node itself can remove: they are closed."""


def destroy(
    task: Task,
    job_id: str | None = None,
    attempt: int | None = None,
    domains: Collection[str] | None = None,
    graceful: float = 0.0,
    dry_run: bool | None = None,
) -> Result:
    """Remove a job's guests from a node, by asking its libvirt what there is; on a guest, that guest.

    What is gone already is a success. Domains that are not ours are never touched.

    Arguments:
        job_id: on nodes, whose guests: ``17.head``; ``17`` for that number of any server. By
            default the job of the inventory's plan, this attempt of it alone
        attempt: only this attempt; any by default
        domains: with job_id, only its guests with these domain names; any by default
        graceful: seconds the guests get to shut down by themselves; none by default
        dry_run: only say what would be removed

    Returns:
        Result object with the following attributes set:
          * result (:class:`Destroyed`): what was removed
          * changed (``bool``): whether there was anything

    Raises:
        InventoryError: nobody says which job
        HypervisorError: libvirt refuses or cannot be reached
        StorageError: a file could not be removed
        DeadlineExceeded: the time was up before all was gone
    """
    host, node, dry = task.host, node_of(task.host), task.is_dry_run(dry_run)
    chosen = _selection(task, job_id, attempt, domains)
    found = candidates(connection(task), node, chosen.prefix)
    files = list[tuple[str, Kind, Storage]]()

    def look() -> None:
        for kind, storage in all_storages(task).items():
            files.extend((name, kind, storage) for name in storage.names(chosen.prefix))

    ending = Ending(node, chosen, graceful=graceful, dry=dry)
    ending.run(
        {name: domain for name, (domain, _) in found.items() if domains is None or name in domains},
        uri_of(host),
        settings_of(host).max_connections_per_node,
        meanwhile=look,
    )
    meant = volumes_of(chosen, (name for name, *_ in files), {*ending.spared, *ending.failures})
    removed, left = set(meant) if dry else set[str](), set[str]()
    if not dry:
        current.get().check()
        for name, kind, storage in files:
            if name not in meant:
                continue
            if chosen.domain.fullmatch(name) is not None:
                (removed if folder_of(task, name, kind).dispose() else left).add(name)
            elif storage.remove(name):
                removed.add(name)
    gone = Destroyed(*(tuple(sorted(names)) for names in (ending.ended, removed, left)))
    changed, error = bool(gone.domains or gone.volumes), ending.error()
    return Result(host=host, result=gone, changed=changed, failed=error is not None, exception=error)


def _selection(
    task: Task, job_id: str | None, attempt: int | None, domains: Collection[str] | None
) -> Selection:
    if is_guest(task.host):
        return of_guest(guest_of(task.host))
    if job_id is not None:
        if domains is not None:
            return of_names(job_id, domains, attempt)
        return of_job_id(job_id, attempt)
    plan = task.host.get("plan")
    if not isinstance(plan, Plan):
        raise InventoryError(
            "nobody says which job's guests to destroy", hint="give job_id", node=task.host.name
        )
    return of_job(plan.job)
