"""Settings for submission: which hosts, which real qsub, and what a VM job asks TORQUE for."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.addresses import AddressSettings
from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, HostRegex, Hosts, Text
from nornir_torque_vm.nodefile import HOST_PATTERN

_QSUB = "/usr/local/bin/qsub"
_GPU_MODES = "shared|exclusive|exclusive_thread|exclusive_process|default|reseterr|prohibited"
"""Words that mean something else to TORQUE after ``gpus=`` in ``nodes=``."""


@dataclasses.dataclass(frozen=True)
class SubmitSettings(AddressSettings):
    """How VM jobs are submitted."""

    disable_mikelangelo_hpc_stack: bool = setting(
        Bool(),
        False,
        "whether qsub takes every call as TORQUE's own does, and -vm is unknown",
        aliases=("disable_mikelangelo_hpcstack",),
    )
    disabled_hosts_list: Hosts = setting(  # noqa: RUF009 - it returns a dataclass field
        HostRegex(), Hosts(""), "hosts on which no VM job is submitted or executed"
    )
    server_hostname: str = setting(
        Text(HOST_PATTERN, "a host name", empty=True),
        "",
        "host name of the batch server, short or full; empty: taken from the job id",
    )
    real_qsub_on_server: str = setting(
        AbsPath(), _QSUB, "TORQUE's own qsub on the batch server", aliases=("pbs_qsub_on_fe",)
    )
    real_qsub_on_nodes: str = setting(
        AbsPath(), _QSUB, "TORQUE's own qsub on all other hosts", aliases=("pbs_qsub_on_nodes",)
    )
    site_submit_filter: str = setting(
        AbsPath(empty=True), "", "the site's own submit filter, which runs before ours; empty: none"
    )
    node_property: str = setting(
        Text(rf"(?!(?:{_GPU_MODES})\Z)[A-Za-z][A-Za-z0-9_.-]{{0,63}}", "a node property", empty=True),
        "vm",
        "property of the nodes that run guests; VM jobs ask for it; empty: every node does",
    )
    pbs_exclusive_node_alloc: bool = setting(
        Bool(), False, "whether a VM job shares its nodes with jobs of its owner only (naccesspolicy)"
    )
    request_mem: bool = setting(
        Bool(), False, "whether a VM job asks for the guests' memory also where it names none (mem)"
    )
