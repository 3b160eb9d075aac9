"""Volumes as libvirt volumes: everything goes over the connection, nothing through a file system of ours.

Facts this is built on (libvirt 9.0, measured on two nodes over a remote connection):

* A transient pool is forgotten when its libvirtd's host restarts, its directory stays. So the pool is
  made when it is missing, at any call; several may try at once and all but one get code 9.
* A pool knows the files that were there when it was made or refreshed, and those made through it. What
  virtlogd wrote has to be looked for with a refresh; from then on its handle sees it grow.
* Refreshing is refused while a volume is being made, in any connection.
* A refresh that fails takes a transient pool away.
* An error of an upload's last write gets lost: the stream ends well and the file has zeros where the data
  should be. So room is reserved beforehand, and what was written is read back.
"""

from __future__ import annotations

import contextlib
import errno
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.storage import READ_LIMIT, VOLUMES, Kind
from nornir_torque_vm.storage.base import NoDirectory, checked, disk_on, is_elsewhere, missing, no_space
from nornir_torque_vm.storage.describe import pool_xml, volume_xml, written_by_root
from nornir_torque_vm.storage.refusals import INTERNAL_ERROR, Forgiving, is_full

T = TypeVar("T")

_WITH_BUILD = 1
"""``VIR_STORAGE_POOL_CREATE_WITH_BUILD``: makes the directory, its parents too, mode 0711."""
_OPERATION_FAILED = 9
"""``VIR_ERR_OPERATION_FAILED``: what the second of two who make the same pool gets."""
NO_POOL, NO_VOLUME, INVALID, _EXISTS = 49, 50, 55, 90
"""``VIR_ERR_NO_STORAGE_POOL``, ``NO_STORAGE_VOL``, ``OPERATION_INVALID`` (the pool is not active, or a file
it does not know has the new volume's name), ``STORAGE_VOL_EXIST``."""

_PATIENCE, _PAUSE = 60, 0.05
"""Attempts at what others are doing at the same moment, and the seconds between: 3 s in all."""
_CHUNK = 262_144
"""Bytes of one message of a stream; libvirt cuts larger ones itself."""


class VolumeStorage:
    """A :class:`~nornir_torque_vm.storage.Storage` behind a libvirt connection. Thread-safe.

    :param conn: an open ``libvirt.virConnect``.
    :param directory: absolute path on the node.
    :param node: the node's name, for messages.
    :param kind: what the directory is for; each has a storage pool of its own.
    """

    def __init__(self, conn: Any, directory: str, *, node: str = "", kind: Kind = VOLUMES) -> None:
        self.directory = directory.rstrip("/")
        self.conn, self.node, self.kind = conn, node, kind
        self._pool: Any = None

    def open(self) -> None:
        """Make sure that the pool is there.

        :raises NoDirectory: the directory, which is not ours to make, is not.
        """
        self._with_pool(lambda _: None)

    def path(self, name: str) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return f"{self.directory}/{checked(name)}"

    def overlay(self, name: str, image: Image, limit: int = 0) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`; without a limit, a size of 0 is the image's.

        :raises ImageError: with a limit, or of a user's image, when the size is not known.
        """
        if limit or image.own:
            # qemu-img, whom libvirt would have make it, cannot leave a hole behind it; and opens the image.
            disk = disk_on(image)
            described = volume_xml(checked(name), limit or len(disk), "raw", hole=bool(limit))
            return self._make(name, disk, described)
        return self._make(name, b"", volume_xml(checked(name), image.virtual_size, "qcow2", base=image))

    def put(self, name: str, data: bytes, *, reader: tuple[int, int] | None = None) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return self._make(name, data, volume_xml(checked(name), len(data), "raw", reader=reader))

    def hole(self, name: str, size: int, user: tuple[int, int]) -> str:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        return self._make(name, b"", volume_xml(checked(name), size, "raw", user=user, hole=True))

    def _make(self, name: str, data: bytes, described: str) -> str:
        """Make a volume from its description, with ``data`` in it; return its path."""
        path = self.path(name)

        def make(pool: Any) -> None:
            volume = self._create(pool, name, described)
            if data:
                self._upload(volume, data)

        self._with_pool(make)
        return path

    def read(self, name: str, offset: int = 0, limit: int = READ_LIMIT) -> bytes:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        path = self.path(name)

        return self._with_pool(lambda pool: self._read(pool, path, name, offset, limit))

    def _read(self, pool: Any, path: str, name: str, offset: int, limit: int) -> bytes:
        volume = self._find(pool, name)
        if volume is None:
            raise missing(path, self.node)
        start = offset
        if offset < 0:
            _, size, _ = volume.info()
            start = max(0, size + offset)
        return self._download(volume, start, limit) if limit > 0 else b""

    def remove(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        checked(name)
        return self._with_pool(lambda pool: delete(self._find(pool, name)))

    def names(self, prefix: str) -> list[str]:
        """See :class:`~nornir_torque_vm.storage.Storage`."""

        def names(pool: Any) -> list[str]:
            _refresh(pool)
            return sorted(
                name for volume in pool.listAllVolumes() if (name := volume.name()).startswith(prefix)
            )

        return self._with_pool(names)

    def holds(self, name: str) -> bool:
        """See :class:`~nornir_torque_vm.storage.Storage`."""
        checked(name)

        def holds(pool: Any) -> bool:
            _refresh(pool)
            with Forgiving(NO_VOLUME):
                volume = pool.storageVolLookupByName(name)
                return written_by_root(pool.XMLDesc(0)) and written_by_root(volume.XMLDesc(0))
            return False

        try:
            return self._with_pool(holds)
        except NoDirectory:
            return False

    def capacity(self) -> int:
        """See :class:`~nornir_torque_vm.storage.Storage`."""

        def capacity(pool: Any) -> int:
            _refresh(pool)
            return int(pool.info()[1])

        try:
            return self._with_pool(capacity)
        except NoDirectory:
            return 0

    def _with_pool(self, action: Callable[[Any], T]) -> T:
        """Do something with our pool; again with a new one if it went away in the meantime."""
        with self._errors():
            if self._pool is not None:
                with Forgiving(NO_POOL, INVALID):
                    return action(self._pool)
            self._pool = self._open_pool()
            return action(self._pool)

    def _open_pool(self) -> Any:
        """Return our pool, made or started when necessary, whoever else is doing the same."""
        from libvirt import libvirtError

        flags, described = _WITH_BUILD if self.kind.made else 0, pool_xml(self.directory, self.kind.pool)
        for _ in range(_PATIENCE):
            with Forgiving(NO_POOL, INVALID):
                pool = self.conn.storagePoolLookupByName(self.kind.pool)
                if not pool.isActive():
                    pool.create(flags)
                return self._in_place(pool)
            try:
                with Forgiving(_OPERATION_FAILED):
                    return self.conn.storagePoolCreateXML(described, flags)
            except libvirtError as error:
                if not self.kind.made and error.get_int1() == errno.ENOENT:
                    raise NoDirectory(self.directory, self.node, self.kind) from error
                raise
            current.get().sleep(_PAUSE)
        hint = f"see virsh pool-list --all: another pool may have {self.directory}"
        raise StorageError(f"the storage pool {self.kind.pool} cannot be made", hint=hint, node=self.node)

    def _in_place(self, pool: Any) -> Any:
        """Return ``pool`` if it is where our paths point."""
        found = ET.fromstring(pool.XMLDesc(0)).findtext("target/path", "")  # noqa: S314 - libvirtd's own
        if found != self.directory:
            raise is_elsewhere(self.directory, found, self.node, self.kind)
        return pool

    def _create(self, pool: Any, name: str, described: str) -> Any:
        """Make a volume; what has its name is removed first."""
        current.get().check()
        with Forgiving(_EXISTS, INVALID):
            return pool.createXML(described)
        delete(self._find(pool, name))
        return pool.createXML(described)

    def _find(self, pool: Any, name: str) -> Any:
        """Return the volume or None; the pool is told to look again before it is believed."""
        if (volume := known(pool, name)) is None:
            _refresh(pool)
            volume = known(pool, name)
        return volume

    def _upload(self, volume: Any, data: bytes) -> None:
        """Fill a new volume; one that could not be filled is removed."""
        stream = self.conn.newStream()
        try:
            volume.upload(stream, 0, len(data))
            sent = 0
            while sent < len(data):
                sent += stream.send(data[sent : sent + _CHUNK])
            stream.finish()
            self._compare(volume, data)
        except BaseException:
            _undo(stream.abort, volume.delete)
            raise

    def _compare(self, volume: Any, data: bytes) -> None:
        if self._download(volume, 0, len(data)) != data:
            hint = "look at its file system: is it full or damaged?"
            raise StorageError(f"{volume.path()} was not written completely", hint=hint, node=self.node)

    def _download(self, volume: Any, offset: int, limit: int) -> bytes:
        stream = self.conn.newStream()
        volume.download(stream, offset, limit)
        data = bytearray()
        while chunk := stream.recv(_CHUNK):
            data += chunk
        stream.finish()
        return bytes(data)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn a ``libvirtError`` into ours."""
        from libvirt import libvirtError

        from nornir_torque_vm.connections.libvirt import map_error

        try:
            yield
        except libvirtError as error:
            if is_full(error):
                raise no_space(self.directory, self.node, self.kind) from error
            raise map_error(error, self.node) from error


def known(pool: Any, name: str) -> Any:
    """Return a volume that the pool knows of, or None."""
    with Forgiving(NO_VOLUME):
        return pool.storageVolLookupByName(name)
    return None


def delete(volume: Any) -> bool:
    """Delete a volume, if there is one and it is still there."""
    if volume is not None:
        with Forgiving(NO_VOLUME):
            volume.delete()
            return True
    return False


def _undo(*steps: Callable[[], object]) -> None:
    """Take each step, whether or not the others can be taken."""
    from libvirt import libvirtError

    for step in steps:
        with contextlib.suppress(libvirtError):
            step()


def _refresh(pool: Any) -> None:
    """Make the pool look at its directory, as soon as nobody is making a volume in it."""
    for _ in range(_PATIENCE):
        with Forgiving(INTERNAL_ERROR):
            pool.refresh()
            return
        current.get().sleep(_PAUSE)
    pool.refresh()
