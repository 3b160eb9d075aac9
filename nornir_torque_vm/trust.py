"""Who else could change a file or directory that root relies on."""

from __future__ import annotations

import os
import stat


def exposure(path: str) -> str:
    """Return why others than root (and we) could change what ``path`` leads to; empty if they cannot.

    Links are followed. What counts is the file or directory itself and each directory above it, where
    somebody could put another one in its place; a sticky one such as ``/tmp`` keeps others from that.

    :raises OSError: it does not exist or cannot be looked at.
    """
    real = os.path.realpath(path, strict=True)
    here = real
    while True:
        reason = _writers(os.lstat(here), itself=here == real)
        if reason:
            return f"{here} {reason}"
        if here == "/":
            return ""
        here = os.path.dirname(here)  # noqa: PTH120 - text in, text out


def _writers(status: os.stat_result, *, itself: bool) -> str:
    if status.st_uid not in {0, os.geteuid()}:
        return f"belongs to uid {status.st_uid}, not to root"
    group = status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}
    shielded = status.st_mode & stat.S_ISVTX and not itself
    if (group or status.st_mode & stat.S_IWOTH) and not shielded:
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""
