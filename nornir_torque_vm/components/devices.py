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


@dataclasses.dataclass(frozen=True, slots=True)
class SharedMemory:
    """A piece of its node's memory that a guest finds as a PCI device (ivshmem, without a server)."""

    name: str
    """Of the file in the node's ``/dev/shm``."""
    size: int
    """Bytes: a power of two, as the size of a PCI device's memory is."""


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkFunction:
    """A network card of the node's own that a guest gets: one of a libvirt network of virtual functions."""

    network: str
    """Name of the network, whose ``forward`` mode is ``hostdev``."""
    mac: str = ""
    """Empty: libvirt makes one up."""


@dataclasses.dataclass(frozen=True, slots=True)
class EmulatorDevice:
    """A device that only the site's own emulator knows, as its ``-device`` takes it."""

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
