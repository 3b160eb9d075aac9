"""Who else could change a file or directory that root relies on."""

from __future__ import annotations

import errno
import os
import stat

MOST_LINKS = 40
"""Links that the kernel follows in one path, too (path_resolution(7))."""


def exposure(path: str) -> str:
    """Return why others than root (and we) could change what ``path`` leads to; empty if they cannot.

    Links are followed. What counts is the file or directory itself, each link on the way, and each directory
    that is looked into, where somebody could put another one in its place; a sticky one such as ``/tmp``
    keeps others from that.

    :raises OSError: it does not exist or cannot be looked at.
    """
    os.stat(path)  # noqa: PTH116 - whether it is there
    whole = path if path.startswith("/") else f"{os.getcwd()}/{path}"  # noqa: PTH109
    left, here, reasons, links = _parts(whole), "/", [], 0
    while left:
        reasons.append(_writers(here, itself=False))
        name = left.pop()
        if name == "..":
            here = os.path.dirname(here)  # noqa: PTH120
            continue
        there = os.path.join(here, name)  # noqa: PTH118
        if stat.S_ISLNK(os.lstat(there).st_mode):
            reasons.append(_foreign(there))
            target = os.readlink(there)  # noqa: PTH115
            links += 1
            if links > MOST_LINKS:  # somebody changes them while we look
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            here = "/" if target.startswith("/") else here
            left += _parts(target)
        else:
            here = there
    reasons.append(_writers(here, itself=True))
    return next(filter(None, reversed(reasons)), "")


def _parts(path: str) -> list[str]:
    """The names in a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]


def _foreign(path: str) -> str:
    owner = os.lstat(path).st_uid
    return "" if owner in {0, os.geteuid()} else f"{path} belongs to uid {owner}, not to root"


def _writers(path: str, *, itself: bool) -> str:
    status = os.lstat(path)
    if reason := _foreign(path):
        return reason
    group = status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}
    shielded = status.st_mode & stat.S_ISVTX and not itself
    if (group or status.st_mode & stat.S_IWOTH) and not shielded:
        return f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""
