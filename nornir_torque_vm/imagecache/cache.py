"""The directory of copies on one node: filled, and cleared of what was not used for longest.

One process at a time works in it. A copy has no name until it is complete, checked and on the disk, so one
that is interrupted leaves nothing, not by SIGKILL or a reset either (``O_TMPFILE``, open(2)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Collection, Iterator

from nornir_torque_vm.baseimages.copying import copy
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import ImageError, StorageError, TorqueVMError
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.sizes import format_size

NAME = re.compile(r"[0-9a-f]{64}\.(qcow2|raw)")
"""What copies are called."""
LOCK = ".lock"
MODE = 0o711
"""Of the directory: emulators pass through, nobody else looks."""
RECENT = 3600.0
"""Seconds for which a copy stays after a job has wanted it: its guests may be about to start on it."""


class ImageCache:
    """The copies in ``directory``; all methods raise :class:`TorqueVMError` when it cannot be used.

    :param directory: absolute path; made when it is missing.
    :param limit: bytes that all copies may take on the disk together.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self.directory, self.limit = directory, limit

    def want(self, name: str, source: str, in_use: Collection[str], deadline: Deadline) -> str:
        """See to a copy of an image; return what was done, for the log; empty when it was there.

        :param name: of the copy, which begins with the digest of the content.
        :param source: absolute path of the image.
        :param in_use: names of copies that guests are on.
        :raises DeadlineExceeded: the time was up before the copy was complete.
        """
        with RootDir.at(self.directory, create=MODE) as folder, self._locked(folder) as mine:
            if self._touched(folder, name):
                return ""
            if not mine:
                return "another copy is being made"
            began = time.monotonic()
            size = self._fill(folder, name, source, in_use, deadline)
            return f"copied {source}, {format_size(size)}, in {time.monotonic() - began:.1f} s"

    def copies(self) -> dict[str, os.stat_result]:
        """What is there, by name."""
        with RootDir.at(self.directory) as folder:
            return self._copies(folder)

    def _copies(self, folder: RootDir) -> dict[str, os.stat_result]:
        names = [name for name in os.listdir(folder.fd) if NAME.fullmatch(name)]  # noqa: PTH208 - a descriptor
        return {name: os.stat(name, dir_fd=folder.fd, follow_symlinks=False) for name in names}

    @contextlib.contextmanager
    def _locked(self, folder: RootDir) -> Iterator[bool]:
        """Lock the directory if nobody else has; the lock ends with the process that has it."""
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield True
                return
            yield False
        finally:
            os.close(fd)

    def _touched(self, folder: RootDir, name: str) -> bool:
        """Note that a copy is wanted now; False when there is none."""
        try:
            os.utime(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _fill(
        self, folder: RootDir, name: str, source: str, in_use: Collection[str], deadline: Deadline
    ) -> int:
        """Make a copy; return the bytes it takes."""
        with self._told(source):
            fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            needed = os.fstat(fd).st_blocks * 512
            self._make_room(folder, needed, {*in_use, name})
            with self._told(source):
                copied = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
            try:
                with self._told(source):
                    digest = copy(fd, copied, lambda _: deadline.check())
                if digest != name.partition(".")[0]:
                    raise ImageError(
                        f"{source} is not what the catalogue says: its sha256 is {digest}",
                        hint="torque-vm image verify",
                    )
                os.fchmod(copied, 0o444)
                os.fsync(copied)
                os.link(f"/proc/self/fd/{copied}", name, dst_dir_fd=folder.fd, follow_symlinks=True)
                return os.fstat(copied).st_blocks * 512
            finally:
                os.close(copied)
        finally:
            os.close(fd)

    def _make_room(self, folder: RootDir, needed: int, keep: Collection[str]) -> None:
        """Remove copies, those first that were not wanted for longest, until another one fits.

        :param keep: names of those that stay; so do those that were wanted a short while ago.
        """
        there = self._copies(folder)
        taken = sum(status.st_blocks * 512 for status in there.values())
        recent = time.time() - RECENT
        spare = [name for name, status in there.items() if name not in keep and status.st_mtime < recent]
        for name in sorted(spare, key=lambda name: there[name].st_mtime):
            if self._fits(folder, taken, needed):
                return
            os.unlink(name, dir_fd=folder.fd)
            taken -= there[name].st_blocks * 512
        if not self._fits(folder, taken, needed):
            raise StorageError(
                f"there is no room in {self.directory} for {format_size(needed)} more: "
                f"{format_size(taken)} of {format_size(self.limit)} are used",
                hint="raise image_cache_mb, or free some space there",
            )

    def _fits(self, folder: RootDir, taken: int, needed: int) -> bool:
        space = os.fstatvfs(folder.fd)
        return taken + needed <= self.limit and needed < space.f_bavail * space.f_frsize

    @contextlib.contextmanager
    def _told(self, source: str) -> Iterator[None]:
        try:
            yield
        except TorqueVMError:
            raise
        except OSError as error:
            hint = "the file system has to know O_TMPFILE: ext4, xfs, btrfs, tmpfs do"
            raise StorageError(
                f"{source} cannot be copied to {self.directory}: {error.strerror}",
                hint=hint if error.errno in {errno.EOPNOTSUPP, errno.EISDIR} else "",
            ) from error
