"""What both kinds of storage say and refuse alike."""

from __future__ import annotations

import errno
import re

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.qcow2 import overlay_bytes
from nornir_torque_vm.storage import Kind

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers that mean: no room."""


class NoDirectory(StorageError):
    """The directory, which is not ours to make, does not exist."""

    def __init__(self, directory: str, node: str, kind: Kind) -> None:
        hint = f"create it, or correct {kind.setting}"
        super().__init__(f"there is no directory {directory}", hint=hint, node=node)


# No leading dot: others hide their unfinished files so. 200 leaves room for what libvirt and we append.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+\[\]-]{0,199}")


def checked(name: str) -> str:
    """Return ``name`` if it is the name of a volume: a plain file name, of a job id if need be.

    :raises StorageError: it is not.
    """
    if _NAME.fullmatch(name) is None:
        raise StorageError(f"{show(name)} is not the name of a volume")
    return name


def disk_on(image: Image) -> bytes:
    """Return all bytes of an empty disk on top of ``image``.

    That of an image of a user's does not name it: libvirt, as root, opens what the disks in its pools name,
    whatever a user has put there by then. The emulator is told (see ``templates/domain.xml.j2``).

    :raises ImageError: the image's size is not known.
    """
    return overlay_bytes("" if image.own else image.path, image.format, image.virtual_size)


def no_space(directory: str, node: str, kind: Kind) -> StorageError:
    """The file system that holds the volumes is full."""
    hint = f"free some space there, or set {kind.setting} to a directory on a larger one"
    return StorageError(f"no space is left on the file system of {directory}", hint=hint, node=node)


def missing(path: str, node: str) -> StorageError:
    """There is no such volume."""
    return StorageError(f"there is no volume {path}", node=node)


def is_elsewhere(path: str, found: str, node: str, kind: Kind) -> StorageError:
    """The storage pool is not in the directory the settings name."""
    hint = f"when no guest uses it: virsh pool-destroy {kind.pool}"
    return StorageError(
        f"the storage pool is in {found}, {kind.setting} in the settings says {path}", hint=hint, node=node
    )
