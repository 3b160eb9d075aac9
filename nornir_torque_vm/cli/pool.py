"""``torque-vm image list|show|add|convert|verify|remove``: the site's pool of images.

Exit codes: :class:`~nornir_torque_vm.exitcodes.ImageExit`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from nornir_torque_vm.baseimages.check import FORMATS, QCOW2
from nornir_torque_vm.baseimages.convert import KINDS, converted
from nornir_torque_vm.baseimages.copying import Tell
from nornir_torque_vm.baseimages.pool import ImageInUse, NoImage, Pool
from nornir_torque_vm.baseimages.stock import Facts, State, Verdict, facts_of, stock
from nornir_torque_vm.baseimages.stock import verify as verified
from nornir_torque_vm.catalogue import Entry, read_entry
from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.jobtext import legible
from nornir_torque_vm.cli.show import as_json, table
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.fields import show as quoted
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.exitcodes import ImageExit
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.processors.statusline import PAUSE, WIDTH
from nornir_torque_vm.sizes import format_size

TITLES = ("IMAGE", "DISK", "STORED", "FORMAT", "DISTRO", "ARCH", "DIGEST", "DESCRIPTION")
LOCK_SECONDS = 60.0
"""How long somebody else's change of the pool is waited for."""


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says where the settings are."""
    return click.option(
        "--settings", "settings_path", metavar="FILE", envvar="TORQUE_VM_SETTINGS",
        shell_complete=offers.files,
        help="The settings file. [default: /etc/torque-vm/settings.toml]",
    )(command)  # fmt: skip


def for_entry(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what goes into the catalogue."""
    for option in (
        click.option("--force", is_flag=True, help="Replace an image of that name; guests that run keep it."),
        click.option("--description", metavar="TEXT", help="What it is for, in a line."),
        click.option("--arch", metavar="ARCH", help="Processor architecture, such as x86_64."),
        click.option("--distro", metavar="FAMILY", help="debian, ubuntu, redhat, centos or osv."),
    ):
        command = option(command)
    return with_settings(command)


@contextlib.contextmanager
def judged() -> Iterator[None]:
    """End the command with the exit code that says how an image failed."""
    try:
        yield
    except ImageError as error:
        if error.blame is Blame.SITE:
            raise
        say(str(error))
        kinds = {NoImage: ImageExit.NOTHING, ImageInUse: ImageExit.NEEDED}
        raise click.exceptions.Exit(kinds.get(type(error), ImageExit.REFUSED)) from None


def opened(settings_path: str | None) -> tuple[Pool, Settings]:
    """The pool the settings name, and the settings."""
    settings = settings_module.load(settings_path)
    return Pool(settings.image_pool, settings.img_default), settings


@click.command(name="list")
@click.option("--json", "json_wanted", is_flag=True, help="For programs.")
@with_settings
def list_(*, json_wanted: bool, settings_path: str | None) -> int:
    """List the images of the pool (setting image_pool), and why one cannot be booted."""
    pool, settings = opened(settings_path)
    found = stock(pool, settings)
    if json_wanted:
        print(as_json({"pool": pool.path, "images": found}))
    elif found:
        print(table(TITLES, [row(one) for one in found]))
    if not found:
        say(f"there is no image in {pool.path}; is it mounted?")
        return ImageExit.NOTHING
    return ImageExit.OK


def row(one: Facts) -> tuple[str, ...]:
    """A line of the table."""
    name = f"{one.name} (default)" if one.default else one.name
    digest = one.sha256[:12] or "-"
    if one.refused:
        return name, "-", "-", one.format, one.distro, one.arch, digest, legible(f"refused: {one.refused}")
    sizes = format_size(one.virtual_size), f"{one.stored / 1e6:.1f} MB"
    return (name, *sizes, one.format, one.distro, one.arch, digest, legible(one.description))


@click.command()
@click.argument("name", shell_complete=offers.images)
@click.option("--json", "json_wanted", is_flag=True, help="For programs.")
@with_settings
def show(*, name: str, json_wanted: bool, settings_path: str | None) -> int:
    """Show what is known of one image: by its file, and by the catalogue."""
    pool, settings = opened(settings_path)
    with judged():
        facts = facts_of(pool, name, pool.catalogue(), settings)
    if json_wanted:
        print(as_json(facts))
    else:
        for title, text in lines_of(facts):
            print(f"{title + ':':<13}{legible(text)}")
    return ImageExit.REFUSED if facts.refused else ImageExit.OK


def lines_of(facts: Facts) -> Iterator[tuple[str, str]]:
    """What ``show`` says, line by line."""
    yield "image", f"{facts.name} (default)" if facts.default else facts.name
    yield "file", facts.path
    if facts.refused:
        yield "refused", facts.refused
    else:
        yield "disk", f"{format_size(facts.virtual_size)} ({facts.virtual_size} bytes)"
        yield "stored", f"{facts.stored} of {facts.file_size} bytes; the rest are holes"
    version = f", version {facts.qcow2_version}, clusters of {format_size(facts.cluster_size)}"
    yield "format", f"{facts.format}{version if facts.qcow2_version else ''}"
    yield "builds on", ", ".join(facts.backing) or "no other image"
    yield "distro", f"{facts.distro}, by {facts.distro_told_by}"
    yield "arch", facts.arch
    yield "description", facts.description or "-"
    yield "sha256", facts.sha256 or "none in the catalogue"
    yield "catalogue", "has it" if facts.catalogued else "does not have it"


@click.command()
@click.argument("file", metavar="FILE", shell_complete=offers.files)
@click.option("--name", metavar="NAME", help="Name in the pool. [default: that of the file]")
@click.option("--format", "form", type=click.Choice(FORMATS), default=QCOW2, show_default=True,
              help="raw: the file is a disk as it is; nothing in it could say so.")  # fmt: skip
@for_entry
def add(*, file: str, name: str | None, form: str, force: bool, **stated: str | None) -> int:
    """Copy an image into the pool, with an entry in the catalogue.

    The file is examined as for each job: no backing file outside the pool, no data in other files, not
    encrypted, corrupt or cut off. It is complete and belongs to root, mode 0444, when it gets its name.
    """
    pool, _ = opened(stated.pop("settings_path"))
    with judged(), source_of(file) as fd:
        take(pool, fd, name or os.path.basename(file), form, stated, force=force)  # noqa: PTH119
    return ImageExit.OK


@click.command()
@click.argument("file", metavar="FILE", shell_complete=offers.files)
@click.option("--from", "kind", type=click.Choice(KINDS), help="What it is; only qcow2 need not be said.")
@click.option("--name", metavar="NAME", required=True, help="Name in the pool.")
@click.option("--timeout", type=click.FloatRange(1), default=3600.0, show_default=True, metavar="SECONDS")
@for_entry
def convert(
    *, file: str, kind: str | None, name: str, timeout: float, force: bool, **stated: str | None
) -> int:
    """Make a self-contained qcow2 image of a file of another kind, and add it.

    By qemu-img, which root lets run as nobody: the file, and what it builds on, has to be readable for
    everybody. Twice the image's size has to be free in the pool meanwhile.
    """
    pool, _ = opened(stated.pop("settings_path"))
    with judged(), converted(file, kind or "", pool.path, Deadline.after(timeout)) as fd:
        take(pool, fd, name, QCOW2, stated, force=force)
    return ImageExit.OK


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=offers.images)
@click.option("--json", "json_wanted", is_flag=True, help="For programs.")
@with_settings
def verify(*, names: tuple[str, ...], json_wanted: bool, settings_path: str | None) -> int:
    """Read images, all by default, and compare them with the catalogue's digests.

    Names what has no digest, files that are no image and in no catalogue, and entries without a file.
    """
    pool, _ = opened(settings_path)
    with judged():
        found = list(verified(pool, names, progress))
    if json_wanted:
        print(as_json({"pool": pool.path, "images": found}))
    else:
        print(table(("IMAGE", "STATE", "WHY"), [(one.name, one.state, legible(one.why)) for one in found]))
    return verdict(found)


def verdict(found: list[Verdict]) -> int:
    """The exit code for all of them."""
    states = {one.state for one in found}
    if State.DIFFERS in states:
        return ImageExit.DIFFERS
    if states & {State.REFUSED, State.MISSING}:
        return ImageExit.FAILED
    return ImageExit.OK if found else ImageExit.NOTHING


@click.command()
@click.argument("name", shell_complete=offers.images)
@click.option("--force", is_flag=True, help="Although other images, or jobs that name none, need it.")
@with_settings
def remove(*, name: str, force: bool, settings_path: str | None) -> int:
    """Take an image out of the pool and the catalogue.

    Guests that run from it go on: they have it open. A guest that starts later fails, those of jobs that are
    just being started too.
    """
    pool, _ = opened(settings_path)
    with judged():
        pool.remove(name, Deadline.after(LOCK_SECONDS), force=force)
    return ImageExit.OK


@contextlib.contextmanager
def source_of(path: str) -> Iterator[int]:
    """Lend a descriptor of the file that shall become an image."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"{quoted(path)} cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ImageError(f"{quoted(path)} is not a regular file")
        yield fd
    finally:
        os.close(fd)


def take(pool: Pool, fd: int, name: str, form: str, stated: dict[str, str | None], *, force: bool) -> None:
    """Put a file into the pool; what is not said of it now stays as it was said before."""
    said = {key: text for key, text in stated.items() if text is not None}
    old = pool.catalogue().get(name, Entry())
    entry = dataclasses.replace(old, **read_entry({**said, "format": form}))
    deadline = Deadline.after(LOCK_SECONDS)
    entry = pool.add(fd, name, entry, deadline, progress(name, os.fstat(fd).st_size), force=force)
    print(f"{pool.path}/{name} sha256:{entry.sha256}")


def progress(name: str, size: int) -> Tell:
    """Show on a terminal how much of a file is read; nothing elsewhere."""
    return Progress(name, size) if sys.stderr.isatty() and size else lambda _: None


class Progress:
    """One line that is written over: ``torque-vm: debian.qcow2: 41 % of 812.3 MB``."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size, self._shown = name, size, 0.0

    def __call__(self, done: int) -> None:
        """Show that so many bytes are done, if the last time was a while ago or it was the last of them."""
        now, last = time.monotonic(), done >= self._size
        if last or now - self._shown >= PAUSE:
            self._shown = now
            text = f"torque-vm: {self._name}: {100 * done // self._size} % of {self._size / 1e6:.1f} MB"
            sys.stderr.write(f"\r{text[:WIDTH]:<{WIDTH}}" + ("\n" if last else ""))
            sys.stderr.flush()


COMMANDS = (list_, show, add, convert, verify, remove)
"""In the order in which one meets them."""
