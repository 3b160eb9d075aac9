"""Whether what a job asks for fits on a node: at all, or beside the guests that are there now. Pure."""

from __future__ import annotations

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import BusyError, RequestError, SettingsError, StorageError
from nornir_torque_vm.model import NodeFacts, Shape
from nornir_torque_vm.pinning.placement import processors_for_guests
from nornir_torque_vm.sizes import UNITS, format_size


def check_size(fact: NodeFacts, shape: Shape, per_node: int, settings: Settings, shared: int) -> None:
    """Refuse what the node could not hold if it were empty.

    :param shared: bytes of memory that the guests there have together, beside their own.
    """
    cpus, memory = processors_for_guests(fact, settings), _usable_memory(fact, settings)
    if cpus < 1 or memory < 1:
        raise SettingsError(
            f"nothing is left for guests of {fact.cpus} processors and {_mib(fact.memory)}",
            hint="lower host_os_core_count or host_os_ram_mb in the settings",
            node=fact.node,
        )
    if shape.vcpus > cpus:
        raise RequestError(
            f"vcpus={shape.vcpus} is more than the {cpus} processors guests may use here",
            hint=f"ask for at most vcpus={cpus}",
            node=fact.node,
        )
    if per_node * (shape.ram + shape.ramdisk) + shared > memory:
        keys = "ram=, vms_per_node= or unclot_shmem=" if shared else "ram= or vms_per_node="
        raise RequestError(
            f"{_needed(shape, per_node, shared)} is more than the {_mib(memory)} guests may use here",
            hint=f"ask for less with {keys}",
            node=fact.node,
        )


def check_ramdisk(fact: NodeFacts, shape: Shape, per_node: int, settings: Settings, shared: int) -> None:
    """Refuse disks in memory and shared memory for which the node has no file system, or too small a one.

    :param shared: as for :func:`check_size`.
    """
    if not (shape.ramdisk or shared):
        return
    if not fact.ramdisk:
        what = "disks in memory" if shape.ramdisk else "shared memory"
        raise StorageError(
            f"there is no directory {settings.ramdisk_dir} for {what}",
            hint="mount a tmpfs there, or correct ramdisk_dir",
            node=fact.node,
        )
    if shared > fact.ramdisk:
        raise StorageError(
            f"{format_size(shared)} of shared memory is more than {settings.ramdisk_dir} has, "
            f"{_mib(fact.ramdisk)}",
            hint="mount it with a larger size=, or lower unclot_shmem",
            node=fact.node,
        )
    if shape.ramdisk > fact.ramdisk:
        raise SettingsError(
            f"ramdisk_mb is {shape.ramdisk >> 20}, and {settings.ramdisk_dir} has {_mib(fact.ramdisk)}",
            hint="mount a larger tmpfs there, or lower ramdisk_mb",
            node=fact.node,
        )
    if per_node * shape.ramdisk + shared > fact.ramdisk:
        raise RequestError(
            f"{per_node} disks of {format_size(shape.ramdisk)}{_with(shared)} are more than the "
            f"{_mib(fact.ramdisk)} for disks in memory here",
            hint="ask for fewer guests with vms_per_node=, or for fs_type=sharedfs",
            node=fact.node,
        )


def check_room(fact: NodeFacts, shape: Shape, per_node: int, settings: Settings, shared: int) -> None:
    """Refuse for now what does not fit beside the guests that are there.

    :param shared: as for :func:`check_size`.
    """
    if fact.guests + per_node > settings.max_vms_per_node:
        raise BusyError(
            f"{fact.guests} guests are there and {per_node} more would exceed {settings.max_vms_per_node}",
            hint="try again when other jobs have ended",
            node=fact.node,
        )
    free = _usable_memory(fact, settings) - fact.guests_memory
    if per_node * (shape.ram + shape.ramdisk) + shared > free:
        raise BusyError(
            f"{_needed(shape, per_node, shared)} is more than the "
            f"{_mib(max(0, free))} other guests have left",
            hint="try again when other jobs have ended",
            node=fact.node,
        )
    free = fact.ramdisk - fact.guests_ramdisk
    if per_node * shape.ramdisk + shared > free:
        disks = f"a disk of {format_size(shape.ramdisk)} in memory{_for_each(per_node)}{_with(shared)}"
        what = disks if shape.ramdisk else f"{format_size(shared)} of shared memory"
        raise BusyError(
            f"{what} is more than the {_mib(max(0, free))} other guests have left of {settings.ramdisk_dir}",
            hint="try again when other jobs have ended",
            node=fact.node,
        )


def _usable_memory(fact: NodeFacts, settings: Settings) -> int:
    """Bytes for all guests of all jobs together."""
    return fact.memory - settings.host_os_ram_mb * UNITS["M"]


def _needed(shape: Shape, per_node: int, shared: int) -> str:
    disk = f" and a disk of {format_size(shape.ramdisk)} in memory" if shape.ramdisk else ""
    return f"ram={format_size(shape.ram)}{disk}{_for_each(per_node)}{_with(shared)}"


def _with(shared: int) -> str:
    return f" with {format_size(shared)} of shared memory" if shared else ""


def _for_each(per_node: int) -> str:
    return "" if per_node == 1 else f" for {per_node} guests"


def _mib(size: int) -> str:
    """Whole MiB, rounded down: what a machine has is never a round number."""
    return f"{size >> 20}M"
