"""Volumes as files of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.storage import READ_LIMIT, VOLUMES, Kind
from nornir_torque_vm.storage.base import FULL, NoDirectory, checked, disk_on, missing, no_space

DIRECTORY_MODE = 0o711
"""Like that of libvirt's own pools: a guest's emulator may pass through, nobody else may look."""
_FILE_MODE = 0o600
_WRITABLE_BY_OTHERS = 0o022


class LocalStorage:
    """A :class:`~nornir_torque_vm.storage.Storage` in a directory, which is made when it is missing.

    Links are never followed, and a file appears under its name only when it is complete. Until then it has
    that name with an end of its own, so what a killed process leaves counts as the guest's, and goes with it.

    :param directory: absolute path.
    :param node: this machine's name, for messages.
    :param kind: what the directory is for.
    """

    def __init__(self, directory: str, *, node: str = "", kind: Kind = VOLUMES) -> None:
        self.directory, self._node, self._kind = directory.rstrip("/"), node, kind

    def path(self, name: str) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return f"{self.directory}/{checked(name)}"

    def overlay(self, name: str, image: Image, limit: int = 0) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`.

        :raises ImageError: the image's size is not known.
        """
        return self._write(name, disk_on(image), limit)

    def put(
        self,
        name: str,
        data: bytes,
        *,
        reader: tuple[int, int] | None = None,  # noqa: ARG002 - as below
    ) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`; it stays the caller's."""
        return self._write(name, data)

    def hole(self, name: str, size: int, user: tuple[int, int]) -> str:  # noqa: ARG002 - nobody uses it here
        """See :class:`~nornir_torque_vm.storage.Storage`; it stays the caller's."""
        return self._write(name, b"", size)

    def _write(self, name: str, data: bytes, size: int = 0) -> str:
        """Make a file that holds ``data``, and a hole behind it if ``size`` is more."""
        path = self.path(name)
        current.get().check()
        with self._errors(f"{path} cannot be written"), self._open() as folder:
            unfinished = f"{name}.{secrets.token_hex(4)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(unfinished, flags, _FILE_MODE, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb", buffering=0) as file:
                    _write_all(file.fileno(), data)
                    if size > len(data):
                        file.truncate(size)
                os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(unfinished, dir_fd=folder)
                raise
        return path

    def read(self, name: str, offset: int = 0, limit: int = READ_LIMIT) -> bytes:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        path = self.path(name)
        with self._errors(f"{path} cannot be read"), self._open() as folder:
            try:
                data = read_in(folder, name, offset, limit)
            except FileNotFoundError:
                raise missing(path, self._node) from None
            if data is None:
                raise StorageError(f"{path} is not a regular file", node=self._node)
            return data

    def remove(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        with self._errors(f"{self.path(name)} cannot be removed"), self._open() as folder:
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return False
            return True

    def names(self, prefix: str) -> list[str]:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        with self._errors(f"{self.directory} cannot be listed"), self._open() as folder:
            there = os.listdir(folder)  # noqa: PTH208 - a descriptor, not a path
            return sorted(name for name in there if name.startswith(prefix) and not name.startswith("."))

    def holds(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        if not self._kind.made and not self._parent().is_dir():
            return False
        with self._errors(f"{self.path(name)} cannot be looked at"), self._open() as folder:
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return False
            ours = status.st_uid in {0, os.geteuid()} and not status.st_mode & _WRITABLE_BY_OTHERS
            return ours and stat.S_ISREG(status.st_mode)

    def capacity(self) -> int:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        if not self._kind.made and not self._parent().is_dir():
            return 0
        with self._errors(f"{self.directory} cannot be looked at"), self._open() as folder:
            status = os.fstatvfs(folder)
            return status.f_blocks * status.f_frsize

    def _parent(self) -> Path:
        """The directory of the settings, in which that of this node is."""
        return Path(self.directory).parent

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """Lend a descriptor of the directory."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            folder = os.open(self.directory, flags)
        except FileNotFoundError:
            if not self._kind.made and not self._parent().is_dir():
                raise NoDirectory(str(self._parent()), self._node, self._kind) from None
            Path(self.directory).mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
            folder = os.open(self.directory, flags)
        try:
            status = os.fstat(folder)
            if status.st_uid not in {0, os.geteuid()} or status.st_mode & _WRITABLE_BY_OTHERS:
                hint = f"chown root {self.directory}; chmod 711 {self.directory}"
                raise StorageError(f"others may write into {self.directory}", hint=hint, node=self._node)
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise no_space(self.directory, self._node, self._kind) from error
            raise StorageError(f"{what}: {error.strerror}", node=self._node) from error


def read_in(folder: int, name: str, offset: int, limit: int) -> bytes | None:
    """Read a part of a file as :meth:`LocalStorage.read` does; None when it is not a regular file.

    :param folder: descriptor of the directory that the file is in.
    :raises OSError: it cannot be read.
    """
    # Not blocking: a FIFO of that name would otherwise hold us until somebody writes.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        return os.pread(fd, limit, offset if offset >= 0 else max(0, status.st_size + offset))
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    """Write everything: a nearly full disk takes a part and refuses only the rest."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
