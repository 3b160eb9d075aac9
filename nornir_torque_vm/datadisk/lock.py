"""One job at a time: a lock on a disk's file that lasts exactly as long as somebody has it open.

It belongs to the open file, not to a process (fcntl(2), open file description locks): the prologue takes it,
the emulator gets the same open file, and when that ends, however it ends, the lock is gone. So no lock is
ever left behind, and none ends with the prologue. NFS carries such locks to its server.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import struct

from nornir_torque_vm.errors import BusyError, RequestError

_FLOCK = struct.Struct("hhqqi4x")
"""``struct flock``: type, whence, start, length, pid."""
_OURS = 1 << 62
"""The byte that we lock: far beyond any disk, and none of QEMU's."""
_QEMU = (100, 200)
"""QEMU's own, from 100 to 299 (block/file-posix.c: RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE)."""
_HELD = frozenset({errno.EAGAIN, errno.EACCES})


def take(fd: int, subject: str) -> None:
    """Lock the disk behind ``fd`` for whoever has ``fd`` or a duplicate of it.

    :raises BusyError: another job's guest has it, or another program that locks as QEMU does.
    :raises RequestError: it lies where nothing can be locked.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, _OURS, 1, 0))
        held = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, _QEMU[0], _QEMU[1], 0))
    except OSError as error:
        if error.errno in _HELD:
            raise BusyError(f"{subject} is in use by another job", hint="wait for its end") from error
        raise RequestError(
            f"{subject} cannot be locked: {error.strerror}", hint="keep it on a file system with locks"
        ) from error
    if _FLOCK.unpack(held)[0] != fcntl.F_UNLCK:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, _OURS, 1, 0))
        raise BusyError(f"{subject} is in use by an emulator or by qemu-img", hint="wait for its end")
