"""A cpio archive in the kernel's own format ("newc"): what an initramfs is; pure.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the Linux kernel.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterable

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive, owned by root.

    ``mode`` holds type and permissions as in ``st_mode``; ``data`` is the content of a file or the
    target of a symbolic link; ``device`` is (major, minor) of a device node.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> Entry:
    """A directory."""
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | permissions, data)


def link(path: str, target: str) -> Entry:
    """A symbolic link to ``target``."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A character device node."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of ``entries``; parents that nobody gave are added, order is by path.

    :raises ValueError: two entries with one path, or a path that is absolute or leaves the root.
    """
    table: dict[str, Entry] = {}
    for entry in entries:
        _check(entry.path)
        if entry.path in table:
            raise ValueError(f"{entry.path} is in the archive twice")
        table[entry.path] = entry
    for path in list(table):
        while "/" in path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 -- walks up from the loop's own value
            table.setdefault(path, directory(path))
    parts = [_record(inode, table[path]) for inode, path in enumerate(sorted(table), start=1)]
    parts.append(_record(0, Entry(_TRAILER, 0)))
    return b"".join(parts)


def _check(path: str) -> None:
    if not path or path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError(f"{path!r} is no path inside an archive")


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2), name size, check
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + name
    return _pad(head) + _pad(entry.data)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
