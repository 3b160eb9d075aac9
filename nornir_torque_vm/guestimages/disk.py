"""A disk a BIOS boots: MBR, a FAT partition with syslinux and the kernel, if wanted a second for the root.

Made from files alone: no loop device, no mount, no privileges.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages.tool import run

SECTOR = 512
ALIGNMENT = 1 << 20
"""Partitions begin at a multiple of this many bytes."""
MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
"""Debian package syslinux-common."""
_CODE_SIZE = 440
_FAT16_LBA, _LINUX = 0x0E, 0x83
_ACTIVE = 0x80
_TIMEOUT = 120.0
_FILL_TIMEOUT = 600.0
_CLUSTER_SECTORS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """A primary partition; ``start`` and ``size`` in bytes, both multiples of a sector."""

    start: int
    size: int
    kind: int
    active: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RootTree:
    """A directory that becomes a root file system of ``size`` bytes, with its owners and modes."""

    tree: Path
    size: int


def partition_table(code: bytes, partitions: tuple[Partition, ...]) -> bytes:
    """The first sector of the disk.

    :param code: what the BIOS runs, at most 440 bytes.
    :raises ValueError: too much code, too many or unaligned partitions.
    """
    if len(code) > _CODE_SIZE or len(partitions) > 4:
        raise ValueError("an MBR has room for 440 bytes of code and 4 partitions")
    entries = b"".join(_table_entry(partition) for partition in partitions)
    return code.ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def _table_entry(partition: Partition) -> bytes:
    if partition.start % SECTOR or partition.size % SECTOR:
        raise ValueError("a partition begins and ends at whole sectors")
    # Cylinder/head/sector addresses say "beyond what I can express": every BIOS of ours uses LBA.
    beyond = b"\xfe\xff\xff"
    return struct.pack(
        "<B3sB3sII",
        _ACTIVE if partition.active else 0,
        beyond,
        partition.kind,
        beyond,
        partition.start // SECTOR,
        partition.size // SECTOR,
    )


def syslinux_config(kernel_arguments: str) -> str:
    """syslinux.cfg that boots at once, without a menu."""
    return (
        "DEFAULT linux\nPROMPT 0\nTIMEOUT 0\n"
        f"LABEL linux\n  LINUX vmlinuz\n  INITRD initramfs\n  APPEND {kernel_arguments}\n"
    )


def write_boot_disk(disk: Path, files: Mapping[str, Path], root: RootTree | None = None) -> None:
    """Write a raw disk to ``disk``.

    :param files: name on the boot partition → file to copy there.
    :param root: what the second partition holds; without it there is none.
    :raises ImageBuildError: a tool failed or is missing.
    """
    boot_size = _round_up(sum(path.stat().st_size for path in files.values()) + (2 << 20))
    boot = Partition(ALIGNMENT, boot_size, _FAT16_LBA, active=True)
    partitions: tuple[Partition, ...] = (boot,)
    if root is not None:
        partitions += (Partition(boot.start + boot.size, _round_up(root.size), _LINUX),)
    try:
        code = MBR_CODE.read_bytes()
    except OSError as error:
        raise ImageBuildError(
            f"{MBR_CODE}: {error.strerror}", hint="apt-get install syslinux-common"
        ) from None
    end = partitions[-1].start + partitions[-1].size
    with disk.open("wb") as stream:
        stream.write(partition_table(code, partitions))
        stream.truncate(end)
    _write_boot_partition(disk, boot, files)
    if root is not None:
        _write_root_partition(disk, partitions[1], root.tree)


def _write_boot_partition(disk: Path, boot: Partition, files: Mapping[str, Path]) -> None:
    where = f"{disk}@@{boot.start}"
    quiet = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}
    sectors = boot.size // SECTOR
    # -H: the boot sector has to know where on the disk it is.
    run(
        ["mformat", "-i", where, "-T", str(sectors), "-h", "255", "-s", "63", "-H",
         str(boot.start // SECTOR), "-c", str(_CLUSTER_SECTORS), "-v", "BOOT", "::"],
        timeout=_TIMEOUT, env=quiet,
    )  # fmt: skip
    # syslinux first: its own loader then lies in one piece at the beginning.
    run(["syslinux", "--install", "--offset", str(boot.start), disk], timeout=_TIMEOUT, env=quiet)
    for name, path in files.items():
        run(["mcopy", "-i", where, path, f"::{name}"], timeout=_TIMEOUT, env=quiet)


def _write_root_partition(disk: Path, place: Partition, tree: Path) -> None:
    """Make an ext4 file system labeled ``root`` of a directory, without mounting anything.

    No journal: a guest's disk never outlives a crash of the guest.
    """
    features = "^has_journal,^metadata_csum"
    extended = f"offset={place.start},lazy_itable_init=0,assume_storage_prezeroed=1,nodiscard"
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-O", features, "-E", extended,
         "-d", tree, disk, f"{place.size // 1024}k"],
        timeout=_FILL_TIMEOUT,
    )  # fmt: skip


def convert(disk: Path, image: Path, *, compress: bool) -> None:
    """Make the qcow2 ``image`` of the raw ``disk``."""
    options = ["-c"] if compress else []
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, disk, image], timeout=_FILL_TIMEOUT)


def _round_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
