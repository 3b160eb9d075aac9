"""Directories that only we may write: opened once, checked, and then used by descriptor.

Run state holds private keys and decides what is destroyed, so nobody else may be able to put
anything into its way: every name is one component relative to an open directory, links are never
followed, and files appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

READ_LIMIT = 64 << 20
"""Bytes of a file that :meth:`RootDir.read` returns at most."""
_TEMPORARY = ".new-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class RootDir:
    """An open directory that belongs to us and that nobody else may write; a context manager.

    "Us" is the effective user: root in hooks, whoever runs the tests in tests. All methods raise
    :class:`StateError` with the path and the system's reason when something cannot be done.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd, self.path = fd, path

    @classmethod
    def at(cls, path: str | Path, *, create: int | None = None) -> Self:
        """Open a directory by path; parents may be links, it may not.

        :param create: mode to create it with, parents included, when it does not exist; what one that exists
            lacks of it is added, as its maker may have been killed before.
        """
        if create is not None:
            with _told("create", path):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
        return cls._opened(str(path), str(path), None, create)

    def sub(self, name: str, *, create: int | None = None) -> Self:
        """Open a directory inside this one; ``create`` as for :meth:`at`."""
        return self._opened(_checked(name), f"{self.path}/{name}", self.fd, create)

    @classmethod
    def _opened(cls, name: str, path: str, dir_fd: int | None, create: int | None) -> Self:
        with _told("open", path):
            if create is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=dir_fd)
            fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
        try:
            status = os.fstat(fd)
            _check_owner(status, path)
            mode = stat.S_IMODE(status.st_mode)
            if create is not None and create & ~mode:
                os.fchmod(fd, mode | create)  # mkdir's own mode is cut by the umask
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, path)

    def __enter__(self) -> Self:
        """Nothing more to do: it is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the directory."""
        os.close(self.fd)

    def write(
        self, name: str, data: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None
    ) -> None:
        """Write a whole file: a reader finds the old content or the new, never a part.

        :param owner: uid and gid the file is given to.
        """
        temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
        with _told("write", f"{self.path}/{_checked(name)}"):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=self.fd)
            try:
                with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
                    file.write(data)
                    file.flush()
                    if owner is not None:
                        os.fchown(fd, *owner)
                    os.fchmod(fd, mode)
                os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except BaseException:
                self.remove(temporary)
                raise

    def move(self, name: str, target: RootDir, new_name: str) -> None:
        """Move a file of this directory over ``new_name`` in another one of the same file system."""
        with _told("write", f"{target.path}/{_checked(new_name)}"):
            os.rename(_checked(name), new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)

    def read(self, name: str) -> bytes | None:
        """Return a regular file's content, at most :data:`READ_LIMIT` bytes; None when it is missing."""
        with _told("read", f"{self.path}/{_checked(name)}"):
            try:
                fd = os.open(name, os.O_RDONLY | _FILE, dir_fd=self.fd)
            except FileNotFoundError:
                return None
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise StateError(f"{self.path}/{name} is not a regular file")
                with open(fd, "rb", closefd=False) as file:
                    return file.read(READ_LIMIT)
            finally:
                os.close(fd)

    def remove(self, name: str) -> bool:
        """Remove a file; False when it was not there."""
        with _told("remove", f"{self.path}/{_checked(name)}"):
            try:
                os.unlink(name, dir_fd=self.fd)
            except FileNotFoundError:
                return False
            return True

    def remove_dir(self, name: str) -> bool:
        """Remove a directory and the files in it; False when it was not there.

        Somebody who does the same at the same time does no harm.
        """
        with _told("remove", f"{self.path}/{_checked(name)}"):
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=self.fd)
            except FileNotFoundError:
                return False
            try:
                for entry in _list(fd):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry, dir_fd=fd)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(name, dir_fd=self.fd)
            finally:
                os.close(fd)
            return True

    def names(self, prefix: str = "") -> list[str]:
        """Names of what is in it, sorted; what is still being written does not count."""
        with _told("list", self.path):
            there = _list(self.fd)
        return sorted(name for name in there if name.startswith(prefix) and not name.startswith(_TEMPORARY))

    def unfinished(self) -> list[str]:
        """Names of the files that are being written, or were when their writer was killed."""
        with _told("list", self.path):
            return sorted(name for name in _list(self.fd) if name.startswith(_TEMPORARY))


def _list(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries]


def _checked(name: str) -> str:
    """``name`` if it is one component of a path."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise StateError(f"{name!r} is not a file name")
    return name


def _check_owner(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise StateError(
            f"{path} belongs to uid {status.st_uid}, not to uid {os.geteuid()}",
            hint="look who made it, then remove it",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        raise StateError(f"{path} can be written by others (mode {mode:04o})", hint=f"chmod go-w {path}")


@contextlib.contextmanager
def _told(verb: str, path: str | Path) -> Iterator[None]:
    """Turn the system's refusal into our sentence."""
    try:
        yield
    except OSError as error:
        hint = "free some space there" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
        raise StateError(f"cannot {verb} {path}: {error.strerror or error}", hint=hint) from error
