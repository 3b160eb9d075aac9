"""Opening a job's disk: with its owner's rights, once, so that nobody has to open it again.

What is opened is looked at, locked, and handed to the emulator as an open file. So the emulator needs no
right to the file, whoever it runs as; and no link that is put in its place meanwhile leads anywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from nornir_torque_vm.baseimages.check import QCOW2, RAW, examine
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.datadisk.lock import take
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import ImageError, RequestError
from nornir_torque_vm.model import DataDisk, Distro, Image, Owner
from nornir_torque_vm.ownerfile import open_as_owner
from nornir_torque_vm.qcow2 import HEADER_BYTES, MAGIC
from nornir_torque_vm.request import Request

RAW_SUFFIXES = (".img", ".raw")
"""A file without a qcow2 header is a disk only if it is called like one."""
_MAKE = "see the key disk in docs/submitting.md for how to make one"


@contextlib.contextmanager
def opened_disk(
    request: Request, settings: Settings, owner: Owner, image: Image, deadline: Deadline
) -> Iterator[tuple[DataDisk, int] | None]:
    """Open the disk that a job asks for, or that the site's settings name; None when there is none.

    Gives the disk and its open file, which holds the lock and is closed at the end: who needs it longer has a
    duplicate by then.

    :raises RequestError: it is not there, not the owner's to write, no disk, or of no use to the guests; or
        users may not have one.
    :raises ImageError: it is a qcow2 image that is damaged, encrypted, or leads to other files.
    :raises BusyError: another job has it.
    :raises StorageError: its file system does not answer.
    """
    path = settings.disk_default if request.disk is None else request.disk
    if not path:
        yield None
        return
    if request.disk and not settings.allow_user_disks:
        raise RequestError(
            f"disk={show(path)} is not allowed: jobs bring no disks here", hint="leave disk away"
        )
    if image.distro is Distro.OSV:
        raise RequestError("guests of OSv have no use for a disk", hint="leave disk away")
    fd = open_as_owner("disk", path, owner, deadline)
    try:
        subject = f"disk {show(path)}"
        disk = DataDisk(path, _format(fd, path, subject))
        take(fd, subject)
        yield disk, fd
    finally:
        os.close(fd)


def _format(fd: int, path: str, subject: str) -> str:
    """``qcow2`` or ``raw``: by the file's own header, which leads to no other file.

    A guest could write such a header to its raw disk; all it would find then is its own bytes, differently.
    """
    data, size = os.pread(fd, HEADER_BYTES, 0), os.fstat(fd).st_size
    if data.startswith(MAGIC):
        header = examine(data, size, subject, QCOW2)
        if header.backing_file:
            raise ImageError(
                f"{subject} builds on another file ({show(header.backing_file)})",
                hint="make it self-contained: qemu-img convert -O qcow2 OLD NEW",
            )
        return QCOW2
    if not path.endswith(RAW_SUFFIXES):
        raise RequestError(
            f"{subject} is no qcow2 image, and not called *.img or *.raw as a raw disk has to be", hint=_MAKE
        )
    if size == 0 or size % 512:
        raise RequestError(f"{subject} has {size} bytes, which is not the size of a raw disk", hint=_MAKE)
    return RAW
