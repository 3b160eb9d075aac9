"""Leaves a failed job's owner what the guests said last: beside the job's output, with the owner's rights."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.consolefile import writer
from nornir_torque_vm.consolefile.place import Place, place_of
from nornir_torque_vm.consoletext import lines_of
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import StorageError, TorqueVMError
from nornir_torque_vm.model import Owner
from nornir_torque_vm.ownerread import ERRNO
from nornir_torque_vm.reap.qstat import Qstat
from nornir_torque_vm.runstate.history import CLOUD_INIT, CONSOLE, History

PATIENCE = 5.0
"""Seconds for the server's answer and for the writing, each."""
LIMIT = 1 << 20
"""Bytes of the file at most."""
LAST_WAIT = 1.0
"""Seconds a killed writer is waited for: one that hangs in a dead file system does not even die."""
TITLES = {CONSOLE: "console of", CLOUD_INIT: "cloud-init in"}


def leave(
    settings: Settings, history: History, job_name: str, directory: str, owner: Owner, sentence: str
) -> str:
    """Write the file; return its path, or "" when there is nothing to write or the site wants none.

    :param directory: from which the job was submitted; empty when it is not known.
    :param sentence: why the job failed.
    :raises StorageError: it cannot be written there as the owner.
    """
    if not settings.console_file:
        return ""
    text = text_of(history, sentence)
    place = place_of(
        output_path(settings, history.job_id), directory, job_name, history.job_id, history.attempt
    )
    if not text or place is None:
        return ""
    write_as_owner(place, text.encode()[:LIMIT], owner)
    return place.path


def text_of(history: History, sentence: str) -> str:
    """What is kept of what guests said, legible; "" when nothing is."""
    parts = []
    for name, content in history.last_words().items():
        for prefix, title in TITLES.items():
            if name.startswith(prefix):
                guest = name.removeprefix(prefix).removesuffix(".log")
                parts.append("\n".join((f"==> {title} {guest} <==", *lines_of(content), "")))
    head = f"job {history.job_id}, attempt {history.attempt}: {sentence}\n"
    return "\n".join((head, *parts)) if parts else ""


def output_path(settings: Settings, job_id: str) -> str:
    """Where the server puts the job's output; "" when it does not say."""
    try:
        return Qstat.find(settings.real_qsub_on_nodes, Deadline.after(PATIENCE)).output_path(job_id)
    except TorqueVMError:
        return ""


def write_as_owner(place: Place, content: bytes, owner: Owner) -> None:
    """Write a new file in a process that is the owner's in every respect.

    :raises StorageError: it cannot be written, or not in time.
    """
    program = [sys.executable, "-I", "-S", str(Path(writer.__file__).resolve())]
    groups = ",".join(str(gid) for _, gid in owner.groups)
    process = subprocess.Popen(
        [*program, place.directory, place.name, str(owner.uid), str(owner.gid), groups],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, cwd="/",
    )  # fmt: skip
    late = False
    try:
        process.communicate(content, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        late = True
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WAIT)
    if late or process.returncode:
        number = (process.returncode or 0) - ERRNO
        why = os.strerror(number) if number in errno.errorcode and not late else "it was not done in time"
        raise StorageError(f"{place.path} cannot be written as {owner.name}: {why}")
