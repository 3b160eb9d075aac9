"""Task: start a guest."""

from __future__ import annotations

import contextlib
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.baseimages.own import not_opened
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.connections.libvirt import map_error
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.datadisk.beyond import QUESTION, check_opened
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, HypervisorUnreachable, ImageError
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of, settings_of
from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.domain import FILES, domain_xml
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of, where
from nornir_torque_vm.tasks.volumes import places_of

CONNECTION_NAME = LIBVIRT

_DEFINE_VALIDATE = 1
"""``VIR_DOMAIN_DEFINE_VALIDATE``: the same for a domain that is defined first."""
_PAUSED = 1
"""``VIR_DOMAIN_START_PAUSED``: the emulator is there, and its guest does nothing yet."""
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
        ImageError: the image is the user's own, who may not read it on this node; or the user's disk leads to
            another file
        StorageError: the file system of the user's own image does not answer
        DeadlineExceeded: the time is up; nothing was started
    """
    host, guest, settings = task.host, guest_of(task.host), settings_of(task.host)
    xml = domain_xml(plan_of(host), guest, places_of(task).volumes(guest.domain), settings)
    if task.is_dry_run(dry_run):
        return Result(host=host, result=guest.domain, diff=xml, changed=True)
    conn = connection(task)
    current.get().check()
    disk = host.get("disk") if plan_of(host).disk and guest.rank == 0 else None
    changed = _create(task, conn, guest, xml, disk)
    host.data["started"] = changed
    return Result(host=host, result=guest.domain, changed=changed)


def _create(task: Task, conn: Any, guest: Guest, xml: str, disk: int | None) -> bool:
    """Create the domain; False when it runs already.

    :param disk: descriptor of the user's disk, if the guest has it.
    """
    from libvirt import libvirtError

    try:
        # The test driver would check inside this process: 16 ms each, and not thread-safe.
        if disk is not None:
            domain = _create_with(task, conn, xml, disk)
        else:
            domain = conn.createXML(xml, 0 if is_test(uri_of(task.host)) else _START_VALIDATE)
    except libvirtError as exc:
        error = map_error(exc, **where(task))
        if isinstance(error, HypervisorUnreachable) or not _runs_already(conn, guest):
            plan = plan_of(task.host)
            raise (not_opened(plan.image, plan.job.owner, str(exc), **where(task)) or error) from exc
        return False
    try:
        current.get().check()
    except DeadlineExceeded:
        # Given up while libvirt worked: whoever cleaned up may have been here before the guest was.
        with contextlib.suppress(libvirtError):
            domain.destroy()
        raise
    return True


def _create_with(task: Task, conn: Any, xml: str, disk: int) -> Any:
    """Create a domain whose emulator is given an open file.

    libvirt takes one for a domain that is defined only (virDomainFDAssociate, 9.0). So it is defined for a
    moment; killed in between, whoever removes the job's guests finds it like any other, see ``ending``.
    """
    from libvirt import libvirtError

    domain = conn.defineXMLFlags(xml, _DEFINE_VALIDATE)
    try:
        if not hasattr(domain, "FDAssociate"):
            raise HypervisorError(
                "libvirt here cannot give a guest an open file", hint="it takes 9.0 or later", **where(task)
            )
        domain.FDAssociate(FILES, [disk], 0)
        domain.createWithFlags(_PAUSED)
        try:
            _look_beyond(task, domain)
            domain.resume()
        except BaseException:
            with contextlib.suppress(libvirtError):
                domain.destroy()
            raise
    finally:
        with contextlib.suppress(libvirtError):  # a running one goes on without: it is transient then
            domain.undefine()
    return domain


def _look_beyond(task: Task, domain: Any) -> None:
    """Make sure that the emulator has nothing open but what libvirt told it to.

    :raises ImageError: the header of the user's disk led it elsewhere.
    :raises HypervisorError: it does not say.
    """
    from libvirt_qemu import qemuMonitorCommand

    disk = plan_of(task.host).disk
    try:
        check_opened(qemuMonitorCommand(domain, QUESTION, 0), f"disk {show(disk.path if disk else '')}")
    except (ImageError, HypervisorError) as error:
        raise type(error)(error.what, hint=error.hint, **where(task)) from error


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
