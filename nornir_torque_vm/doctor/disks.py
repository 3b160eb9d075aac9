"""Checks of where a node keeps guests' disks beside the volume directory."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.catalogue import read_catalogue
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.doctor.model import Here, Line, fail, ok, text_of, warn
from nornir_torque_vm.imagecache.cache import ImageCache
from nornir_torque_vm.sizes import power_of_two
from nornir_torque_vm.trust import exposure

MIB = 1 << 20
WANTED = ("nosuid", "nodev", "noexec")
"""How a file system for disks is mounted: whatever a guest writes, it means nothing to the node."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """What a directory is on."""

    kind: str
    """Type of the file system, such as ``tmpfs``."""
    options: tuple[str, ...]


def mount_of(path: str, table: str) -> Mount:
    """Return what ``path`` is on, by the text of a mountinfo (proc(5)).

    :param path: absolute, without links.
    :raises ValueError: it is on nothing.
    """
    best, found = "", None
    for line in table.splitlines():
        mounted, _, rest = line.partition(" - ")
        fields = mounted.split()
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        # What was mounted last at a place covers what was there before.
        if len(point) >= len(best) and f"{path}/".startswith(f"{point.rstrip('/')}/"):
            best, found = point, Mount(rest.split()[0], tuple(fields[5].split(",")))
    if found is None:
        raise ValueError(path)
    return found


def ramdisk(here: Here) -> Iterator[Line]:
    """Whether disks in memory, and what guests share, are there, within a limit, and out of others' reach."""
    settings = here.settings
    path = settings.ramdisk_dir
    if not path:
        if settings.filesystem_type_default == "ramdisk":
            yield fail("ramdisk_dir", "it is empty, and disks are in memory by default", "name a directory")
        return
    try:
        status, space, reason = os.stat(path), os.statvfs(path), exposure(path)  # noqa: PTH116 - text in
    except OSError as error:
        yield fail("ramdisk_dir", f"{path}: {error.strerror}", f"mount a tmpfs of limited size at {path}")
        return
    if reason:
        yield fail("ramdisk_dir", f"{reason}, who could exchange what is in it", f"chown root {path}")
    mount = mount_of(os.path.realpath(path), text_of(here.system("/proc/self/mountinfo")) or "")
    size = space.f_blocks * space.f_frsize
    yield judge_ramdisk(settings, mount, status.st_mode, size, _memory())


def judge_ramdisk(settings: Settings, mount: Mount, mode: int, size: int, memory: int) -> Line:
    """Judge the directory for disks in memory.

    :param mode: its own.
    :param size: bytes of its file system.
    :param memory: bytes of the node.
    """
    name, path, least = "ramdisk_dir", settings.ramdisk_dir, settings.ramdisk_mb * MIB
    usable = memory - settings.host_os_ram_mb * MIB
    if mount.kind != "tmpfs":
        return fail(name, f"{path} is on {mount.kind}, not in memory", f"mount a tmpfs at {path}")
    if size < least:
        text = f"{path} has {size // MIB}M, less than one disk of ramdisk_mb, {settings.ramdisk_mb}"
        return fail(name, text, f"mount -o remount,size={settings.ramdisk_mb}m {path}, or lower ramdisk_mb")
    shared = power_of_two(settings.unclot_shmem_default) if settings.unclot_enabled else 0
    if size < shared:
        text = f"{path} has {size // MIB}M, less than what a job's guests share, {shared // MIB}M"
        cure = f"mount -o remount,size={shared // MIB}m {path}, or lower unclot_shmem_default"
        return fail(name, text, cure)
    if not mode & stat.S_IXOTH:
        return fail(name, f"emulators cannot pass through {path}", f"chmod 711 {path}")
    if size > usable:
        text = f"{path} may take {size // MIB}M, and guests may have {max(0, usable) // MIB}M of this node"
        return warn(name, text, f"mount -o remount,size={max(least, usable // 2) // MIB}m {path}")
    if missing := [option for option in WANTED if option not in mount.options]:
        text = f"{path} is mounted without {', '.join(missing)}"
        return warn(name, text, f"mount -o remount,{','.join(WANTED)} {path}, in /etc/fstab too")
    return ok(name, f"{path} is in memory, {size // MIB}M, for {size // least} disks")


def image_cache(here: Here) -> Iterator[Line]:
    """Whether copies of images can be made and trusted, and what is there."""
    settings = here.settings
    name, path = "image_cache", settings.image_cache
    if not path:
        return
    entries = read_catalogue(settings.image_pool)
    if not any(entry.sha256 for entry in entries.values()):
        text = f"nothing is copied: the catalogue of {settings.image_pool} states no sha256"
        yield warn(name, text, "add the digests of the images to it")
    there = next(parent for parent in (Path(path), *Path(path).parents) if parent.exists())
    if reason := exposure(str(there)):
        yield fail(name, f"{reason}, who could exchange what guests boot from", f"chown root {path}")
        return
    status = os.statvfs(there)
    size, free = (status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
    copies = ImageCache(path, 0).copies() if str(there) == path else {}
    taken = sum(copy.st_blocks * 512 for copy in copies.values())
    yield judge_cache(settings, len(copies), taken, free, size)


def judge_cache(settings: Settings, copies: int, taken: int, free: int, size: int) -> Line:
    """Judge the room for copies of images; all but ``copies`` in bytes.

    :param taken: what the copies take now.
    :param free: what is free beside them on their file system, which has ``size``.
    """
    path, limit = settings.image_cache, settings.image_cache_mb
    text = f"{path} has {copies} copies of images, {taken // MIB}M of {limit}M"
    if limit * MIB - taken > free:
        cure = f"lower image_cache_mb below {(taken + free) // MIB}, or free some of its {size // MIB}M"
        return warn("image_cache", f"{text}, and its file system only {free // MIB}M free", cure)
    return ok("image_cache", text)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
