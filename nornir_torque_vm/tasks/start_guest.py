"""Task: start a guest."""

from __future__ import annotations

import contextlib
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import map_error
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, HypervisorUnreachable
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of, settings_of
from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.tasks.common import LIBVIRT, connection, disk_storage_of, storage_of, uri_of, where
from nornir_torque_vm.tasks.volumes import volumes_of

CONNECTION_NAME = LIBVIRT

_START_VALIDATE = 16
"""``VIR_DOMAIN_START_VALIDATE``: libvirt checks the XML against its schema, and so refuses what an old
libvirt would otherwise ignore."""


def start_guest(task: Task, dry_run: bool | None = None) -> Result:
    """Create the guest's domain, transient: nothing of it outlives the guest or its node.

    A guest that runs already is left as it is.

    Arguments:
        dry_run: only show the domain's XML

    Returns:
        Result object with the following attributes set:
          * result (``str``): name of the domain
          * changed (``bool``): False when it was running already
          * diff (``str``): the XML, in a dry run

    Raises:
        HypervisorError: libvirt refuses, or another domain has the name
        DeadlineExceeded: the time is up; nothing was started
    """
    host, guest, settings = task.host, guest_of(task.host), settings_of(task.host)
    volumes = volumes_of(guest, storage_of(task), disk_storage_of(task, guest.shape))
    xml = domain_xml(plan_of(host), guest, volumes, settings)
    if task.is_dry_run(dry_run):
        return Result(host=host, result=guest.domain, diff=xml, changed=True)
    conn = connection(task)
    current.get().check()
    changed = _create(task, conn, guest, xml)
    host.data["started"] = changed
    return Result(host=host, result=guest.domain, changed=changed)


def _create(task: Task, conn: Any, guest: Guest, xml: str) -> bool:
    """Create the domain; False when it runs already."""
    from libvirt import libvirtError

    try:
        # The test driver would check inside this process: 16 ms each, and not thread-safe.
        domain = conn.createXML(xml, 0 if is_test(uri_of(task.host)) else _START_VALIDATE)
    except libvirtError as exc:
        error = map_error(exc, **where(task))
        if isinstance(error, HypervisorUnreachable) or not _runs_already(conn, guest):
            raise error from exc
        return False
    try:
        current.get().check()
    except DeadlineExceeded:
        # Given up while libvirt worked: whoever cleaned up may have been here before the guest was.
        with contextlib.suppress(libvirtError):
            domain.destroy()
        raise
    return True


def _runs_already(conn: Any, guest: Guest) -> bool:
    """Whether the guest itself, not something of the same name, is active.

    Asked only after a refusal: what drivers say of an existing domain differs (codes 1, 9, 55).

    :raises HypervisorError: another domain has its name.
    """
    from libvirt import libvirtError

    try:
        domain = conn.lookupByName(guest.domain)
        same, active = domain.UUIDString() == guest.uuid, bool(domain.isActive())
    except libvirtError:
        return False
    if not same:
        what = f"a domain {guest.domain} exists that is not this guest"
        raise HypervisorError(what, hint="destroy what is left of the job's earlier attempt",
                              node=guest.node, guest=guest.name)  # fmt: skip
    return active
