"""From a request and the settings to the shape of a job's guests. Pure."""

from __future__ import annotations

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.model import Shape
from nornir_torque_vm.request import Request
from nornir_torque_vm.sizes import UNITS

DOMAIN_TYPES = {"kvm": "kvm", "skvm": "kvm", "qemu": "qemu"}
"""Value of the key ``hypervisor`` → libvirt domain type; skvm differs by its emulator only."""


def shape_of(request: Request, settings: Settings) -> Shape:
    """Return what the guests of a job are.

    :raises RequestError: the site has no emulator of its own that was asked for, or no disks in memory.
    :raises SettingsError: nor has it any though they are its default.
    """
    hypervisor = _asked(request.hypervisor, settings.hypervisor_default)
    emulator = settings.skvm_emulator if hypervisor == "skvm" else settings.emulator
    if hypervisor == "skvm" and not emulator:
        raise RequestError(
            "hypervisor=skvm is not offered: the site names no emulator for it",
            hint="ask for hypervisor=kvm",
        )
    domain_type = DOMAIN_TYPES[hypervisor]
    arch = _asked(request.arch, settings.arch_default)
    return Shape(
        vcpus=_asked(request.vcpus, settings.vcpus_default),
        ram=_asked(request.ram, settings.ram_default),
        arch=arch,
        domain_type=domain_type,
        ramdisk=_ramdisk(request, settings),
        emulator=emulator.replace("{arch}", arch),
        machine=settings.machine_type,
        cpu=settings.cpu_model_emulated if domain_type == "qemu" else settings.cpu_model,
    )


def _ramdisk(request: Request, settings: Settings) -> int:
    """Bytes of memory for the disk of each guest; 0 where it is to be in the volume directory."""
    if _asked(request.fs_type, settings.filesystem_type_default) != "ramdisk":
        return 0
    if settings.ramdisk_dir:
        return settings.ramdisk_mb * UNITS["M"]
    why = "the site has no disks in memory"
    if request.fs_type:
        raise RequestError(f"fs_type=ramdisk is not offered: {why}", hint="ask for fs_type=sharedfs")
    raise SettingsError(f"filesystem_type_default is ramdisk, but {why}", hint="set ramdisk_dir")


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def _asked(value: T | None, default: T) -> T:
    return default if value is None else value
