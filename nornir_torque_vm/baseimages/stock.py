"""What lies in the site's pool of images: facts for people, and whether it is still what was put there."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

from nornir_torque_vm.baseimages.check import RAW
from nornir_torque_vm.baseimages.copying import Tell, digest_of
from nornir_torque_vm.baseimages.pool import Pool
from nornir_torque_vm.catalogue import Entry
from nornir_torque_vm.choose import settle_distro
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import ImageError
from nornir_torque_vm.images import distro_of, open_image
from nornir_torque_vm.keys import IMAGE_NAME
from nornir_torque_vm.model import Image
from nornir_torque_vm.qcow2 import HEADER_BYTES, parse_header

_NAME = re.compile(IMAGE_NAME)
_SUFFIXES = (".qcow2", ".img", ".raw")
"""File names that promise an image."""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """One image of the pool, or what claims to be one. Sizes in bytes."""

    name: str
    path: str
    format: str
    distro: str
    distro_told_by: str
    arch: str
    description: str
    sha256: str
    default: bool
    catalogued: bool
    virtual_size: int = 0
    file_size: int = 0
    stored: int = 0
    """What the file takes of its file system; holes take nothing."""
    qcow2_version: int = 0
    cluster_size: int = 0
    backing: tuple[str, ...] = ()
    """Names of the images it builds on, the topmost first."""
    refused: str = ""
    """Why no job can boot it; empty when jobs can."""


class State(enum.StrEnum):
    """What became of an image since it was put into the pool."""

    OK = "ok"
    DIFFERS = "differs"
    """Its content has another digest."""
    NO_DIGEST = "no digest"
    """The catalogue has none, so nobody can say."""
    REFUSED = "refused"
    """No job can boot it."""
    MISSING = "missing"
    """The catalogue has it, the pool has not."""
    UNKNOWN = "unknown file"
    """No image, and in no catalogue."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one file or entry."""

    name: str
    state: State
    why: str = ""


def stock(pool: Pool, settings: Settings) -> list[Facts]:
    """Return what can be said of every image of the pool, by name.

    :raises ImageError: the pool or its catalogue cannot be read.
    """
    catalogue = pool.catalogue()
    return [
        facts_of(pool, name, catalogue, settings) for name in pool.files() if claims(name, pool, catalogue)
    ]


def claims(name: str, pool: Pool, catalogue: Mapping[str, Entry]) -> bool:
    """Whether a file of the pool is an image, or should be one by its entry or its name."""
    if not _NAME.fullmatch(name):
        return False
    if name in catalogue or name.endswith(_SUFFIXES):
        return True
    try:
        open_image(pool.path, name, catalogue)
    except ImageError:
        return False
    return True


def facts_of(pool: Pool, name: str, catalogue: Mapping[str, Entry], settings: Settings) -> Facts:
    """Return what can be said of one image.

    :raises NoImage: there is none of that name.
    :raises ImageError: the pool cannot be read.
    """
    if name not in pool.files() or not _NAME.fullmatch(name):
        raise pool.missing(name)
    entry = catalogue.get(name, Entry())
    distro, teller = settle_distro(None, entry.distro, distro_of(name), settings.distro_default)
    facts = Facts(
        name=name,
        path=f"{pool.path}/{name}",
        format=entry.format,
        distro=str(distro),
        distro_told_by=teller,
        arch=entry.arch or settings.arch_default,
        description=entry.description,
        sha256=entry.sha256,
        default=name == settings.img_default,
        catalogued=name in catalogue,
    )
    try:
        image = open_image(pool.path, name, catalogue)
        return _measured(pool, facts, image)
    except ImageError as error:
        return dataclasses.replace(facts, refused=f"{error.what}; {error.hint}" if error.hint else error.what)


def _measured(pool: Pool, facts: Facts, image: Image) -> Facts:
    """With what the file itself says."""
    with pool.opened() as folder:
        fd = os.open(image.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            status, data = os.fstat(fd), os.pread(fd, HEADER_BYTES, 0)
        finally:
            os.close(fd)
    facts = dataclasses.replace(
        facts,
        virtual_size=image.virtual_size,
        file_size=status.st_size,
        stored=status.st_blocks * 512,
        backing=tuple(path.rpartition("/")[2] for path in image.backing),
    )
    if image.format == RAW:
        return facts
    header = parse_header(data)
    return dataclasses.replace(facts, qcow2_version=header.version, cluster_size=header.cluster_size)


def verify(pool: Pool, names: Sequence[str], tell: Callable[[str, int], Tell]) -> Iterator[Verdict]:
    """Compare images with the digests the catalogue has of them; yield a verdict for each.

    :param names: which; none: everything that is in the pool or in its catalogue.
    :param tell: from a name and the bytes its file has to who is told of the progress.
    :raises NoImage: a name that is neither in the pool nor in the catalogue.
    :raises ImageError: the pool or its catalogue cannot be read.
    """
    catalogue, files = pool.catalogue(), pool.files()
    for name in names or sorted({*files, *catalogue}):
        if name not in files and name not in catalogue:
            raise pool.missing(name)
        yield _verdict(pool, name, catalogue, files, tell)


def _verdict(
    pool: Pool, name: str, catalogue: Mapping[str, Entry], files: Sequence[str],
    tell: Callable[[str, int], Tell],
) -> Verdict:  # fmt: skip
    if name not in files:
        return Verdict(name, State.MISSING, "the catalogue has it, the pool has not")
    if not claims(name, pool, catalogue):
        return Verdict(name, State.UNKNOWN, "no image, and not in the catalogue")
    try:
        open_image(pool.path, name, catalogue)
    except ImageError as error:
        return Verdict(name, State.REFUSED, error.what)
    stated = catalogue.get(name, Entry()).sha256
    if not stated:
        return Verdict(name, State.NO_DIGEST, "torque-vm image add --force takes it anew, with its digest")
    found = _digest(pool, name, tell)
    if found != stated:
        return Verdict(name, State.DIFFERS, f"it has {found}, the catalogue says {stated}")
    return Verdict(name, State.OK)


def _digest(pool: Pool, name: str, tell: Callable[[str, int], Tell]) -> str:
    with pool.opened() as folder:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(fd)
            return digest_of(fd, tell(name, status.st_size)) if stat.S_ISREG(status.st_mode) else ""
        finally:
            os.close(fd)
