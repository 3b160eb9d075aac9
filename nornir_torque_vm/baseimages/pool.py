"""The site's pool of images, as its administrators change it: one at a time, and never a half of anything.

Jobs look into the pool whenever they start, and guests that run keep what they have opened. So an image gets
its name when it is complete, and its entry in the catalogue right after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping

from nornir_torque_vm.baseimages.check import QCOW2, RAW, examine, looks_like
from nornir_torque_vm.baseimages.copying import Tell, copy
from nornir_torque_vm.catalogue import FILE, Entry, read_catalogue
from nornir_torque_vm.config.fields import nearest, show
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.images import chain_of, open_pool
from nornir_torque_vm.keys import IMAGE_NAME
from nornir_torque_vm.qcow2 import HEADER_BYTES, Header, parse_header

LOCK = ".lock"
"""In the pool. A file, not the directory: on NFS clients lock files with each other, directories for
themselves."""
PART = ".part"
"""How unfinished files end; they begin with a dot, so they are nobody's images."""
_NAME = re.compile(IMAGE_NAME)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoImage(ImageError):
    """There is no image of that name."""


class ImageInUse(ImageError):
    """Something else needs the image."""


class Pool:
    """The directory ``image_pool``.

    :param path: absolute.
    :param default: the image that jobs get which name none.
    """

    def __init__(self, path: str, default: str = "") -> None:
        self.path, self.default = path.rstrip("/") or "/", default

    def catalogue(self) -> Mapping[str, Entry]:
        """What the catalogue says.

        :raises ImageError: it cannot be used.
        """
        return read_catalogue(self.path)

    def files(self) -> list[str]:
        """Names of everything in the pool but the catalogue and the lock.

        :raises ImageError: it cannot be read.
        """
        with self.opened() as folder:
            return sorted(set(os.listdir(folder)) - {FILE, LOCK})  # noqa: PTH208 - a descriptor

    def add(
        self, source: int, name: str, entry: Entry, deadline: Deadline, tell: Tell, *, force: bool = False
    ) -> Entry:
        """Copy an image into the pool; return what the catalogue then says of it.

        :param source: descriptor of a regular file.
        :param entry: what the catalogue shall say; the digest is filled in.
        :param deadline: for the lock; a copy takes what it takes.
        :param force: in place of an image of that name.
        :raises ImageError: it must not be used, its name is taken, or it cannot be written.
        :raises ImageInUse: others build on what it would replace.
        """
        subject = f"image {show(name)}"
        if not _NAME.fullmatch(name):
            raise ImageError(
                f"{subject} is not the name of an image",
                hint="give one with --name, of letters, digits and . _ + -",
            )
        before = os.fstat(source)
        self._check(source, name, entry, subject)
        with self.opened() as folder, self._locked(folder, deadline), self._errors():
            self._check_name(folder, name, force=force)
            self._check_room(folder, before)
            with self._unfinished(folder, name) as (fd, part):
                digest = copy(source, fd, tell)
                after = os.fstat(source)
                if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                    raise ImageError(f"{subject} was changed while it was copied", hint="try again")
                header = self._check(fd, name, entry, subject)
                chain_of(folder, self.path, name, header, subject, self.catalogue())
                if os.geteuid() == 0:
                    os.fchown(fd, 0, 0)
                os.fchmod(fd, 0o444)
                os.fsync(fd)
                os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            entry = dataclasses.replace(entry, sha256=digest)
            self._write(folder, {**self.catalogue(), name: entry})
        return entry

    def remove(self, name: str, deadline: Deadline, *, force: bool = False) -> None:
        """Take an image, or an entry of the catalogue without one, out of the pool.

        :param force: although jobs or other images need it.
        :raises NoImage: there is neither.
        :raises ImageInUse: another image builds on it, or it is the site's default.
        """
        with self.opened() as folder, self._locked(folder, deadline), self._errors():
            catalogue = self.catalogue()
            there = name in self.files() and _NAME.fullmatch(name)
            if not there and name not in catalogue:
                raise self.missing(name)
            if there and not force:
                self._check_unused(folder, name)
            if there:
                os.unlink(name, dir_fd=folder)
            if name in catalogue:
                self._write(folder, {key: entry for key, entry in catalogue.items() if key != name})

    def missing(self, name: str) -> NoImage:
        """What to say of a name that is no image's."""
        there = [other for other in self.files() if _NAME.fullmatch(other)]
        hint = nearest(name, there) if there else "there is none at all: is it mounted?"
        return NoImage(f"there is no image {show(name)} in the image pool {self.path}", hint=hint)

    def dependents(self, folder: int, name: str) -> list[str]:
        """Names of the images that build on ``name``."""
        catalogue = self.catalogue()
        found = []
        for other in self.files():
            if catalogue.get(other, Entry()).format == QCOW2 and other != name and _NAME.fullmatch(other):
                with contextlib.suppress(ImageError, OSError):
                    below = _backing(folder, other)
                    if below.removeprefix(f"{self.path}/") == name:
                        found.append(other)
        return found

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Lend a descriptor of the directory.

        :raises ImageError: there is no such directory.
        """
        folder = open_pool(self.path)
        try:
            yield folder
        finally:
            os.close(folder)

    def _check(self, fd: int, name: str, entry: Entry, subject: str) -> Header:
        """Refuse a file that is no image, or not of the format it is said to have."""
        data = os.pread(fd, HEADER_BYTES, 0)
        looks = looks_like(data)
        if entry.format == RAW and looks:
            raise ImageError(f"{subject} is no raw disk: it begins as {looks} does", hint=_cure(name, looks))
        if entry.format == QCOW2 and looks != QCOW2:
            hint = _cure(name, looks) if looks else "if it is a raw disk, say --format raw"
            raise ImageError(f"{subject} is not a qcow2 image", hint=hint)
        return examine(data, os.fstat(fd).st_size, subject, entry.format)

    def _check_name(self, folder: int, name: str, *, force: bool) -> None:
        if name not in self.files():
            return
        if not force:
            raise ImageError(f"there is an image {show(name)} in {self.path}", hint="--force replaces it")
        above = self.dependents(folder, name)
        if above:
            raise ImageInUse(
                f"image {show(name)} cannot be replaced: {', '.join(above)} build on it",
                hint="give the new one a name of its own",
            )

    def _check_unused(self, folder: int, name: str) -> None:
        above = self.dependents(folder, name)
        needed = f"{', '.join(above)} build on it" if above else ""
        if name == self.default:
            needed = "jobs that name no image boot it (img_default)"
        if needed:
            raise ImageInUse(
                f"image {show(name)} is needed: {needed}", hint="--force removes it all the same"
            )

    def _check_room(self, folder: int, source: os.stat_result) -> None:
        room = os.fstatvfs(folder)
        free, needed = room.f_bavail * room.f_frsize, source.st_blocks * 512
        if needed > free:
            raise ImageError(
                f"the image has {needed >> 20} MiB, and {free >> 20} MiB are free in {self.path}",
                hint="make room there", blame=Blame.SITE,
            )  # fmt: skip

    def _write(self, folder: int, entries: Mapping[str, Entry]) -> None:
        """Put a new catalogue in the place of the old one."""
        stated = {name: _stated(entries[name]) for name in sorted(entries)}
        text = json.dumps(stated, indent=1, ensure_ascii=False) + "\n"
        with self._unfinished(folder, FILE) as (fd, part):
            view = memoryview(text.encode())
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, 0o644)
            os.fsync(fd)
            os.rename(part, FILE, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    @contextlib.contextmanager
    def _unfinished(self, folder: int, name: str) -> Iterator[tuple[int, str]]:
        """Lend a new file and its name; it is gone afterwards unless it was given another."""
        part = f".{name}.{secrets.token_hex(4)}{PART}"
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            yield fd, part
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)

    @contextlib.contextmanager
    def _locked(self, folder: int, deadline: Deadline) -> Iterator[None]:
        """Be the only one who changes the pool."""
        with self._errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(LOCK, flags, 0o600, dir_fd=folder)
        try:
            for _ in deadline.backoff():
                with contextlib.suppress(BlockingIOError), self._errors():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            else:
                raise ImageError(
                    f"somebody else is changing the image pool {self.path}", hint="try again later",
                    blame=Blame.SITE,
                )  # fmt: skip
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            full = error.errno in _FULL
            why = "no space is left there" if full else error.strerror
            hint = "make room there" if full else "as root, on a host where it can be written"
            raise ImageError(
                f"the image pool {self.path} cannot be changed: {why}", hint=hint, blame=Blame.SITE
            ) from error


def _backing(folder: int, name: str) -> str:
    """What a file of the pool says it builds on."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return parse_header(os.pread(fd, HEADER_BYTES, 0)).backing_file
    finally:
        os.close(fd)


def _stated(entry: Entry) -> dict[str, str]:
    """An entry as the catalogue has it: what is not known is not said."""
    raw = {"distro": entry.distro, "arch": entry.arch, "description": entry.description,
           "format": entry.format if entry.format != QCOW2 else "", "sha256": entry.sha256}  # fmt: skip
    return {key: str(value) for key, value in raw.items() if value}


def _cure(name: str, looks: str) -> str:
    """What to do with a file of another kind."""
    if looks == QCOW2:
        return "leave --format raw away"
    if looks in {"gzip", "xz", "bzip2", "zstd"}:
        return "unpack it first"
    return f"torque-vm image convert FILE --from {looks} --name {name}"
