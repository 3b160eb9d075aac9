"""The keys of ``-vm key=value``: each one defined once, here.

The kinds are shared with the settings that give a key's default, so both accept the same values.
"""

from __future__ import annotations

from nornir_torque_vm.config.fields import Field, Table
from nornir_torque_vm.config.filekinds import ImageRef, Pinning, UserFile, UserPath
from nornir_torque_vm.config.kinds import Bool, Choice, Int, Size, Text
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import Distro
from nornir_torque_vm.sizes import UNITS

IMAGE_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"
"""A file name in the image pool: no slash, no leading dot or dash, no blank."""

DISTRO = Choice(
    {
        "debian": Distro.DEBIAN,
        "ubuntu": Distro.DEBIAN,
        "redhat": Distro.REDHAT,
        "centos": Distro.REDHAT,
        "osv": Distro.OSV,
    }
)
CORES = Int(0, 1024)
"""Processors kept for input and output."""


KEYS = Table(
    "-vm key",
    RequestError,
    (
        Field(
            "img",
            ImageRef(IMAGE_NAME),
            "image the guests boot from: its name in the image pool, or, where the site allows it, a path",
            default_from="img_default",
        ),
        Field("distro", DISTRO, "operating system family of the image", default_from="distro_default"),
        Field(
            "arch",
            Text(r"[a-z][a-z0-9_]{0,31}", "an architecture as libvirt names it, such as x86_64"),
            "processor architecture of the guests",
            default_from="arch_default",
        ),
        Field("ram", Size(UNITS["M"]), "memory of each guest", default_from="ram_default"),
        Field("vcpus", Int(1, 1024), "virtual processors of each guest", default_from="vcpus_default"),
        Field(
            "vms_per_node",
            Int(1, 1024),
            "guests on each node of the job",
            default_from="vms_per_node_default",
        ),
        Field(
            "vcpu_pinning",
            Pinning(),
            "whether virtual processors stay on physical ones of the job: chosen from the node's topology, "
            "floating among them, or as a file maps them",
            default_from="vcpu_pinning_default",
        ),
        Field(
            "vm_prologue",
            UserFile("the path of an executable file"),
            "script that runs in every guest before the job",
        ),
        Field(
            "vm_epilogue",
            UserFile("the path of an executable file"),
            "script that runs in every guest after the job",
        ),
        Field(
            "metadata",
            UserFile("the path of a cloud-init file"),
            "file with more cloud-init settings for the guests, as far as the site allows them",
        ),
        Field(
            "disk",
            UserPath("the path of a disk image"),
            "disk image of the user that the first guest gets as /data and that stays after the job",
            default_from="disk_default",
        ),
        Field(
            "fs_type",
            Choice({"sharedfs": "sharedfs", "ramdisk": "ramdisk"}),
            "where the guests' disks live: in the volume directory, or in the node's memory",
            default_from="filesystem_type_default",
        ),
        Field(
            "hypervisor",
            Choice({"kvm": "kvm", "skvm": "skvm", "qemu": "qemu"}),
            "kvm for hardware virtualization, skvm for the site's own emulator with it, "
            "qemu for slow emulation that works everywhere",
            default_from="hypervisor_default",
        ),
        Field(
            "iocm",
            Bool(),
            "whether processors are kept for the guests' input and output",
            default_from="iocm_enabled_default",
        ),
        Field(
            "iocm_min_cores",
            CORES,
            "processors kept for input and output at least",
            default_from="iocm_min_cores_default",
        ),
        Field(
            "iocm_max_cores",
            CORES,
            "processors kept for input and output at most",
            default_from="iocm_max_cores_default",
        ),
        Field(
            "vrdma",
            Bool(),
            "whether guests get a device for remote memory access",
            default_from="vrdma_enabled_default",
        ),
        Field(
            "unclot",
            Bool(),
            "whether the guests of a node share memory for communication",
            default_from="unclot_default",
        ),
        Field(
            "unclot_shmem",
            Size(UNITS["M"]),
            "size of that shared memory; rounded up to a power of two",
            default_from="unclot_shmem_default",
        ),
    ),
)
"""The keys in the order they are documented; none has a default of its own."""
