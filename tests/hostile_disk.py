"""A file that leads whoever looks at it as a disk to a FIFO, where he waits for ever."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_VERSION, _CLUSTER_BITS, _SIZE = 2, 16, 1 << 20
_HEADER = 72
"""Bytes of a qcow2 header of version 2 (QEMU, docs/interop/qcow2.txt)."""


def header(backing: str) -> bytes:
    """The first bytes of a disk on top of another one, whose format it does not tell."""
    name = backing.encode()
    fixed = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", _VERSION, _HEADER, len(name), _CLUSTER_BITS, _SIZE, 0, 1,
        1 << _CLUSTER_BITS, 2 << _CLUSTER_BITS, 1, 0, 0,
    )  # fmt: skip
    return fixed + name


@contextlib.contextmanager
def trap(root: Path, path: str) -> Iterator[bytes]:
    """Make a FIFO; lend the bytes that lead to it. In the end whoever waits there is let go.

    :param root: of the machine, as this one sees it.
    :param path: of the FIFO there.
    """
    fifo = root / path.lstrip("/")
    os.mkfifo(fifo)
    try:
        yield header(path)
    finally:
        fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)  # opens whatever the other side does
        fifo.unlink()
        os.close(fd)
