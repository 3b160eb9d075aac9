"""What this node itself knows about live jobs: its MOM's files, locks, and processes at work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.runstate.joblock import holder

_JOB_FILE = re.compile(r"([0-9]+(?:-[0-9]+)?)(?:\..*)?\.JB", re.DOTALL)
"""``17.head.JB``, ``17-3.head.JB``; a long server name is cut."""
_HOOK = re.compile(r"(?:.*[/.])?(?:prologue|epilogue)(?:\..*)?", re.DOTALL)
"""Hooks by their path, and their Python modules."""


def mom_jobs(torque_home: str) -> frozenset[str]:
    """Numbers (``17``, ``17-3``) of the jobs that this node's MOM has, of whatever server.

    The files outlive the MOM: a job goes on when its MOM is dead.

    :raises StateError: they cannot be listed, so nothing can be said.
    """
    path = Path(torque_home, "mom_priv", "jobs")
    try:
        names = [entry.name for entry in path.iterdir()]
    except OSError as error:
        hint = "set torque_home" if isinstance(error, FileNotFoundError) else ""
        raise StateError(f"pbs_mom's jobs cannot be listed in {path}: {error.strerror}", hint=hint) from None
    return frozenset(match[1] for match in map(_JOB_FILE.fullmatch, names) if match)


def worker(run_dir: str, job_ids: Iterable[str]) -> str:
    """Say which live process is at work on a job; empty when none is."""
    wanted = set(job_ids)
    for job_id in sorted(wanted):
        found = holder(run_dir, job_id)
        if found is not None and found.alive() and found.pid != os.getpid():
            return f"process {found.pid} is at work on it"
    for pid, words in _own_processes():
        if wanted.intersection(words[1:]) and any(map(_HOOK.fullmatch, words)):
            return f"process {pid} is a hook of it"
    return ""


def _own_processes() -> Iterator[tuple[int, list[str]]]:
    """Process ids and command lines; of our own account alone, as others could call theirs anything.

    A setuid program is root's, with the words of whoever started it: that is told by the real uid.
    """
    me = os.geteuid()
    with os.scandir("/proc") as entries:
        others = [entry for entry in entries if entry.name.isdecimal() and int(entry.name) != os.getpid()]
    for entry in others:
        try:
            if entry.stat().st_uid == me and _real_uid(entry.path) == me:
                text = Path(entry.path, "cmdline").read_bytes()
                yield int(entry.name), os.fsdecode(text).split("\0")[:-1]
        except OSError:  # it is gone
            continue


def _real_uid(process: str) -> int:
    """Who started a process (proc(5), ``status``); -1 when that is not told."""
    match = re.search(rb"^Uid:\t([0-9]+)", Path(process, "status").read_bytes(), re.MULTILINE)
    return int(match[1]) if match else -1
