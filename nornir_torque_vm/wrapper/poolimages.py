"""The images a job can boot, as they are seen where it is submitted.

A submission looks at the image to say in time what a node would refuse; nodes look again.
"""

from __future__ import annotations

import os

from nornir_torque_vm.baseimages.check import check_allowed, examine_own
from nornir_torque_vm.catalogue import Entry, read_catalogue
from nornir_torque_vm.choose import check_family, settle_distro
from nornir_torque_vm.errors import Blame, ImageError, RequestError
from nornir_torque_vm.images import distro_of, open_image
from nornir_torque_vm.qcow2 import HEADER_BYTES
from nornir_torque_vm.sizes import format_size
from nornir_torque_vm.wrapper.inputs import open_regular
from nornir_torque_vm.wrapper.resolve import CATALOGUE, COMMAND_LINE, FILE_NAME, ImageFacts, located

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.wrapper.resolve import Values

_ORIGINS = {"the image catalogue": CATALOGUE, "its file name": FILE_NAME}
"""What :func:`settle_distro` calls the tellers → origins."""
_SUFFIXES = (".qcow2", ".img")
"""File names that promise an image."""


def look_at_image(asked: Values, settings: Settings) -> ImageFacts:
    """Return what is known of the image a job will boot, once it is found fit.

    :param asked: what the job asks for, with an absolute path if ``img`` is one.
    :raises RequestError: no image, one that the site does not allow, by its place or its family, or one that
        ``distro`` contradicts.
    :raises ImageError: it cannot be used; the site's fault if the default or the pool itself cannot.
    """
    name, origin = asked.get("img", (settings.img_default, "setting img_default"))
    if not name:
        raise RequestError(
            "no image was asked for and the site has no default",
            hint="add img=NAME to -vm; qsub --list-images shows the names",
        )
    try:
        entry = _check_own(name, settings) if "/" in name else _check_pool(name, settings)
    except (ImageError, RequestError) as error:
        if "img" not in asked:
            error.blame = Blame.SITE
        elif origin != COMMAND_LINE:
            error.what = f"{origin}: {error.what}"
        raise
    key, origin = asked.get("distro", (None, origin))
    told = distro_of(name.rpartition("/")[2])
    try:
        distro, teller = settle_distro(key, entry.distro, told, settings.distro_default)
        check_family(distro, settings, asked=bool(key) or "img" in asked)
    except RequestError as error:
        if error.blame is Blame.SITE:
            raise
        raise located(error, origin) from None
    return ImageFacts(name, distro, _ORIGINS.get(teller, teller), entry.arch)


def _check_pool(name: str, settings: Settings) -> Entry:
    """Look at an image of the pool; return what the catalogue says of it."""
    try:
        open_image(settings.image_pool, name)
    except ImageError as error:
        if error.blame is not Blame.SITE and os.path.isfile(name):  # noqa: PTH113 - pathlib is slow
            error.hint = f"for the file of that name here, write img=./{name}"
            if not settings.allow_user_images:
                error.hint = "a file of that name is here, but the site allows images of its pool only"
        raise
    return read_catalogue(settings.image_pool).get(name, Entry())


def _check_own(path: str, settings: Settings) -> Entry:
    """Look at an image of the user; no catalogue knows it."""
    check_allowed(path, settings)
    subject = f"image '{path}'"
    fd = open_regular(path, subject)
    try:
        examine_own(os.pread(fd, HEADER_BYTES, 0), os.fstat(fd).st_size, subject)
    except OSError as error:
        raise ImageError(f"{subject} cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return Entry()


def list_images(settings: Settings, *, names_only: bool = False) -> str:
    """Return the images of the pool, a line each: name, size of the disk, family, architecture, what for.

    :param names_only: for programs; images that cannot be used are left out.
    :raises ImageError: the pool or its catalogue cannot be read; the site's fault.
    """
    try:
        there = sorted(os.listdir(settings.image_pool))  # noqa: PTH208 - pathlib is slow
    except OSError as error:
        raise ImageError(
            f"the image pool {settings.image_pool} cannot be read: {error.strerror}",
            hint="the site has to create it on this host or to correct image_pool",
            blame=Blame.SITE,
        ) from None
    catalogue = read_catalogue(settings.image_pool)
    rows = [row for name in there if (row := _row(name, catalogue, settings))]
    if names_only:
        rows = [row[:1] for row in rows if row[1]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _row(name: str, catalogue: Mapping[str, Entry], settings: Settings) -> tuple[str, ...]:
    """What is shown of one file of the pool; nothing if it is no image and does not claim to be one.

    Of one that cannot be used, size and the like are empty.
    """
    try:
        image = open_image(settings.image_pool, name, catalogue)
    except ImageError as error:
        claims = name.endswith(_SUFFIXES) and not name.startswith(".")
        return (name, "", "", "", f"cannot be used: {error.what}") if claims else ()
    entry = catalogue.get(name, Entry())
    distro, _teller = settle_distro(None, entry.distro, distro_of(name), settings.distro_default)
    try:
        check_family(distro, settings)
    except RequestError as error:
        return name, "", "", "", f"cannot be used: {error.what}"
    default = "(default) " if name == settings.img_default else ""
    arch = entry.arch or settings.arch_default
    return name, format_size(image.virtual_size), str(distro), arch, f"{default}{entry.description}"
