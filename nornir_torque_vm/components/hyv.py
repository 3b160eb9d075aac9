"""vRDMA as the earlier system had it: the paravirtual device of a site's own emulator, and its modules.

Facts (the earlier system's scripts): the modules of vhost for it and of the card are loaded, a file with the
GUID of the node's card is written, and the device is told where that is. Both are the node's, not a job's:
every job finds or makes the same, and nothing is taken away under other guests. That system also put all
InfiniBand modules, the subnet manager, a bridge and the port's mode in order for each job; those are for
whoever sets up the node.
"""

from __future__ import annotations

import dataclasses
import re

from nornir.core.task import Result, Task

from nornir_torque_vm.components.devices import VRDMA, EmulatorDevice, Extras, extended
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import HypervisorError, NodeShellError
from nornir_torque_vm.inventory.hostdata import node_of, settings_of
from nornir_torque_vm.model import Guest, Plan
from nornir_torque_vm.request import Request
from nornir_torque_vm.tasks.node_command import must_on_node, on_node

DEVICE = "virtio-hyv-pci"
MODULES = (
    "ib_core", "vhost", "vhost_hyv", "mlx4_ib", "rdma_cm", "rdma_ucm", "vhost_rdmacm", "ib_uverbs", "ib_umad",
)  # fmt: skip
FILE = "vrdma.conf"
"""In the node's run directory; a line, the GUID of its card."""
_GUID = re.compile(r"^\s*node_guid:\s*([0-9a-f]{4}(?::[0-9a-f]{4}){3})\s*$", re.MULTILINE)
_WRITE = (
    'mkdir -p -m 0711 "${2%/*}" && new=$(mktemp "$2.XXXXXX") && printf "%s\\n" "$1" > "$new" '
    '&& chmod 0644 "$new" && mv -f "$new" "$2"'
)
"""Shell: the file appears whole, also when two jobs start at once."""


def config_path(settings: Settings) -> str:
    """Where the file is on every node."""
    return f"{settings.run_dir}/{FILE}"


def adjust(plan: Plan, request: Request, settings: Settings) -> Plan:  # noqa: ARG001 - as all components
    """Give the device to every guest on the nodes that have it."""
    device = EmulatorDevice(DEVICE, (("config_path", config_path(settings)),))

    def with_device(extras: Extras, guest: Guest) -> Extras:  # noqa: ARG001 - as extended() gives it
        return dataclasses.replace(extras, emulator_devices=(*extras.emulator_devices, device))

    return extended(plan, VRDMA, with_device)


def load_modules(task: Task) -> Result:
    """Nornir task: load the modules on a node, and write the GUID of its card where the device looks for it.

    :raises NodeShellError: a program is missing or fails.
    :raises HypervisorError: the node has no card.
    """
    must_on_node(task, ["modprobe", "--all", *MODULES])
    guid = _GUID.search(must_on_node(task, ["ibv_devinfo"]).stdout)
    if guid is None:
        raise HypervisorError(
            "ibv_devinfo knows no card for vrdma", hint="take it out of vrdma_nodes", node=node_of(task.host)
        )
    must_on_node(task, ["sh", "-c", _WRITE, "sh", guid[1], config_path(settings_of(task.host))])
    return Result(host=task.host, result=guid[1])


def verify_modules(task: Task) -> Result:
    """Nornir task: see that the module behind the device is there, and the file.

    :raises NodeShellError: one is not.
    """
    path = config_path(settings_of(task.host))
    for what, words in (
        ("the module vhost_hyv is not loaded", ["test", "-d", "/sys/module/vhost_hyv"]),
        (f"{path} is gone", ["test", "-s", path]),
    ):
        if not on_node(task, words).ok:
            raise NodeShellError(what, hint="start the job again", node=node_of(task.host))
    return Result(host=task.host)
