"""Task: remove guests and their files."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, OPERATION_INVALID, lease, map_error
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import HypervisorError, InventoryError, TorqueVMError
from nornir_torque_vm.inventory.hostdata import guest_of, is_guest, node_of, settings_of
from nornir_torque_vm.model import Plan
from nornir_torque_vm.tasks.common import LIBVIRT, connection, our_domains, storage_of, uri_of
from nornir_torque_vm.tasks.parallel import in_parallel
from nornir_torque_vm.tasks.selection import Selection, of_guest, of_job, of_job_id, volumes_of

CONNECTION_NAME = LIBVIRT

LANE = 5
"""Requests that libvirtd serves of one connection at a time."""
LANES = 4
"""Connections to one node at most: 20 requests, as many as libvirtd has workers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Destroyed:
    """What was removed: names of domains and of volumes; in a dry run, what would be."""

    domains: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def destroy(
    task: Task,
    job_id: str | None = None,
    attempt: int | None = None,
    graceful: float = 0.0,
    dry_run: bool | None = None,
) -> Result:
    """Remove a job's guests from a node, by asking its libvirt what there is; on a guest, that guest.

    What is gone already is a success. Domains that are not ours are never touched.

    Arguments:
        job_id: on nodes, whose guests: ``17.head``; ``17`` for that number of any server. By
            default the job of the inventory's plan, this attempt of it alone
        attempt: only this attempt; any by default
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
    host, node = task.host, node_of(task.host)
    chosen = _selection(task, job_id, attempt)
    conn = connection(task)
    domains = our_domains(conn, node, chosen.prefix)
    doomed = {guest.domain: domain for domain, guest in domains if chosen.wants(guest)}
    spared = {guest.domain for _, guest in domains} - doomed.keys()
    failures: dict[str, BaseException] = {}
    wet = not task.is_dry_run(dry_run)
    if wet:
        failures = _end_domains(task, doomed, graceful)
    storage = storage_of(task)
    volumes = volumes_of(chosen, storage.names(chosen.prefix), spared | failures.keys())
    if wet:
        current.get().check()
        volumes = [name for name in volumes if storage.remove(name)]
    gone = Destroyed(tuple(name for name in doomed if name not in failures), tuple(volumes))
    changed = bool(gone.domains or gone.volumes)
    error = _combined(failures, node)
    return Result(host=host, result=gone, changed=changed, failed=error is not None, exception=error)


def _selection(task: Task, job_id: str | None, attempt: int | None) -> Selection:
    if is_guest(task.host):
        return of_guest(guest_of(task.host))
    if job_id is not None:
        return of_job_id(job_id, attempt)
    plan = task.host.get("plan")
    if not isinstance(plan, Plan):
        raise InventoryError(
            "nobody says which job's guests to destroy", hint="give job_id", node=task.host.name
        )
    return of_job(plan.job)


def _end_domains(task: Task, doomed: dict[str, Any], graceful: float) -> dict[str, BaseException]:
    """End all domains, up to twenty at a time; return what kept those from ending that still exist."""
    node = node_of(task.host)
    names = list(doomed)
    lanes = min(LANES, settings_of(task.host).max_connections_per_node, math.ceil(len(names) / LANE))
    failures: dict[str, BaseException] = {}

    def run_lane(number: int) -> None:
        mine = names[number::lanes]
        if number == 0:
            failures.update(_end_some(mine, lambda name: doomed[name], node, graceful))
            return
        with lease(uri_of(task.host), node) as conn:
            failures.update(_end_some(mine, conn.lookupByName, node, graceful))

    if lanes:
        broken = in_parallel(run_lane, range(lanes), lanes, f"destroy on {node}")
        for number, error in broken.items():
            if error is not None:
                failures.update(dict.fromkeys(names[number::lanes], error))
    return failures


def _end_some(
    names: Sequence[str], find: Callable[[str], Any], node: str, graceful: float
) -> dict[str, BaseException]:
    """End domains over one connection; return what went wrong, by name."""
    outcome = in_parallel(lambda name: _end(find, name, node, graceful), names, LANE, f"destroy on {node}")
    return {name: error for name, error in outcome.items() if error is not None}


def _end(find: Callable[[str], Any], name: str, node: str, graceful: float) -> None:
    """End one domain; one that is gone is a success.

    :raises HypervisorError: it is still there.
    """
    from libvirt import libvirtError

    current.get().check()
    try:
        domain = find(name)
        if graceful > 0.0:
            _ask_to_stop(domain, graceful)
        current.get().check()
        domain.destroy()
    except libvirtError as exc:
        if exc.get_error_code() not in (NO_DOMAIN, OPERATION_INVALID):
            raise map_error(exc, node) from exc


def _ask_to_stop(domain: Any, seconds: float) -> None:
    """Press the power button and wait; that a guest ignores it is no error.

    :raises libvirt.libvirtError: the guest is gone.
    """
    from libvirt import libvirtError

    with contextlib.suppress(libvirtError):
        domain.shutdown()
    for _ in Deadline.after(current.get().clamp(seconds)).backoff(longest=0.5):
        domain.state()


def _combined(failures: dict[str, BaseException], node: str) -> BaseException | None:
    """One error for all that failed: the only one itself, or one that counts them."""
    if not failures:
        return None
    first = next(iter(failures.values()))
    if len(failures) == 1 or not isinstance(first, TorqueVMError):
        return first
    what = f"{len(failures)} guests could not be destroyed, the first because: {first.what}"
    if isinstance(first, HypervisorError):
        return type(first)(what, code=first.code, hint=first.hint, node=node)
    return type(first)(what, node=node)
