"""What the files of one guest are called; all begin with the name of its domain."""

from __future__ import annotations

from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.domain import GuestVolumes
from nornir_torque_vm.storage import Storage


def overlay_name(domain: str) -> str:
    """The guest's disk: what it writes, on top of the base image."""
    return f"{domain}.qcow2"


def seed_name(domain: str) -> str:
    """What cloud-init reads."""
    return f"{domain}-seed.iso"


def console_name(domain: str) -> str:
    """What the guest prints on its serial console."""
    return f"{domain}-console.log"


def volumes_of(guest: Guest, storage: Storage, disks: Storage) -> GuestVolumes:
    """Paths of the guest's files on its node.

    :param disks: where its disk is; the same as ``storage`` unless that is in memory.
    """
    return GuestVolumes(
        overlay=disks.path(overlay_name(guest.domain)),
        seed=storage.path(seed_name(guest.domain)),
        console_log=storage.path(console_name(guest.domain)),
    )
