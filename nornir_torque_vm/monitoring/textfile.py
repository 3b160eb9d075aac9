"""The file in the directory that the node_exporter reads (its ``--collector.textfile.directory``)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.runstate.rootdir import RootDir

NAME = "torque-vm.prom"
"""Of the file; the exporter reads what ends so, and no hidden ones."""
MODE = 0o644
"""The exporter is no root."""


def write_metrics(directory: str, text: bytes) -> None:
    """Write the file: the exporter finds the old content or the new, never a part.

    :raises StateError: that is not possible; says why.
    """
    with _opened(directory) as folder:
        for name in folder.unfinished():  # of one that was killed: nobody else is at it
            folder.remove(name)
        folder.write(NAME, text, mode=MODE)


def remove_metrics(directory: str) -> bool:
    """Remove the file; False when there was none.

    :raises StateError: that is not possible; says why.
    """
    with _opened(directory) as folder:
        for name in folder.unfinished():
            folder.remove(name)
        return folder.remove(NAME)


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[RootDir]:
    """Lend the directory, to one process at a time.

    It may be the exporter's own: whoever owns it can put wrong figures there, but a name is all we follow,
    and a new file is what we write.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(
            f"{directory} cannot be opened: {error.strerror}",
            hint="let the node_exporter have it as --collector.textfile.directory, or correct textfile_dir",
        ) from error
    with RootDir(fd, directory) as folder:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"another process writes into {directory} now", hint="try again") from None
        yield folder
