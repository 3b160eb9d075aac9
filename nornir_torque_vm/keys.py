"""The keys of ``-vm key=value``: each one defined once, here.

The kinds are shared with the settings that give a key's default, so both accept the same values.
"""

from __future__ import annotations

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.fields import Field, Table
from nornir_torque_vm.kinds import Choice, Int, Size, Text
from nornir_torque_vm.model import Distro
from nornir_torque_vm.sizes import UNITS

IMAGE_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"
"""A file name in the image pool: no slash, no leading dot or dash, no blank."""

KEYS = Table(
    "-vm key",
    RequestError,
    (
        Field(
            "img",
            Text(IMAGE_NAME, "the name of a file in the image pool, such as debian.qcow2"),
            "image the guests boot from, by its name in the image pool",
        ),
        Field(
            "distro",
            Choice(
                {
                    "debian": Distro.DEBIAN,
                    "ubuntu": Distro.DEBIAN,
                    "redhat": Distro.REDHAT,
                    "centos": Distro.REDHAT,
                    "osv": Distro.OSV,
                }
            ),
            "operating system family of the image",
        ),
        Field(
            "arch",
            Text(r"[a-z][a-z0-9_]{0,31}", "an architecture as libvirt names it, such as x86_64"),
            "processor architecture of the guests",
        ),
        Field("vcpus", Int(1, 1024), "virtual processors of each guest"),
        Field("ram", Size(UNITS["M"]), "memory of each guest"),
        Field("vms_per_node", Int(1, 1024), "guests on each node of the job"),
        Field(
            "hypervisor",
            Choice({"kvm": "kvm", "qemu": "qemu"}),
            "kvm for hardware virtualization, qemu for slow emulation that works everywhere",
        ),
    ),
)
"""The keys in the order they are documented. Defaults come from the settings ``<key>_default``."""
