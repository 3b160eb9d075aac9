"""Folders: a directory of its own for each guest, for what users may be able to write.

Facts this is built on (libvirt 9.0: ``src/storage/storage_util.c``, ``virStorageBackendRefreshLocal`` and
``storageBackendProbeTarget``; measured):

* When a pool is started or refreshed, and when libvirtd itself starts, it reads as root how each file in the
  pool begins. Where that is the header of a disk that names another one below, without its format, it opens
  that too; and a FIFO, for as long as nobody writes into it, with the pool's lock in its hand.
* It also refreshes a pool when an upload into it has ended, in a thread that finds the pool by its name and
  may be late by seconds. To make, read or remove a single volume it looks into no other file, and into
  directories of a pool never.

So the pool of a folder is started when nothing but root's is in it, and never refreshed: uploads go through
one of another name, which is ended before. When the job's guests run the pool is ended, and never started
again: the node removes the files itself. What is not covered: a libvirtd that is started anew in between.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from nornir_torque_vm.errors import HypervisorError, StateError, StorageError
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.storage import READ_LIMIT, VOLUMES, Kind, of_folder
from nornir_torque_vm.storage.base import checked, missing
from nornir_torque_vm.storage.local import LocalStorage, read_in
from nornir_torque_vm.storage.refusals import SYSTEM_ERROR, Forgiving
from nornir_torque_vm.storage.volumes import INVALID, NO_POOL, VolumeStorage, delete, known

T = TypeVar("T")

FILLING = "-filling"
"""End of the name of the pool that uploads go through."""


class FolderVolumes(VolumeStorage):
    """A :class:`~nornir_torque_vm.storage.FolderStorage` behind a libvirt connection, for one thread.

    :param around: the directory that it is in.
    :param name: the folder's.
    :param here: whether the node is this machine, so that files are in reach.
    """

    def __init__(self, around: VolumeStorage, name: str, *, here: bool) -> None:
        kind = of_folder(around.kind, checked(name))
        super().__init__(around.conn, around.path(name), node=around.node, kind=kind)
        self._around, self._name, self._here = around, name, here
        self._has_content_only = False
        filling = dataclasses.replace(kind, pool=kind.pool + FILLING)
        self._filling = VolumeStorage(around.conn, self.directory, node=around.node, kind=filling)

    def _make(self, name: str, data: bytes, described: str) -> str:
        """Make a volume; those with content come first, as then the user has nothing here yet."""
        if not data:
            self._has_content_only = False
            return super()._make(name, data, described)
        # What an earlier try has left goes: its user may have written into it.
        self._on(self.kind, _end if self._has_content_only else _empty)
        self._see_to_around()
        try:
            self._filling._make(name, data, described)
        finally:
            self._on(self._filling.kind, _end)
        self._has_content_only, self._pool = True, None
        self.open()
        return self.path(name)

    def read(self, name: str, offset: int = 0, limit: int = READ_LIMIT) -> bytes:
        """See :class:`~nornir_torque_vm.storage.Storage`; a closed folder is read on its node only."""
        path = self.path(name)
        data = self._on(self.kind, lambda pool: self._read(pool, path, name, offset, limit))
        if data is None:
            with self._files() as folder, contextlib.suppress(FileNotFoundError):
                data = read_in(folder.fd, name, offset, limit) if folder is not None else None
        if data is None:
            raise missing(path, self.node)
        return data

    def remove(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`; in a closed folder only its node does that."""
        checked(name)
        gone = self._on(self.kind, lambda pool: delete(known(pool, name))) or False
        with self._files() as folder:
            return (folder is not None and folder.remove(name)) or gone

    def names(self, prefix: str) -> list[str]:
        """See :class:`~nornir_torque_vm.storage.Storage`; of a closed folder only its node knows them."""
        found = set(self._on(self.kind, _names) or ())
        with self._files() as folder:
            found.update(folder.names() if folder is not None else ())
        return sorted(name for name in found if name.startswith(prefix))

    def holds(self, name: str) -> bool:  # noqa: ARG002 - whatever it is
        """See :class:`~nornir_torque_vm.storage.Storage`: others could have written all that is here."""
        return False

    def capacity(self) -> int:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return self._around.capacity()

    def close(self) -> None:
        """See :class:`~nornir_torque_vm.storage.FolderStorage`."""
        self._on(self.kind, _end)

    def dispose(self) -> bool:
        """See :class:`~nornir_torque_vm.storage.FolderStorage`."""
        for kind in (self._filling.kind, self.kind):
            self._on(kind, _empty)
        with self._root() as around:
            if around is not None and around.remove_dir(self._name):
                return True
        try:
            self._around.remove(self._name)
        except HypervisorError as error:
            if error.code != SYSTEM_ERROR:  # not empty: for its node to remove
                raise
            return False
        return True

    def _open_pool(self) -> Any:
        self._see_to_around()
        return super()._open_pool()

    def _see_to_around(self) -> None:
        """Make sure of the directory around it where that is not ours to make, on whatever file system."""
        if not self._around.kind.made:
            self._around.open()

    def _find(self, pool: Any, name: str) -> Any:
        """Return the volume or None, without a look at the files."""
        return known(pool, name)

    def _on(self, kind: Kind, action: Callable[[Any], T]) -> T | None:
        """Do something with a pool of the folder; None when it is not there: to start it would be a look."""
        with self._errors(), Forgiving(NO_POOL, INVALID):
            return action(self.conn.storagePoolLookupByName(kind.pool))
        return None

    @contextlib.contextmanager
    def _files(self) -> Iterator[RootDir | None]:
        """Lend the folder as this machine has it; None when it is another's, or is not there."""
        with self._root() as around:
            if around is None or self._name not in around.names(self._name):
                yield None
            else:
                with around.sub(self._name) as folder:
                    yield folder

    @contextlib.contextmanager
    def _root(self) -> Iterator[RootDir | None]:
        """Lend the directory around it, as :meth:`_files` does."""
        if not self._here or not Path(self._around.directory).is_dir():
            yield None
            return
        try:
            with RootDir.at(self._around.directory) as around:
                yield around
        except StateError as error:
            raise StorageError(error.what, hint=error.hint, node=self.node) from error


class LocalFolder(LocalStorage):
    """A :class:`~nornir_torque_vm.storage.FolderStorage` of files of this machine; it is never closed.

    :param directory: in which the folder is.
    :param name: the folder's.
    """

    def __init__(self, directory: str, name: str, *, node: str = "", kind: Kind = VOLUMES) -> None:
        self._around = LocalStorage(directory, node=node, kind=kind)
        super().__init__(self._around.path(name), node=node, kind=of_folder(kind, name))

    def names(self, prefix: str) -> list[str]:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return super().names(prefix) if Path(self.directory).is_dir() else []

    def remove(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return Path(self.directory).is_dir() and super().remove(name)

    def capacity(self) -> int:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return self._around.capacity()

    def close(self) -> None:
        """See :class:`~nornir_torque_vm.storage.FolderStorage`."""

    def dispose(self) -> bool:
        """See :class:`~nornir_torque_vm.storage.FolderStorage`."""
        for name in self.names(""):
            self.remove(name)
        with self._errors(f"{self.directory} cannot be removed"), contextlib.suppress(FileNotFoundError):
            Path(self.directory).rmdir()
        return True

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        with self._around._open(), super()._open() as folder:  # noqa: SLF001 - one of its own kind
            yield folder


def _names(pool: Any) -> list[str]:
    return [volume.name() for volume in pool.listAllVolumes()]


def _empty(pool: Any) -> None:
    """Remove the volumes that a pool knows, and the pool."""
    for volume in pool.listAllVolumes():
        delete(volume)
    _end(pool)


def _end(pool: Any) -> None:
    pool.destroy()
