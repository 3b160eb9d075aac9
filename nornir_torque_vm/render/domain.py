"""The domain XML of one guest, from ``templates/domain.xml.j2``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from markupsafe import Markup

from nornir_torque_vm.addresses.bridge import bridge_of, network_of
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import Guest, Placement, Plan, UserFiles
from nornir_torque_vm.pinning.topology import cpus_text
from nornir_torque_vm.render.datadisk import SERIAL
from nornir_torque_vm.render.metadata import job_element
from nornir_torque_vm.render.templates import fill

if TYPE_CHECKING:
    from nornir_torque_vm.components.devices import Extras, NetworkFunction
    from nornir_torque_vm.config.settings import Settings

TEMPLATE = "domain.xml.j2"
"""Name of the template, built-in or in the site's ``template_dir``."""

FILES = "data"
"""Under this name the emulator is given the user's disk, an open file."""

MACHINES = {"x86_64": "q35", "i686": "q35"}
"""Architecture → machine type where the settings name none. Both boot the pool's BIOS images."""

CPU_MODES = {"kvm": "host-passthrough", "qemu": "maximum"}
"""Domain type → CPU model where the settings name none.

The host's own CPU for hardware virtualization: guests of a job never migrate. Everything the
emulator can do for emulation: its default lacks what today's distributions demand (RHEL 9 stops at
boot without x86-64-v2), and the larger model boots no slower.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class PlacementTexts:
    """A placement as the template writes it; empty where there is nothing to write."""

    cpus: str = ""
    vcpus: tuple[str, ...] = ()
    emulator: str = ""
    cells: str = ""
    memory: str = ""


def placement_texts(placement: Placement | None) -> PlacementTexts:
    """Return the texts of a placement, of an emulated guest as of any other (libvirt 9.0 takes both)."""
    if placement is None:
        return PlacementTexts()
    return PlacementTexts(
        cpus=cpus_text(placement.cpus),
        vcpus=tuple(cpus_text(cpus) for cpus in placement.vcpus),
        emulator=cpus_text(placement.emulator),
        cells=cpus_text(placement.cells),
        memory=placement.memory or "",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ExtrasTexts:
    """What components add, as the template writes it; empty where there is nothing to write."""

    iothreads: str = ""
    """Processors of the thread for the disks."""
    network_functions: tuple[NetworkFunction, ...] = ()
    emulator_arguments: tuple[str, ...] = ()


def extras_texts(extras: Extras | None) -> ExtrasTexts:
    """Return the texts of what components add to a guest."""
    if extras is None:
        return ExtrasTexts()
    return ExtrasTexts(
        iothreads=cpus_text(extras.iothreads),
        network_functions=extras.network_functions,
        emulator_arguments=extras.emulator_arguments,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class GuestVolumes:
    """Absolute paths, on its node, of the files one guest has there."""

    overlay: str
    seed: str
    console_log: str


def domain_xml(plan: Plan, guest: Guest, volumes: GuestVolumes, settings: Settings) -> str:
    """Return the XML ``virDomainCreateXML`` starts ``guest`` from.

    :raises RequestError: an architecture nobody has described here, or a value that cannot be
        written into XML.
    :raises SettingsError: the site's own template is wrong.
    """
    shape = guest.shape
    machine = shape.machine or MACHINES.get(shape.arch, "")
    if shape.arch not in MACHINES:
        raise RequestError(
            f"guests of architecture {shape.arch} cannot be built",
            hint=f"ask for {' or '.join(MACHINES)}",
            guest=guest.name,
        )
    return fill(
        TEMPLATE,
        settings.template_dir,
        guest=guest,
        shape=shape,
        machine=machine,
        # The test driver has no processors to describe.
        cpu=(shape.cpu or CPU_MODES[shape.domain_type]) if shape.domain_type in CPU_MODES else "",
        record=Markup(job_element(plan.job, guest)),  # noqa: S704 - encoded there, value by value
        chain=(guest.base,) if guest.base else (plan.image.path, *plan.image.backing),
        base_format=plan.image.format,
        volumes=volumes,
        bridge=bridge_of(plan, settings),
        network=network_of(plan, settings),
        network_filter=settings.network_filter if shape.domain_type in CPU_MODES else "",
        fixed=guest.static,
        placement=placement_texts(guest.placement),
        extras=extras_texts(guest.extras),
        owner=plan.job.owner,
        user_files=plan.user_files,
        own_image=plan.image.own,
        disk=plan.disk if guest.rank == 0 else None,
        disk_serial=SERIAL,
        disk_files=FILES,
        # What comes by NFS is no device.
        user_dirs=() if plan.user_files is UserFiles.NFS else plan.user_dirs,
    )
