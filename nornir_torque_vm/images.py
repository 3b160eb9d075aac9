"""Base images of the pool: from a name to a file that QEMU may be given, or one sentence why not.

The name is the user's, and QEMU runs with more rights than the user and opens whatever an image's
header points at. So a name is looked up in the pool directory only, links are not followed, and
every file a header names has to be an image of the same pool that passes the same examination.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import stat

from nornir_torque_vm.baseimages.check import CONVERT, QCOW2, examine
from nornir_torque_vm.catalogue import Entry, read_catalogue
from nornir_torque_vm.choose import check_family, settle_distro
from nornir_torque_vm.config.fields import nearest, show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, ImageError, RequestError
from nornir_torque_vm.keys import IMAGE_NAME
from nornir_torque_vm.model import Distro, Image
from nornir_torque_vm.qcow2 import HEADER_BYTES, Header
from nornir_torque_vm.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHAIN = 8
"""Images on top of each other, the named one included."""

_HINT_LENGTH = 200
"""Characters of a list of file names that a message repeats at most."""
_NAME = re.compile(IMAGE_NAME)
_FAMILIES = {
    Distro.DEBIAN: re.compile(r"debian|ubuntu", re.IGNORECASE),
    Distro.REDHAT: re.compile(r"red-?hat|rhel|centos|rocky|alma|fedora", re.IGNORECASE),
    Distro.OSV: re.compile(r"(?<![a-z])osv(?![a-z])", re.IGNORECASE),
}


def image_for(request: Request, settings: Settings) -> Image:
    """Return the image a job boots from: the one it asks for, else the site's default.

    :raises RequestError: neither exists, the key ``distro`` contradicts the image, or the site has no
        guests of its family; the site's fault if that is its default.
    :raises ImageError: as :func:`open_image`; a bad default image or catalogue is the site's fault.
    """
    name = request.img or settings.img_default
    if not name:
        raise RequestError("no image was asked for and the site has no default", hint="add img=NAME to -vm")
    try:
        image = open_image(settings.image_pool, name)
    except ImageError as error:
        if not request.img:
            error.blame = Blame.SITE
        raise
    distro, _teller = family_of(name, request, settings)
    check_family(distro, settings, asked=bool(request.img or request.distro))
    return dataclasses.replace(image, distro=distro)


def family_of(name: str, request: Request, settings: Settings) -> tuple[Distro, str]:
    """Return the operating system family of an image of the pool, and in words what tells it.

    :raises RequestError: the key ``distro`` contradicts the image.
    :raises ImageError: the pool's catalogue cannot be used.
    """
    entry = read_catalogue(settings.image_pool).get(name, Entry())
    return settle_distro(request.distro, entry.distro, distro_of(name), settings.distro_default)


def open_image(pool: str, name: str, catalogue: Mapping[str, Entry] | None = None) -> Image:
    """Return the image ``name`` of the pool after looking at its header and at those it builds on.

    :param pool: absolute path of the image directory; it may itself be a link.
    :param name: a file name as a user writes it.
    :param catalogue: the pool's, for who has read it already.
    :raises ImageError: with cause and cure; the site's fault when the pool itself cannot be read.
    """
    subject = f"image {show(name)}"
    pool_fd = open_pool(pool)
    try:
        entries = read_catalogue(pool) if catalogue is None else catalogue
        form = entries.get(name, Entry()).format
        header = _examine(pool_fd, pool, name, subject, form)
        chain = chain_of(pool_fd, pool, name, header, subject, entries)
    finally:
        os.close(pool_fd)
    path, *backing = (f"{pool.rstrip('/')}/{entry}" for entry in chain)
    return Image(
        name=name,
        path=path,
        format=form,
        virtual_size=header.virtual_size,
        distro=distro_of(name) or Distro.DEBIAN,
        backing=tuple(backing),
    )


def open_pool(pool: str) -> int:
    """Return a descriptor of the image pool.

    :raises ImageError: there is no such directory; the site's fault.
    """
    try:
        return os.open(pool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(
            f"the image pool {pool} cannot be read: {error.strerror}",
            hint="create it or correct image_pool in the settings",
            blame=Blame.SITE,
        ) from error


def distro_of(name: str) -> Distro | None:
    """The operating system family an image's file name tells, None when it tells none or several."""
    told = [distro for distro, words in _FAMILIES.items() if words.search(name)]
    return told[0] if len(told) == 1 else None


def chain_of(
    pool_fd: int, pool: str, name: str, header: Header, subject: str, catalogue: Mapping[str, Entry]
) -> list[str]:
    """Examine every image below ``name``, whose header is given; return all names, topmost first.

    :raises ImageError: one of them cannot be used, or they are too many.
    """
    seen = [name]
    while header.backing_file:
        name = header.backing_file.removeprefix(f"{pool.rstrip('/')}/")
        if not _NAME.fullmatch(name):
            raise ImageError(
                f"{subject} builds on {show(header.backing_file)}, which is outside the image pool",
                hint=CONVERT,
            )
        form = catalogue.get(name, Entry()).format
        if header.backing_format not in {"", QCOW2} or form != QCOW2:
            told = header.backing_format if form == QCOW2 else form
            raise ImageError(f"{subject} builds on {show(name)} as {show(told)}, not as qcow2", hint=CONVERT)
        if name in seen or len(seen) == MAX_CHAIN:
            why = "so the chain never ends" if name in seen else f"the chain is longer than {MAX_CHAIN}"
            raise ImageError(f"{subject} builds on {show(name)}, {why}", hint=CONVERT)
        seen.append(name)
        subject = f"{subject} builds on {show(name)}, which"
        header = _examine(pool_fd, pool, name, subject, form)
    return seen


def _examine(pool_fd: int, pool: str, name: str, subject: str, form: str) -> Header:
    """Read the header of one file of the pool and refuse what QEMU must not be given."""
    data, size = _read_start(pool_fd, pool, name, subject)
    return examine(data, size, subject, form)


def _read_start(pool_fd: int, pool: str, name: str, subject: str) -> tuple[bytes, int]:
    """The first bytes and the size of a regular file directly in the pool."""
    if not _NAME.fullmatch(name):
        raise ImageError(
            f"{subject} is not the name of a file in the image pool",
            hint="give a file name of letters, digits and . _ + - without directories",
        )
    try:
        # Not blocking: a FIFO of that name would otherwise hold the caller until somebody writes.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=pool_fd)
    except OSError as error:
        raise _cannot_open(error, pool_fd, pool, name, subject) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{subject} is not a regular file", hint="put the image itself into the pool")
        _check_writers(os.fstat(pool_fd), status, pool, name)
        return os.pread(fd, HEADER_BYTES, 0), status.st_size
    except OSError as error:
        raise _cannot_open(error, pool_fd, pool, name, subject) from error
    finally:
        os.close(fd)


def _check_writers(pool_status: os.stat_result, status: os.stat_result, pool: str, name: str) -> None:
    """Refuse what users could exchange, or change under the guests of others."""
    path = f"{pool.rstrip('/')}/{name}"
    for mode, what in ((pool_status.st_mode, pool), (status.st_mode, path)):
        if mode & stat.S_IWOTH:
            raise ImageError(
                f"{what} can be written by everybody (mode {stat.S_IMODE(mode):04o})",
                hint=f"chmod o-w {what}",
                blame=Blame.SITE,
            )
    if status.st_uid not in {0, pool_status.st_uid}:
        raise ImageError(
            f"{path} belongs to uid {status.st_uid}, neither root nor the owner of the pool",
            hint=f"look what it is, then: chown root {path}",
            blame=Blame.SITE,
        )


def _cannot_open(error: OSError, pool_fd: int, pool: str, name: str, subject: str) -> ImageError:
    if error.errno == errno.ENOENT:
        there = sorted(entry for entry in os.listdir(pool_fd) if _NAME.fullmatch(entry))
        what = f"{subject} does not exist in the image pool {pool}"
        if there:
            return ImageError(what, hint=nearest(name, there)[:_HINT_LENGTH])
        # What is left where the pool was mounted: no job of anybody's is to blame, and none to be given up.
        return ImageError(what, hint="there is no image at all: is it mounted?", blame=Blame.SITE)
    if error.errno == errno.ELOOP:
        return ImageError(
            f"{subject} is a symbolic link, which is not followed", hint="put the image itself into the pool"
        )
    return ImageError(
        f"{subject} cannot be read: {error.strerror}", hint=f"look at it in {pool}", blame=Blame.SITE
    )
