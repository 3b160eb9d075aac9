"""What a submission reads: the script or standard input, and the files a request names.

Nothing here is written anywhere but into memory, and nothing of it is trusted later: nodes read the
user's files again with the user's rights.
"""

from __future__ import annotations

import dataclasses
import os
import stat

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import FileRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILE = 1 << 20
"""Bytes a file may have whose content belongs to the request."""

_CHUNK = 1 << 20
_LINKS = 40
"""As many links in a row as Linux follows."""
_STANDARD = 2
"""The last of the standard descriptors."""


@dataclasses.dataclass(frozen=True, slots=True)
class StandardInput:
    """The rest of standard input. ``used_up``: it was a stream, so it has to be replayed to qsub."""

    content: bytes
    used_up: bool


def read_script(path: str) -> bytes | None:
    """Return the content of a script, None if qsub cannot read it either and says why.

    TORQUE 6.1.3, src/cmds/qsub_functions.c: main_func takes regular files only.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):  # a NUL is a ValueError
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return _read_from(fd, 0)
    except OSError:
        return None
    finally:
        os.close(fd)


def read_stdin() -> StandardInput:
    """Return what is left of standard input.

    The offset of a regular file stays where it is; a pipe or a terminal is used up.
    """
    try:
        if stat.S_ISREG(os.fstat(0).st_mode):
            return StandardInput(_read_from(0, os.lseek(0, 0, os.SEEK_CUR)), used_up=False)
        chunks = []
        while chunk := os.read(0, _CHUNK):
            chunks.append(chunk)
    except OSError:  # closed, or a directory: qsub meets the same and says so
        return StandardInput(b"", used_up=False)
    content = b"".join(chunks)
    return StandardInput(content, used_up=bool(content) or os.isatty(0))


def _read_from(fd: int, offset: int) -> bytes:
    """All bytes from ``offset`` on; the descriptor's own offset stays."""
    chunks = []
    while chunk := os.pread(fd, _CHUNK, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def in_memory(content: bytes, name: str = "script") -> int:
    """Return a descriptor, kept across exec, of an unnamed file with ``content``, at its beginning.

    It is none of the standard ones, even where those are closed: qsub would write into it.
    """
    fd = os.memfd_create(name, 0)
    if fd <= _STANDARD:
        import fcntl

        low, fd = fd, fcntl.fcntl(fd, fcntl.F_DUPFD, _STANDARD + 1)
        os.close(low)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def replay(content: bytes) -> None:
    """Make ``content`` the standard input of this process and of what it becomes."""
    fd = in_memory(content, "stdin")
    os.dup2(fd, 0, inheritable=True)
    os.close(fd)


def working_directory() -> str:
    """Return where relative paths begin: ``$PWD`` where it is right, as qsub takes it for the job."""
    logical = os.environ.get("PWD", "")
    try:
        if logical.startswith("/") and os.path.samefile(logical, "."):  # noqa: PTH121 - pathlib is slow
            return logical
        return os.getcwd()  # noqa: PTH109 - same
    except OSError:
        raise RequestError("the current directory is gone", hint="change to another one") from None


def absolute(path: str, directory: str) -> str:
    """Return ``path`` as nodes take it: absolute, without ``.`` and ``..``.

    Links are followed only where ``..`` leaves no choice; a home directory may be a link that leads
    somewhere else on every host.
    """
    joined = os.path.join(directory, path)  # noqa: PTH118 - pathlib is slow
    if ".." in joined.split("/"):
        return os.path.realpath(joined)
    return "/" + os.path.normpath(joined).lstrip("/")


def read_user_files(asked: dict[str, tuple[Any, str]], directory: str) -> dict[str, tuple[Any, str]]:
    """Return ``asked`` (key → value and origin) with paths made absolute and files' digests filled in.

    :raises RequestError: a file that cannot be used, naming the key and where it was asked for.
    """
    read = dict(asked)
    for key, (value, origin) in asked.items():
        where = f"{origin}: " if origin.startswith("script") else ""
        if isinstance(value, FileRef):
            path = _behind_links(absolute(value.path, directory))
            subject = f"{where}{key} names {show(value.path)}"
            content = _read_small(path, f"{subject}, which")
            if key == "vcpu_pinning":
                _check_mapping(content, subject)
            read[key] = FileRef(path, _digest(content)), origin
        elif key == "disk" and value:
            path = _behind_links(absolute(value, directory))
            _check_disk(path, f"{where}disk names {show(value)}, which")
            read[key] = path, origin
        elif key == "img" and "/" in value:
            read[key] = absolute(value, directory), origin
    return read


def _behind_links(path: str) -> str:
    """The path of the file that a link at the end of ``path`` leads to; nodes follow none there.

    Links in front of it stay: a home directory may be one that leads somewhere else on every host.
    """
    for _ in range(_LINKS):
        try:
            path = absolute(os.readlink(path), path.rpartition("/")[0])  # noqa: PTH115 - pathlib is slow
        except OSError:  # no link, or nothing at all
            break
    return path


def _read_small(path: str, subject: str) -> bytes:
    """The content of a small regular file, taken of the very file that was examined."""
    fd = open_regular(path, subject, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        content = b"" if os.fstat(fd).st_size > MAX_FILE else _read_from(fd, 0)
        size = os.fstat(fd).st_size
    except OSError as error:
        raise RequestError(f"{subject} cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    if size > MAX_FILE:
        raise RequestError(
            f"{subject} has more than {MAX_FILE >> 20} MiB", hint="put large data into the image"
        )
    return content


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _check_mapping(content: bytes, subject: str) -> None:
    """Refuse a pinning file that no node could read."""
    from nornir_torque_vm.pinning.pinfile import parse_pins

    try:
        parse_pins(content)
    except RequestError as error:
        raise RequestError(f"{subject}: {error.what}", hint=error.hint) from None


def open_regular(path: str, subject: str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file of the user.

    :raises RequestError: it is none, or may not be opened; begins with ``subject``.
    """
    try:
        # Not blocking: a FIFO would otherwise hold the caller until somebody writes.
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise RequestError(f"{subject} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RequestError(f"{subject} is not a regular file")
    return fd


def _check_disk(path: str, subject: str) -> None:
    """Refuse a disk image that the user could not write."""
    os.close(open_regular(path, subject, os.O_RDWR))
