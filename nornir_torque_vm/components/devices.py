"""What components add to a guest's domain, as values that the template writes; never as XML. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nornir_torque_vm.model import Guest, Plan

VRDMA = "vrdma"
"""Name of the component whose devices two back ends give."""


_FIRST_SLOT = 24
"""Of the root bus, for shared memory; ``templates/domain.xml.j2`` has what is below it and above it."""


@dataclasses.dataclass(frozen=True, slots=True)
class SharedMemory:
    """A piece of its node's memory that a guest finds as a PCI device (ivshmem, without a server)."""

    name: str
    """Letters, digits and dashes: of what is there once on its node, and of its folder in ``ramdisk_dir``."""
    size: int
    """Bytes: a power of two, as the size of a PCI device's memory is."""
    path: str
    """Of the file on the node, absolute, which is there when the guest starts."""

    def arguments(self, number: int) -> tuple[str, ...]:
        """The emulator's arguments; libvirt's own ``<shmem>`` knows no directory but ``/dev/shm``.

        :param number: how many of these the guest has already.
        """
        name = f"tvm-shared{number}"
        pages = EmulatorDevice(
            "memory-backend-file",
            (("id", name), ("mem-path", self.path), ("size", str(self.size)), ("share", "on")),
        )
        place = f"{_FIRST_SLOT + number:#04x}"  # on the root bus, which every machine calls otherwise
        device = EmulatorDevice("ivshmem-plain", (("memdev", name), ("addr", place)))
        return ("-object", pages.argument, "-device", device.argument)


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkFunction:
    """A network card of the node's own that a guest gets: one of a libvirt network of virtual functions."""

    network: str
    """Name of the network, whose ``forward`` mode is ``hostdev``."""
    mac: str = ""
    """Empty: libvirt makes one up."""


@dataclasses.dataclass(frozen=True, slots=True)
class EmulatorDevice:
    """A device that libvirt does not know, as the emulator's ``-device`` takes it."""

    driver: str
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def argument(self) -> str:
        """Driver and properties in the emulator's notation, in which a comma in a value is doubled."""
        parts = (f"{key}={value.replace(',', ',,')}" for key, value in self.properties)
        return ",".join((self.driver, *parts))


@dataclasses.dataclass(frozen=True, slots=True)
class Extras:
    """All that components add to one guest."""

    iothreads: tuple[int, ...] = ()
    """Processors of the thread that serves its disks, which then has one; empty: the emulator does that."""
    shared_memory: tuple[SharedMemory, ...] = ()
    network_functions: tuple[NetworkFunction, ...] = ()
    emulator_devices: tuple[EmulatorDevice, ...] = ()

    @property
    def emulator_arguments(self) -> tuple[str, ...]:
        """The emulator's arguments for what libvirt does not know."""
        shared = (memory.arguments(number) for number, memory in enumerate(self.shared_memory))
        # Last, what has no place of its own: the emulator gives it one that is free.
        others = (("-device", device.argument) for device in self.emulator_devices)
        return tuple(argument for one in (*shared, *others) for argument in one)


def extras_from(raw: Mapping[str, Any]) -> Extras:
    """Return what ``dataclasses.asdict`` made of an :class:`Extras`, and JSON of that.

    :raises KeyError, TypeError: another form.
    """
    return Extras(
        iothreads=tuple(raw["iothreads"]),
        shared_memory=tuple(SharedMemory(**one) for one in raw["shared_memory"]),
        network_functions=tuple(NetworkFunction(**one) for one in raw["network_functions"]),
        emulator_devices=tuple(
            EmulatorDevice(one["driver"], tuple((key, value) for key, value in one["properties"]))
            for one in raw["emulator_devices"]
        ),
    )


def extended(plan: Plan, name: str, add: Callable[[Extras, Guest], Extras]) -> Plan:
    """Return the plan with more for every guest on the nodes where its job has the component ``name``.

    :param add: what the guest has, and the guest → what it has then.
    """
    nodes = frozenset(node for part in plan.components if part.name == name for node in part.nodes)

    def given(guest: Guest) -> Guest:
        return dataclasses.replace(guest, extras=add(guest.extras or Extras(), guest))

    guests = (given(guest) if guest.node in nodes else guest for guest in plan.guests)
    return dataclasses.replace(plan, guests=tuple(guests))
