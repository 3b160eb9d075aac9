"""Images of users: on nodes, opened by nobody but who may read them anyway.

The job's owner is root in guests of such an image, and may exchange the file at any moment. So it is looked
at with the owner's rights, for a sentence in time; and what the guests then get no look decides, but the
kernel: the whole emulator has the owner's uid, gid and groups and no other rights
(``templates/domain.xml.j2``), and neither libvirt nor we open the path as root. Whatever lies there by then,
the owner could have read it.

Measured (libvirt 9.0, QEMU 7.2, ``strace`` of libvirtd): with a static label of the model ``dac`` for the
domain, ``relabel="no"`` for the image and the chain written down, only the emulator opens the image, after it
has become the owner. A pool of libvirt's that is refreshed opens, as root, what the disks in it name: hence
the disk on top of a user's image names none. On a file system that root may not read the guest starts too.
"""

from __future__ import annotations

import re

from nornir_torque_vm.baseimages.check import check_allowed, examine_own
from nornir_torque_vm.choose import check_family, settle_distro
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import ImageError, RequestError, StorageError, TorqueVMError
from nornir_torque_vm.images import distro_of, image_for
from nornir_torque_vm.model import Image, Owner
from nornir_torque_vm.ownerfile import begin_as_owner
from nornir_torque_vm.request import Request

_NOT_OPENED = re.compile(r"Could not open '(?P<path>[^']*)': (?P<why>[A-Z][^:\n]*)")
"""What QEMU says; ``block/file-posix.c``."""
_NOT_THE_USERS = ("Stale file handle", "Input/output error", "timed out", "host", "Network")
"""Parts of what the system says when a file system is at fault."""


def job_image(request: Request, settings: Settings, owner: Owner, deadline: Deadline) -> Image:
    """Return the image a job boots from: one of the pool, or its owner's own.

    :raises RequestError: as :func:`~nornir_torque_vm.images.image_for`; or the owner may not read the file,
        or not boot it.
    :raises ImageError: it cannot be used.
    :raises SettingsError: the site has not said where guests of such images are to be.
    :raises StorageError: its file system does not answer.
    """
    path = request.img or ""
    if "/" not in path:
        return image_for(request, settings)
    check_allowed(path, settings)
    if owner.uid == 0:
        raise RequestError(
            f"img={path} is a path, and jobs of root boot images of the pool only",
            hint="submit it as another user",
        )
    data, size = begin_as_owner("img", path, owner, deadline)
    header = examine_own(data, size, f"image {show(path)}")
    name = path.rpartition("/")[2]
    distro, _ = settle_distro(request.distro, None, distro_of(name), settings.distro_default)
    check_family(distro, settings)
    return Image(name, path, virtual_size=header.virtual_size, distro=distro, own=True)


def not_opened(image: Image, owner: Owner, said: str, *, node: str, guest: str) -> TorqueVMError | None:
    """Return what it means that a guest did not start because its emulator could not open the user's image.

    :param said: by libvirt.
    :returns: None when that was not the reason.
    """
    found = _NOT_OPENED.search(said)
    if not image.own or found is None or found["path"] != image.path:
        return None
    why = found["why"].strip()
    what = f"image {show(image.path)} cannot be opened here by {owner.name}: {why}"
    if any(part in why for part in _NOT_THE_USERS):
        return StorageError(what, hint="is its file system there on this node?", node=node, guest=guest)
    return ImageError(what, hint="it has to be readable on all nodes of the job", node=node, guest=guest)
