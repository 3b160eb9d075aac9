"""Where the file with a failed job's consoles goes. Pure; paths and names are the user's words."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from nornir_torque_vm.identity import job_slug

NAME_LENGTH = 100
"""Characters of a job's name that are used; TORQUE's own limit is 15 or 236, by version."""
NOT_THERE = ("/dev", "/proc", "/sys")
"""Directories in which no output is looked for: it was sent to ``/dev/null``, say."""


class Place(NamedTuple):
    """A directory, absolute, and a file's name in it."""

    directory: str
    name: str

    @property
    def path(self) -> str:
        """Both."""
        return f"{self.directory.rstrip('/')}/{self.name}"


def place_of(output: str, directory: str, job_name: str, job_id: str, attempt: int) -> Place | None:
    """Return the place beside a job's output; None where there is none.

    :param output: ``Output_Path`` as the server tells it: ``head:/home/alice/spectra.o17``; empty when it
        does not.
    :param directory: from which the job was submitted, for when it does not.
    """
    path = output.partition(":")[2] if not output.startswith("/") else output
    folder = os.path.dirname(path) if path else directory  # noqa: PTH120 - a text
    if not _usable(folder):
        return None
    again = f".{attempt}" if attempt > 1 else ""
    return Place(folder, f"{file_name(job_name)}.vm{job_slug(job_id)}{again}")


def file_name(job_name: str) -> str:
    """Return a job's name as one may begin a file's: letters, digits, and no dot or dash at its start."""
    kept = re.sub(r"[^A-Za-z0-9_.+-]", "_", job_name)[:NAME_LENGTH]
    return re.sub(r"^[.+-]", "_", kept) or "job"


def _usable(folder: str) -> bool:
    parts = folder.split("/")
    return (
        folder.startswith("/")
        and folder.isprintable()
        and not {".", ".."} & set(parts)
        and not any(folder == top or folder.startswith(f"{top}/") for top in NOT_THERE)
    )
