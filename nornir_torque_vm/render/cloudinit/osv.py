"""What OSv's own cloud-init is told: another program than Linux guests have, with keys of its own.

It reads ``/user-data`` of an ISO 9660 disk and nothing else of it, as YAML, and stops at a key whose
module the image has not got; so there is little in it (OSv, ``modules/cloud-init``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Guest, Plan, UserFiles
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings


def osv_user_data(plan: Plan, guest: Guest, settings: Settings) -> str:
    """Return ``user-data`` for a guest of OSv: a planned address or its name, the user's files by NFS.

    Files are the user's there whatever runs: OSv has one identity, which NFS is told with the mount.

    :raises RequestError: a value that JSON and YAML cannot both hold.
    """
    data: dict[str, Any] = {}
    if guest.static is not None:
        subnet: dict[str, Any] = {"type": "static", "address": guest.static.address}
        subnet["netmask"] = str(_netmask(guest.static.prefix))
        if guest.static.gateway:
            subnet["gateway"] = guest.static.gateway
        if settings.name_server:
            subnet["dns_nameservers"] = list(settings.name_server)
        card = {"type": "physical", "mac_address": guest.mac, "subnets": [subnet]}
        data["network"] = {"version": 1, "config": [card]}
    else:  # a name that is set asks the DHCP server anew, and waits for it
        data["hostname"] = guest.name
    if plan.user_files is UserFiles.NFS:
        ids = f"uid={plan.job.owner.uid},gid={plan.job.owner.gid}"
        data["mounts"] = [[one.source, one.at, "nfs", ids, "0", "0"] for one in plan.user_dirs]
    return json_line(data) + "\n"


def _netmask(prefix: int) -> str:
    bits = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0))
