"""Settings for what guests are: images, shapes, and what of a node they may take."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Choice, Int, Text
from nornir_torque_vm.config.listkinds import DIRECTORY, Many
from nornir_torque_vm.keys import DISTRO, IMAGE_NAME, KEYS
from nornir_torque_vm.model import Distro, UserFiles

BRIDGE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"
BRIDGE_WORDS = "a network interface name of 1 to 15 characters"


@dataclasses.dataclass(frozen=True)
class GuestSettings:
    """What guests are. Sizes in bytes unless the name ends in ``_mb``."""

    image_pool: str = setting(
        AbsPath(),
        "/srv/torque-vm/images",
        "directory with the images users may boot, the same on every node",
        aliases=("vm_img_dir", "global_img_dir"),
    )
    img_default: str = setting(
        Text(IMAGE_NAME, "the name of a file in the image pool", empty=True),
        "",
        "image of jobs that name none; empty: such jobs are refused",
    )
    allow_user_images: bool = setting(
        Bool(),
        False,
        "whether a job may boot an image of its owner, named by a path",
    )
    user_image_bridge: str = setting(
        Text(BRIDGE, BRIDGE_WORDS, empty=True),
        "",
        "bridge of guests whose image is their user's, who is root there; may be that of the others; empty: "
        "no such jobs",
    )
    allow_osv: bool = setting(
        Bool(),
        False,
        "whether guests may be OSv, whose REST interface obeys everybody on their network",
    )
    distro_default: Distro = setting(  # noqa: RUF009 - it returns a dataclass field
        DISTRO,
        Distro.DEBIAN,
        "operating system family of images whose file name does not tell it",
    )
    arch_default: str = setting(KEYS["arch"].kind, "x86_64", "processor architecture of the guests")
    ram_default: int = setting(KEYS["ram"].kind, 2 << 30, "memory of each guest")
    vcpus_default: int = setting(KEYS["vcpus"].kind, 1, "virtual processors of each guest")
    vms_per_node_default: int = setting(
        KEYS["vms_per_node"].kind, 1, "guests on each node of a job, at most max_vms_per_node"
    )
    max_vms_per_node: int = setting(
        KEYS["vms_per_node"].kind, 8, "guests of all jobs together that a node may have at one time"
    )
    vcpu_pinning_default: bool = setting(
        Bool(),
        True,
        "whether virtual processors stay on physical ones chosen from the node's topology",
    )
    disk_default: str = setting(
        AbsPath(empty=True),
        "",
        "disk image that the first guest of a job gets as /data; empty: none",
    )
    filesystem_type_default: str = setting(
        KEYS["fs_type"].kind,
        "sharedfs",
        "where the guests' disks live: in the volume directory, or in the node's memory",
    )
    ramdisk_dir: str = setting(
        AbsPath(empty=True),
        "",
        "directory on every node on a tmpfs of limited size, for disks in memory and for what guests share "
        "with unclot; empty: there is none",
    )
    ramdisk_mb: int = setting(
        Int(16, 1 << 24),
        1024,
        "memory that a guest's disk in memory may take, in MiB; counts like the guest's own",
    )
    image_cache: str = setting(
        AbsPath(empty=True),
        "",
        "directory on a disk of each node for copies of the pool's images; empty: guests read from the pool",
    )
    image_cache_mb: int = setting(Int(1, 1 << 24), 20480, "room that those copies may take on a node, in MiB")
    hypervisor_default: str = setting(
        KEYS["hypervisor"].kind,
        "kvm",
        "kvm for hardware virtualization, skvm for the site's own emulator with it, qemu for slow emulation",
    )
    host_os_core_count: int = setting(
        Int(0, 4096), 0, "processors of a node that are kept for its own system, rounded up to whole cores"
    )
    host_os_ram_mb: int = setting(
        Int(1, 1 << 24), 512, "memory of a node that is kept for its own system, in MiB"
    )
    user_files: UserFiles = setting(  # noqa: RUF009 - it returns a dataclass field
        Choice({kind.value: kind for kind in UserFiles}),
        UserFiles.NONE,
        "how guests get the home directory of their user: not at all, from a file server (nfs), or from "
        "their node with the user's rights (9p) or with root's (virtiofs)",
    )
    work_dirs: tuple[str, ...] = setting(
        Many(Text(DIRECTORY, "an absolute path")),
        (),
        "directories that guests get beside the home, at the path they have on the nodes",
    )
    nfs_sources: tuple[str, ...] = setting(
        Many(Text(rf"[A-Za-z0-9][A-Za-z0-9.-]*:{DIRECTORY}={DIRECTORY}", "SERVER:/EXPORT=/DIRECTORY")),
        (),
        "where directories come from with user_files = nfs, those below them too",
    )
    nfs_options: str = setting(
        Text(r"[a-z0-9_]+(=[A-Za-z0-9_.:-]+)?(,[a-z0-9_]+(=[A-Za-z0-9_.:-]+)?)*", "options of mount"),
        "vers=4.2",
        "options with which guests mount by NFS, beside nosuid and nodev",
    )
    template_dir: str = setting(
        AbsPath(empty=True), "", "directory whose templates go before the built-in ones; empty: none"
    )
