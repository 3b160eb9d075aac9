"""Where the files of guests are kept: overlay disks, seeds, console logs.

Two implementations of :class:`Storage`: :class:`~.volumes.VolumeStorage` goes through libvirt and so
works on any node a connection reaches; :class:`~.local.LocalStorage` uses files of this machine, for
libvirt's test driver, which cannot take data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.model import Image

READ_LIMIT = 65536
"""Bytes :meth:`Storage.read` returns at most unless told otherwise."""


class Storage(Protocol):
    """Volumes (plain files) in one directory of one node, by name; all owned by root, mode 0600.

    Every method raises :class:`~nornir_torque_vm.errors.StorageError` for a bad name, a full disk or a
    directory that cannot be used, and those that go through libvirt
    :class:`~nornir_torque_vm.errors.HypervisorError` for whatever else it refuses.
    """

    def path(self, name: str) -> str:
        """Return the absolute path the volume ``name`` has on its node, whether it exists or not."""

    def overlay(self, name: str, image: Image) -> str:
        """Make an empty qcow2 disk on top of ``image``, in place of what has the name; return its path."""

    def put(self, name: str, data: bytes) -> str:
        """Make a volume that holds ``data``, in place of what has the name; return its path."""

    def read(self, name: str, offset: int = 0, limit: int = READ_LIMIT) -> bytes:
        """Return at most ``limit`` bytes from ``offset``; empty at and beyond the end.

        :param offset: in bytes; when negative, counted from the end: ``read(log, -4096)`` is its tail.
        :raises StorageError: there is no such volume.
        """

    def remove(self, name: str) -> bool:
        """Remove a volume; False when there was none."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of the volumes that start with ``prefix``, sorted."""


def storage_for(conn: Any, settings: Settings, *, node: str = "", uri: str = "") -> Storage:
    """Return the storage of the node ``conn`` leads to.

    :param conn: an open ``libvirt.virConnect``.
    :param node: its name, for messages; and, for the nodes the test driver plays on one machine, the
        name of their own directory within ``volume_dir``.
    :param uri: what ``conn`` was opened with, if the caller knows; it is asked otherwise.
    :raises HypervisorError: the connection does not answer.
    """
    if _is_test_driver(conn, node, uri):
        from nornir_torque_vm.storage.local import LocalStorage

        return LocalStorage(f"{settings.volume_dir}/{node}".rstrip("/"), node=node)
    from nornir_torque_vm.storage.volumes import VolumeStorage

    return VolumeStorage(conn, settings.volume_dir, node=node)


def _is_test_driver(conn: Any, node: str, uri: str) -> bool:
    from libvirt import libvirtError

    from nornir_torque_vm.connections.libvirt import map_error

    if uri:
        return uri.startswith("test:")
    try:
        return bool(conn.getType() == "TEST")
    except libvirtError as error:
        raise map_error(error, node) from error
