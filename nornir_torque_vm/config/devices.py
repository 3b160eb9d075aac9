"""Settings for devices of the nodes that guests may have."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import Bool, Choice, HostRegex, Hosts, Text
from nornir_torque_vm.config.monitoring import MonitoringSettings

SRIOV, HYV = "sriov", "hyv"


@dataclasses.dataclass(frozen=True)
class DeviceSettings(MonitoringSettings):
    """Remote memory access: whether guests have it, where, and by what."""

    vrdma_enabled: bool = setting(Bool(), False, "whether guests may have a device for remote memory access")
    vrdma_nodes: Hosts = setting(  # noqa: RUF009 - it returns a dataclass field
        HostRegex(), Hosts("*"), "nodes with the hardware for remote memory access"
    )
    vrdma_enabled_default: bool = setting(
        Bool(), False, "whether guests of jobs that do not say have that device"
    )
    vrdma_backend: str = setting(
        Choice({SRIOV: SRIOV, HYV: HYV}),
        SRIOV,
        "what that device is: sriov is a virtual function of the node's card, from vrdma_network; hyv the "
        "paravirtual one of the earlier system, which needs the site's own emulator and kernel modules",
    )
    vrdma_network: str = setting(
        Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "the name of a libvirt network"),
        "vrdma",
        "libvirt network of virtual functions on the nodes (forward mode hostdev), for sriov",
    )
