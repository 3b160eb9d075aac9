"""Task: give a guest its disk and its seed."""

from __future__ import annotations

import dataclasses

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, map_error
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.inventory.hostdata import guest_of, keys_of, plan_of, settings_of
from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.cloudinit.iso import seed_iso
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.render.cloudinit.sitefile import site_metadata
from nornir_torque_vm.tasks.common import LIBVIRT, connection, uri_of, where
from nornir_torque_vm.tasks.node_address import node_address
from nornir_torque_vm.tasks.volumes import closed_when_ready, console_name, overlay_name, places_of, seed_name

CONNECTION_NAME = LIBVIRT


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Paths, on the node, of what the guest starts from."""

    overlay: str
    seed: str


def prepare_image(task: Task, dry_run: bool | None = None) -> Result:
    """Put an empty disk on top of the job's image, and a cloud-init seed, on the guest's node.

    What an earlier try left is replaced, except under a guest that is running.

    Arguments:
        dry_run: only say where the files would be

    Returns:
        Result object with the following attributes set:
          * result (:class:`Prepared`): the files
          * changed (``bool``): False when the guest is running

    Raises:
        StorageError: no space, or the node's storage cannot be used
        HypervisorError: libvirt refuses or cannot be reached
        SettingsError: the site's own cloud-init settings cannot be used
        DeadlineExceeded: the time is up
    """
    host, guest, plan, settings = task.host, guest_of(task.host), plan_of(task.host), settings_of(task.host)
    places = places_of(task)
    overlay, seed = overlay_name(guest.domain), seed_name(guest.domain)
    found = Prepared(places.disks.path(overlay), places.seeds.path(seed))
    if _exists(task, guest):
        return Result(host=host, result=found, changed=False)
    if not task.is_dry_run(dry_run):
        site = site_metadata(settings.metadata_file)
        files = seed_files(plan, guest, keys_of(host), node_address(host, plan), settings, site)
        image = dataclasses.replace(plan.image, path=guest.base) if guest.base else plan.image
        # Each checks the deadline before it writes. The seed first: where all of it is in the guest's folder,
        # libvirt looks at that again when the seed has been uploaded.
        places.seeds.put(seed, seed_iso(files))
        places.disks.overlay(overlay, image, guest.shape.ramdisk)
        if not is_test(uri_of(host)):  # which prints nothing
            # libvirt logs into the file that is there, and leaves it its owner.
            owner = (plan.job.owner.uid, plan.job.owner.gid)
            reader = owner if closed_when_ready(plan) else None
            places.consoles.put(console_name(guest.domain), b"", reader=reader)
    return Result(host=host, result=found, changed=True)


def _exists(task: Task, guest: Guest) -> bool:
    """Whether the guest's domain exists: libvirt would let us delete the disk of a running guest."""
    from libvirt import libvirtError

    try:
        connection(task).lookupByName(guest.domain)
    except libvirtError as exc:
        if exc.get_error_code() == NO_DOMAIN:
            return False
        raise map_error(exc, **where(task)) from exc
    return True
