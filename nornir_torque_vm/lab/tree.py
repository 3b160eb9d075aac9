"""Writing a host's own files, never half of one, and removing them, never anything else."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab.files import DIRECTORIES, LINKS, Directory, File
from nornir_torque_vm.lab.spec import MACHINE_ETC


def write_tree(root: Path, files: Iterable[File], more: Iterable[Directory] = ()) -> None:
    """Make the host's directories and files below ``root``; what is right already stays untouched.

    :param more: directories besides those that every host has.
    """
    make_directories(root, (*DIRECTORIES, *more))
    write_files(root, files)
    for name, target in (LINKS | etc_links(Path("/etc"))).items():
        with contextlib.suppress(FileExistsError):
            (root / name[1:]).symlink_to(target)


def make_directories(root: Path, directories: Iterable[Directory]) -> None:
    """Make directories below ``root``, with their mode and owner."""
    for directory in directories:
        path = root / directory.path[1:]
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(directory.mode)
        os.chown(path, directory.uid, directory.gid)


def write_files(root: Path, files: Iterable[File]) -> None:
    """Write files below ``root``; their directories must be there."""
    for file in files:
        write_text(root / file.path[1:], file.text, file.mode)


def etc_links(etc: Path) -> dict[str, str]:
    """Return links that make the rest of the machine's ``etc`` appear in a host's /etc.

    A link there is copied as it is, since it may lead out of the directory relative to itself.
    """
    return {
        f"/etc/{entry.name}": str(entry.readlink()) if entry.is_symlink() else f"{MACHINE_ETC}/{entry.name}"
        for entry in etc.iterdir()
    }


def remove(directory: Path) -> None:
    """Remove a directory of the lab, but never through a mount into something else.

    :raises LabError: something is mounted in it.
    """
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as table:
        points = [Path(line.split()[4]) for line in table]
    if any(point.is_relative_to(directory) for point in points):
        raise LabError(f"{directory} is not removed: something is mounted in it", hint="unmount it")
    shutil.rmtree(directory)
