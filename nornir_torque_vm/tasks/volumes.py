"""What the files of one guest are called; all begin with the name of its domain."""

from __future__ import annotations

from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.domain import GuestVolumes
from nornir_torque_vm.settings import Settings


def overlay_name(domain: str) -> str:
    """The guest's disk: what it writes, on top of the base image."""
    return f"{domain}.qcow2"


def seed_name(domain: str) -> str:
    """What cloud-init reads."""
    return f"{domain}-seed.iso"


def console_name(domain: str) -> str:
    """What the guest prints on its serial console."""
    return f"{domain}-console.log"


def volumes_of(guest: Guest, settings: Settings) -> GuestVolumes:
    """Paths of the guest's files on its node."""
    paths = (
        f"{settings.volume_dir}/{name(guest.domain)}" for name in (overlay_name, seed_name, console_name)
    )
    return GuestVolumes(*paths)
