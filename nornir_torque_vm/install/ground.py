"""The ground that an installation stands on: what is there, and whether only root can change the way to it.

A link or a directory on the way that somebody else made, or could exchange, would lead what root writes
to a place of that person's choice. Links of root are followed: sites move directories with them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.manifest import NAME as MANIFEST
from nornir_torque_vm.install.model import Found, Tree

_LINKS = 40
"""Links on one way that are followed at most; as Linux."""


def settled(path: str) -> str:
    """Return the path behind all links; what does not exist yet is kept as it is written.

    :raises InstallError: it is not absolute, no regular file or directory, or not only root's to change.
    """
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise InstallError(f"{path} has to be an absolute path without '..'")
    done, todo, links = Path("/"), list(Path(path).parts[1:]), 0
    while todo:
        name = todo.pop(0)
        here = done.parent if name == ".." else done / name
        status = _status(str(here))
        if status is None:
            return str(here.joinpath(*todo))
        _check(str(here), status, last=not todo)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS:
                raise InstallError(f"{path} leads over too many links")
            target = here.readlink()
            done = Path("/") if target.is_absolute() else done
            todo[:0] = target.parts[1:] if target.is_absolute() else target.parts
        else:
            done = here
    return str(done)


def look(paths: Iterable[str], listed: Iterable[str] = ()) -> Tree:
    """Read the files at ``paths``, and the names in the directories ``listed``.

    The list of what is installed does not count as a name: it goes with the last thing that is.

    :raises InstallError: as for :func:`settled`, or a file cannot be read.
    """
    files, directories = {}, {"/": frozenset[str]()}
    wanted = list(listed)
    for path in paths:
        content = read_file(path)
        if content is not None:
            files[path] = content
        directories |= _above(path)
    for path in wanted:
        directories |= _above(path)
    for path in wanted:
        real = settled(path)
        if Path(real).is_dir():
            directories[path] = frozenset(entry.name for entry in Path(real).iterdir()) - {MANIFEST}
    return Tree(files, directories)


def _above(path: str) -> dict[str, frozenset[str]]:
    return {str(parent): frozenset() for parent in PurePosixPath(path).parents if Path(parent).is_dir()}


def read_file(path: str) -> Found | None:
    """Return a regular file's content and mode; None when it is missing.

    :raises InstallError: as for :func:`look`.
    """
    real = Path(settled(path))
    try:
        with real.open("rb") as file:
            return Found(file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InstallError(f"cannot read {path}: {error.strerror}") from None


def closed_to_users(paths: Iterable[str]) -> str:
    """Return the first directory that not everybody can enter on the way to ``paths``, "" if none.

    A link's target counts: an interpreter in a virtual environment is one.
    """
    for path in paths:
        behind = PurePosixPath(os.path.realpath(path))
        for parent in (*reversed(PurePosixPath(path).parents), *reversed(behind.parents)):
            status = _status(str(parent))
            if status is not None and stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IXOTH:
                return str(parent)
    return ""


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InstallError(f"cannot look at {path}: {error.strerror}") from None


def _check(path: str, status: os.stat_result, *, last: bool) -> None:
    """See that nobody but root (and whoever we are) can put something else into its place."""
    mode = status.st_mode
    kind = "link" if stat.S_ISLNK(mode) else "directory" if stat.S_ISDIR(mode) else "file"
    if status.st_uid not in {0, os.geteuid()}:
        raise InstallError(
            f"the {kind} {path} belongs to uid {status.st_uid}, who could exchange what is written there",
            hint="look who made it, then give it to root or remove it",
        )
    if kind == "file" and not (last and stat.S_ISREG(mode)):
        raise InstallError(f"{path} is not a {'regular file' if last else 'directory'}")
    others = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()})
    if kind == "directory" and others and not mode & stat.S_ISVTX:
        raise InstallError(
            f"{path} can be written by others (mode {stat.S_IMODE(mode):04o})", hint=f"chmod go-w {path}"
        )
