"""Settings of the components beside the guests: I/O cores, remote and shared memory, monitoring."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import Bool, Choice, HostRegex, Hosts
from nornir_torque_vm.config.submit import SubmitSettings
from nornir_torque_vm.keys import CORES, KEYS

_PENDING = KEYS["iocm"].pending


@dataclasses.dataclass(frozen=True)
class ComponentSettings(SubmitSettings):
    """Which components there are, where, and what jobs get that do not say."""

    iocm_enabled: bool = setting(
        Bool(), False, "whether jobs may have processors kept for input and output", pending=_PENDING
    )
    iocm_nodes: Hosts = setting(  # noqa: RUF009 - it returns a dataclass field
        HostRegex(), Hosts("*"), "nodes that can keep processors for input and output", pending=_PENDING
    )
    iocm_min_cores: int = setting(CORES, 0, "least processors a job may have kept", pending=_PENDING)
    iocm_max_cores: int = setting(CORES, 7, "most processors a job may have kept", pending=_PENDING)
    iocm_enabled_default: bool = setting(
        Bool(), False, "whether jobs that do not say have processors kept", pending=_PENDING
    )
    iocm_min_cores_default: int = setting(
        CORES, 1, "processors kept at least for jobs that do not say", pending=_PENDING
    )
    iocm_max_cores_default: int = setting(
        CORES, 4, "processors kept at most for jobs that do not say", pending=_PENDING
    )
    vrdma_enabled: bool = setting(
        Bool(), False, "whether guests may have a device for remote memory access", pending=_PENDING
    )
    vrdma_nodes: Hosts = setting(  # noqa: RUF009 - it returns a dataclass field
        HostRegex(), Hosts("*"), "nodes with the hardware for remote memory access", pending=_PENDING
    )
    vrdma_enabled_default: bool = setting(
        Bool(), False, "whether guests of jobs that do not say have that device", pending=_PENDING
    )
    unclot_enabled: bool = setting(
        Bool(), False, "whether guests of a node may share memory for communication", pending=_PENDING
    )
    unclot_default: bool = setting(
        Bool(), False, "whether guests of jobs that do not say share memory", pending=_PENDING
    )
    unclot_shmem_default: int = setting(
        KEYS["unclot_shmem"].kind, 1 << 30, "size of that shared memory", pending=_PENDING
    )
    snap_monitoring_enabled: bool = setting(Bool(), False, "whether jobs are monitored", pending=_PENDING)
    on_disabled: str = setting(
        Choice({"ignore": "ignore", "refuse": "refuse"}),
        "ignore",
        "what becomes of a job that asks for a component the site has switched off",
    )
