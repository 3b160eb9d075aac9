"""What the files of one guest are called, and where they are; all names begin with that of its domain."""

from __future__ import annotations

import dataclasses

from nornir.core.task import Task

from nornir_torque_vm.inventory.hostdata import guest_of, plan_of
from nornir_torque_vm.model import Distro, Plan
from nornir_torque_vm.render.domain import GuestVolumes
from nornir_torque_vm.storage import RAMDISK, VOLUMES, FolderStorage, Storage
from nornir_torque_vm.tasks.common import folder_of, storage_of
from nornir_torque_vm.userfiles import owner_emulates


def overlay_name(domain: str) -> str:
    """The guest's disk: what it writes, on top of the base image."""
    return f"{domain}.qcow2"


def seed_name(domain: str) -> str:
    """What cloud-init reads."""
    return f"{domain}-seed.iso"


def console_name(domain: str) -> str:
    """What the guest prints on its serial console."""
    return f"{domain}-console.log"


def closed_when_ready(plan: Plan) -> bool:
    """Whether guests' folders hold what is the owner's, and are closed when the guests are ready.

    What programs in guests of OSv print is read when the job ends, on all its nodes. So their consoles are
    root's, and their folders stay open.
    """
    return plan.image.distro is not Distro.OSV or owner_emulates(plan)


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a guest are on its node."""

    disks: Storage
    seeds: Storage
    consoles: Storage
    folders: tuple[FolderStorage, ...]
    """Those of these that are folders of the guest's own."""

    def volumes(self, domain: str) -> GuestVolumes:
        """Paths of the files, of the guest with this domain name."""
        return GuestVolumes(
            overlay=self.disks.path(overlay_name(domain)),
            seed=self.seeds.path(seed_name(domain)),
            console_log=self.consoles.path(console_name(domain)),
        )


def places_of(task: Task) -> Places:
    """Where the files of the host, a guest, are.

    In the guest's folder is what the job's owner can write: the console, which is the owner's; and where
    the owner is also who emulates, whatever the emulator may write or libvirt gives it.
    """
    guest = guest_of(task.host)
    kind, folder = RAMDISK if guest.shape.ramdisk else VOLUMES, folder_of(task, guest.domain)
    if not owner_emulates(plan_of(task.host)):
        return Places(storage_of(task, kind), storage_of(task), folder, (folder,))
    disks = folder if kind is VOLUMES else folder_of(task, guest.domain, kind)
    return Places(disks, folder, folder, (folder,) if disks is folder else (folder, disks))
