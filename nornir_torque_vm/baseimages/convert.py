"""Making a self-contained qcow2 image of a file of another kind, by ``qemu-img``.

What such a file names (an extent of a vmdk, a backing file) qemu-img opens and copies into the image, which
everybody can boot. So root's qemu-img has the rights of ``nobody``: what it can read everybody can. It gets
limits. The format is never guessed: the administrator says it, or our own parser finds a header of qcow2.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nornir_torque_vm.baseimages.check import QCOW2
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, ImageError
from nornir_torque_vm.images import MAX_CHAIN
from nornir_torque_vm.qcow2 import HEADER_BYTES, MAGIC, MAX_SIZE, parse_header

PROGRAM = "qemu-img"
KINDS = ("qcow2", "raw", "vmdk", "vdi", "vpc", "vhdx", "qed")
"""What can be converted; qemu-img's words."""
NOBODY = 65534
"""Uid and gid of nobody, which may own nothing."""
MEMORY = 4 << 30
"""Bytes of address space qemu-img may have."""
LONGEST = 7 * 86400.0
"""Seconds a conversion may take whatever was said: no selector waits for ever."""
_SHOWN = 300
"""Characters of what qemu-img says that an error repeats."""
_LAST_WAIT = 2.0


@contextlib.contextmanager
def converted(path: str, kind: str, place: str, deadline: Deadline) -> Iterator[int]:
    """Lend a descriptor of a new qcow2 image with the disk of ``path``; the file is gone afterwards.

    :param kind: one of :data:`KINDS`; empty: only if it is qcow2 by its header.
    :param place: directory with room for it: the pool.
    :raises ImageError: it cannot be converted; with what qemu-img said.
    :raises DeadlineExceeded: the time is up.
    """
    path = str(Path(path).absolute())
    kind = kind or _own_word(path)
    if kind == QCOW2:
        _check_formats(path)
    try:
        folder = tempfile.mkdtemp(prefix=".convert-", dir=place)
    except OSError as error:
        raise ImageError(f"nothing can be written in {place}: {error.strerror}", hint="as root") from None
    target = f"{folder}/disk.qcow2"
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        _run(path, kind, target, deadline)
        fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(target).unlink()
        Path(folder).rmdir()


def _run(path: str, kind: str, target: str, deadline: Deadline) -> None:
    argv = [PROGRAM, "convert", "-q", "-f", kind, "-O", QCOW2, "-o", "compat=1.1", path, target]
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "LC_ALL": "C"}, preexec_fn=_limit, **user,  # noqa: PLW1509 - the only thread there is
        )  # fmt: skip
    except FileNotFoundError:
        raise ImageError(f"{PROGRAM} is not installed here", hint="apt install qemu-utils") from None
    try:
        _, said = process.communicate(timeout=deadline.clamp(LONGEST))
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{show(path)} was not converted in time: see --timeout") from None
    finally:
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WAIT)
        if process.stderr is not None:
            process.stderr.close()
    if process.returncode:
        raise _failed(path, kind, process.returncode, said.decode(errors="replace"))


def _limit() -> None:
    """In the child: what a hostile file may make it take."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MAX_SIZE, 2 * MAX_SIZE))


def _failed(path: str, kind: str, code: int, said: str) -> ImageError:
    why = " ".join(said.split())[:_SHOWN] or f"exit status {code}"
    hint = f"is it {kind}? see --from"
    if "Permission denied" in said and os.geteuid() == 0:
        hint = "qemu-img has nobody's rights: it, and what it names, has to be readable for everybody"
    return ImageError(f"{show(path)} cannot be converted: {why}", hint=hint)


def _own_word(path: str) -> str:
    """``qcow2`` if the file begins as such; nothing else may be guessed."""
    if _start(path)[:4] != MAGIC:
        raise ImageError(
            f"{show(path)} is not a qcow2 image", hint=f"say what it is: --from {'|'.join(KINDS[1:])}"
        )
    return QCOW2


def _check_formats(path: str) -> None:
    """Refuse a chain of images one of which does not say of what format the next is.

    qemu-img would look into that one and guess; and its guest may have written what it finds.
    """
    subject = show(path)
    for _ in range(MAX_CHAIN):
        header = parse_header(_start(path), subject)
        if not header.backing_file:
            return
        if not header.backing_format:
            raise ImageError(
                f"{subject} builds on {show(header.backing_file)} without saying of what format that is",
                hint="if you know: qemu-img rebase -u -F FORMAT -b OTHER FILE",
            )
        if ":" in header.backing_file.partition("/")[0]:
            raise ImageError(f"{subject} builds on {show(header.backing_file)}, which is no file")
        if header.backing_format != QCOW2:
            return
        path = str(Path(path).parent / header.backing_file)
        subject = f"{subject} builds on {show(path)}, which"
    raise ImageError(f"{subject} builds on more than {MAX_CHAIN} images")


def _start(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ImageError(f"{show(path)} is not a regular file")
            return os.pread(fd, HEADER_BYTES, 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise ImageError(f"{show(path)} cannot be read: {error.strerror}") from None
