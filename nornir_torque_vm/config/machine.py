"""Settings for the virtual hardware of guests: emulator, machine, processor model, network card."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.guests import GuestSettings
from nornir_torque_vm.config.kinds import AbsPath, Text


@dataclasses.dataclass(frozen=True)
class MachineSettings(GuestSettings):
    """What guests are made of, the same on all nodes."""

    emulator: str = setting(
        AbsPath(empty=True),
        "",
        "emulator on the nodes for kvm and qemu; {arch} stands for the guests' architecture; "
        "empty: the one libvirt finds",
    )
    skvm_emulator: str = setting(
        AbsPath(empty=True),
        "",
        "emulator on the nodes for hypervisor=skvm, {arch} as above; empty: jobs cannot ask for skvm",
    )
    machine_type: str = setting(
        Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a machine type of the emulator such as q35", empty=True),
        "",
        "machine type of the guests; empty: q35",
    )
    cpu_model: str = setting(
        Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "host-passthrough, host-model or a model", empty=True),
        "",
        "processor model of guests with hardware virtualization; empty: the node's own (host-passthrough)",
    )
    cpu_model_emulated: str = setting(
        Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "maximum, host-model or a model", empty=True),
        "",
        "processor model of emulated guests; empty: all that the emulator can (maximum)",
    )
    network: str = setting(
        Text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "the name of a libvirt network", empty=True),
        "",
        "libvirt network on every node that the guests' network cards are attached to; empty: bridge, which "
        "else is the bridge of that network",
    )
    network_filter: str = setting(
        Text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "the name of a libvirt network filter", empty=True),
        "torque-vm-guest",
        "filter for what guests send: torque-vm-guest, which is made on the nodes when needed, lets no "
        "foreign MAC or IPv4 address pass; any other has to be there; empty: none",
    )
