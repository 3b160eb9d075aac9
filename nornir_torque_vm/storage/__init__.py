"""Where the files of guests are kept: overlay disks, seeds, console logs.

Every node has :data:`VOLUMES`; where the site has set ``ramdisk_dir``, also :data:`RAMDISK`; where it has set
``image_cache``, the copies of images there are looked at as :data:`COPIES`.

Two implementations of :class:`Storage`: :class:`~.volumes.VolumeStorage` goes through libvirt and so
works on any node a connection reaches; :class:`~.local.LocalStorage` uses files of this machine, for
libvirt's test driver, which cannot take data.

libvirtd looks, as root, into the files of a pool, and opens what their headers name. So what anybody but root
and libvirt's own emulators can write lies in a folder of its own: :class:`FolderStorage`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.model import Image

READ_LIMIT = 65536
"""Bytes :meth:`Storage.read` returns at most unless told otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One of the directories that guests' files can be in."""

    setting: str
    """Which setting names the directory."""
    pool: str
    """What its storage pool in libvirt is called."""
    made: bool
    """Whether the directory is made when it is missing. One in memory must not be: it would be on disk."""

    def directory(self, settings: Settings) -> str:
        """Return the absolute path of the directory on a node."""
        path: str = getattr(settings, self.setting)
        return path


VOLUMES = Kind("volume_dir", "torque-vm", made=True)
"""Seeds, consoles and, unless they are to be in memory, disks."""
RAMDISK = Kind("ramdisk_dir", "torque-vm-ramdisk", made=False)
"""Disks in the node's memory."""
COPIES = Kind("image_cache", "torque-vm-images", made=False)
"""Copies of base images, which each node makes for itself."""


def run_state(folder: str) -> Kind:
    """Return the kind that a subdirectory of ``run_dir`` is, reached as one of volumes."""
    return Kind("run_dir", f"{VOLUMES.pool}-{folder}", made=True)


def of_folder(kind: Kind, name: str) -> Kind:
    """Return the kind that the folder of this name is, inside the directory of ``kind``."""
    return dataclasses.replace(kind, pool=f"{kind.pool}-{name}", made=True)


class Storage(Protocol):
    """Volumes (plain files) in one directory of one node, by name; all owned by root, mode 0600.

    Every method raises :class:`~nornir_torque_vm.errors.StorageError` for a bad name, a full disk or a
    directory that cannot be used, and those that go through libvirt
    :class:`~nornir_torque_vm.errors.HypervisorError` for whatever else it refuses.
    """

    def path(self, name: str) -> str:
        """Return the absolute path the volume ``name`` has on its node, whether it exists or not."""

    def overlay(self, name: str, image: Image, limit: int = 0) -> str:
        """Make an empty qcow2 disk on top of ``image``, in place of what has the name; return its path.

        :param limit: bytes the file has from the start, as a hole: the emulator can be told to stay within
            it. 0: the file grows.
        """

    def put(self, name: str, data: bytes, *, reader: tuple[int, int] | None = None) -> str:
        """Make a volume that holds ``data``, in place of what has the name; return its path.

        :param reader: uid and gid of the user the file is for, who may only read it; else it is root's.
        """

    def hole(self, name: str, size: int, user: tuple[int, int]) -> str:
        """Make a volume that takes no room yet, in place of what has the name; return its path.

        :param size: bytes.
        :param user: uid and gid of who may read and write it.
        """

    def read(self, name: str, offset: int = 0, limit: int = READ_LIMIT) -> bytes:
        """Return at most ``limit`` bytes from ``offset``; empty at and beyond the end.

        :param offset: in bytes; when negative, counted from the end: ``read(log, -4096)`` is its tail.
        :raises StorageError: there is no such volume.
        """

    def remove(self, name: str) -> bool:
        """Remove a volume; False when there was none."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of the volumes that start with ``prefix``, sorted."""

    def holds(self, name: str) -> bool:
        """Whether there is a volume that nobody but root (or we) could have written."""

    def capacity(self) -> int:
        """Return the size in bytes of the file system they are on; 0 when there is no such directory."""


class FolderStorage(Storage, Protocol):
    """Volumes in a folder inside one of the directories: those of one guest, called as its domain.

    Open while its guest is being started, then closed: no libvirtd looks into it any more, and only the node
    itself can remove what is in it.
    """

    def close(self) -> None:
        """Take the folder from libvirt; what is in it stays. When it is closed already, fine."""

    def dispose(self) -> bool:
        """Remove the folder and what is in it, as far as that can be done from here; whether it is gone."""


def folder_storage(
    conn: Any,
    settings: Settings,
    name: str,
    *,
    here: bool,
    node: str = "",
    uri: str = "",
    kind: Kind = VOLUMES,
) -> FolderStorage:
    """Return the storage of one folder on the node ``conn`` leads to; for the rest see :func:`storage_for`.

    :param name: the folder's: the start of all names of what it is for.
    :param here: whether the node is this machine.
    """
    directory = kind.directory(settings)
    if _is_test_driver(conn, node, uri):
        from nornir_torque_vm.storage.folder import LocalFolder

        return LocalFolder(f"{directory}/{node}".rstrip("/"), name, node=node, kind=kind)
    from nornir_torque_vm.storage.folder import FolderVolumes
    from nornir_torque_vm.storage.volumes import VolumeStorage

    return FolderVolumes(VolumeStorage(conn, directory, node=node, kind=kind), name, here=here)


def storage_for(
    conn: Any, settings: Settings, *, node: str = "", uri: str = "", kind: Kind = VOLUMES
) -> Storage:
    """Return a storage of the node ``conn`` leads to.

    :param conn: an open ``libvirt.virConnect``.
    :param node: its name, for messages; and, for the nodes the test driver plays on one machine, the
        name of their own directory within that of the settings.
    :param uri: what ``conn`` was opened with, if the caller knows; it is asked otherwise.
    :raises HypervisorError: the connection does not answer.
    """
    directory = kind.directory(settings)
    if _is_test_driver(conn, node, uri):
        from nornir_torque_vm.storage.local import LocalStorage

        return LocalStorage(f"{directory}/{node}".rstrip("/"), node=node, kind=kind)
    from nornir_torque_vm.storage.volumes import VolumeStorage

    return VolumeStorage(conn, directory, node=node, kind=kind)


def _is_test_driver(conn: Any, node: str, uri: str) -> bool:
    from libvirt import libvirtError

    from nornir_torque_vm.connections.libvirt import map_error

    if uri:
        return uri.startswith("test:")
    try:
        return bool(conn.getType() == "TEST")
    except libvirtError as error:
        raise map_error(error, node) from error
