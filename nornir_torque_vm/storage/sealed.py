"""A file for a user, in a directory of its own, on a node that only libvirt reaches.

The user can rewrite the file. libvirtd, whenever it starts or refreshes a storage pool, reads as root how
every file in it begins and opens what a disk's header names; where that is a FIFO, for ever. So such a file
may lie in no pool that anybody could start or refresh. Facts of libvirt 9.0 (``src/storage``):

* A refresh does not look into directories. A directory is a volume of the pool around it: made only if
  nothing has its name, deleted only when it is empty.
* After an upload the pool is refreshed, at a moment that nobody knows; after a copy from another pool not.
* Building a pool that is not active sets the mode of its directory and looks at nothing. Nor does a libvirtd
  that starts anew look at a pool that was not active.

Hence: what is uploaded is root's, in the pool around. The directory is closed to everybody, mode 0700, while
it has a pool of its own, for the time of the copy. When that pool is gone, the definition of another opens
the directory, by building it. Whoever is killed on the way leaves a directory that is closed, or one that is
in no active pool; and it never gets one again. A file that was given only the node itself can remove.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import HypervisorError, StateError
from nornir_torque_vm.storage import Kind
from nornir_torque_vm.storage.base import no_space
from nornir_torque_vm.storage.describe import directory_xml, pool_xml, volume_xml
from nornir_torque_vm.storage.refusals import Forgiving, is_full
from nornir_torque_vm.storage.volumes import INVALID, NO_POOL, VolumeStorage

CLOSED, OPEN = 0o700, 0o711
"""Modes of the directory: for root alone, and for everybody to pass through."""


class SealedFile:
    """A directory and the file in it, behind a libvirt connection.

    :param conn: an open ``libvirt.virConnect``.
    :param around: absolute path of the directory around it, in which only root's files and directories are.
    :param name: of the directory.
    :param file: name of the file in it.
    :param copy: name that root's copy has beside the directory meanwhile; no other directory has a name that
        begins with a directory's name and a plus sign.
    :param kind: what the directory around it is.

    Methods raise :class:`HypervisorError` for what libvirt refuses and :class:`StorageError` for a full disk.
    """

    def __init__(
        self, conn: Any, around: str, name: str, file: str, *, copy: str, kind: Kind, node: str = ""
    ) -> None:
        self._conn, self._kind, self._node = conn, kind, node
        self._around = VolumeStorage(conn, around, node=node, kind=kind)
        self.directory = self._around.path(name)
        self._name, self._file, self._copy = name, file, copy
        # A thread that refreshes by name must never find the other one.
        self._filling = f"{kind.pool}-{name}"
        self._opening = f"{self._filling}+open"

    def give(self, data: bytes, owner: tuple[int, int]) -> None:
        """Make it, for its owner to read.

        :param owner: uid and gid.
        :raises StateError: the directory is there already; nobody knows what is in it.
        """
        self.close()
        if self._name in self._around.names(self._name):
            hint = f"remove it there: torque-vm reap --job {self._name}"
            raise StateError(f"{self.directory} is there already", hint=hint, node=self._node)
        with self._errors():
            made = self._pool(self._kind.pool).createXML(directory_xml(self._name, CLOSED))
            try:
                self._around.put(self._copy, data)
                self._fill(len(data), owner)
                self._open()
            except BaseException:
                _undo(self.close, lambda: self._around.remove(self._copy), made.delete)
                raise

    def withdraw(self) -> bool:
        """Remove what libvirt can: not the file once it was given; whether there was anything."""
        self.close()
        there = self._around.remove(self._copy)
        try:
            return self._around.remove(self._name) or there
        except HypervisorError as error:
            if getattr(error.__cause__, "get_int1", lambda: 0)() != errno.ENOTEMPTY:
                raise
            return there

    def close(self) -> None:
        """Take its pools from libvirt, which are there if somebody was killed."""
        for name in (self._filling, self._opening):
            with self._errors(), Forgiving(NO_POOL, INVALID):
                pool = self._pool(name)
                lasting = pool.isPersistent()
                if pool.isActive():
                    pool.destroy()
                if lasting:
                    pool.undefine()

    def _fill(self, size: int, owner: tuple[int, int]) -> None:
        """Copy what was uploaded into the directory, which is closed."""
        current.get().check()
        pool = self._conn.storagePoolCreateXML(pool_xml(self.directory, self._filling), 0)
        try:
            source = self._pool(self._kind.pool).storageVolLookupByName(self._copy)
            copy = pool.createXMLFrom(volume_xml(self._file, size, "raw", reader=owner), source, 0)
            try:
                self._around.remove(self._copy)
            except BaseException:
                _undo(copy.delete)
                raise
        finally:
            pool.destroy()

    def _open(self) -> None:
        """Let the owner pass through the directory, which is in no pool any more."""
        pool = self._conn.storagePoolDefineXML(pool_xml(self.directory, self._opening, OPEN), 0)
        try:
            pool.build(0)
        finally:
            pool.undefine()

    def _pool(self, name: str) -> Any:
        return self._conn.storagePoolLookupByName(name)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn a ``libvirtError`` into ours."""
        from libvirt import libvirtError

        from nornir_torque_vm.connections.libvirt import map_error

        try:
            yield
        except libvirtError as error:
            if is_full(error):
                raise no_space(self._around.directory, self._node, self._kind) from error
            raise map_error(error, self._node) from error


def _undo(*steps: Any) -> None:
    """Take each step, whether or not the others can be taken."""
    from libvirt import libvirtError

    from nornir_torque_vm.errors import TorqueVMError

    for step in steps:
        with contextlib.suppress(libvirtError, TorqueVMError):
            step()
