"""Finding and ending the lab's processes, so that no other process can be hit.

A process is known by its id and its start time together, and it is the lab's only when the last words
of its command line are exactly ``…/node_init.py <path of the host's init.json>``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError

INIT = "node_init.py"
PROC = Path("/proc")
PATIENCE = 4
"""Looks for which a parent is left to end by itself: about half a second."""


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One process at one time. ``start`` in clock ticks after boot (proc(5), field 22)."""

    pid: int
    parent: int
    start: int
    state: str
    words: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """A zombie has ended: it holds no namespace, file or memory, and only waits for its parent."""
        return self.state in "ZX"


def parse_stat(text: str) -> tuple[str, int, int]:
    """Return state, parent and start time from the text of /proc/PID/stat.

    The program's name stands in parentheses and may itself hold parentheses and spaces.
    """
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def read(pid: int) -> Process | None:
    """Return the process with that id; None when there is none."""
    try:
        state, parent, start = parse_stat((PROC / str(pid) / "stat").read_text(errors="replace"))
        words = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, parent, start, state, tuple(words.split("\0")[:-1]))


def everything() -> Iterator[Process]:
    """All processes that can be seen."""
    for name in os.listdir(PROC):  # noqa: PTH208 -- a thousand Path objects would only be thrown away
        if name.isdecimal() and (process := read(int(name))):
            yield process


def marker(process: Process) -> str:
    """Return the path of the init.json this process serves; empty when it is not a lab's."""
    if len(process.words) > 2 and os.path.basename(process.words[-2]) == INIT:  # noqa: PTH119 -- same
        return process.words[-1]
    return ""


def serving(spec: Path) -> list[Process]:
    """Processes that serve this init.json and have not ended."""
    return [found for found in everything() if marker(found) == str(spec) and not found.over]


def below(directory: Path, spare: Collection[Path] = ()) -> list[Process]:
    """Processes of the lab in ``directory``, except those that serve one of the init.json in ``spare``."""
    found = [(process, marker(process)) for process in everything()]
    return [
        process
        for process, spec in found
        if spec and Path(spec).parent.parent == directory and Path(spec) not in spare and not process.over
    ]


def alive(pid: int, start: int) -> bool:
    """Tell whether this very process still runs."""
    process = read(pid)
    return process is not None and process.start == start and not process.over


def kill(victim: Process) -> None:
    """Send SIGKILL to this very process, not to a later one with the same id."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(victim.pid)
        try:
            if alive(victim.pid, victim.start):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def end(directory: Path, deadline: Deadline, spare: Collection[Path] = ()) -> int:
    """Kill every process of the lab in ``directory`` and wait until all are gone.

    Looks again until it finds none, since a process may start another while it is looked for. With
    the first process of a host ends everything else in it: the kernel sees to that. Parents are given
    time to collect their dead children and end by themselves, so that no dead process keeps a namespace.

    :param spare: hosts with these init.json files go on.
    :return: how many processes were ended.
    :raises LabError: some are still there at the deadline.
    """
    ended: set[tuple[int, int]] = set()
    parents: set[int] = set()
    left: list[Process] = []
    for attempt in deadline.backoff():
        left = below(directory, spare)
        if not left:
            return len(ended)
        parents |= {process.parent for process in left}
        for victim in left:
            ended.add((victim.pid, victim.start))
            if victim.pid not in parents or attempt >= PATIENCE:
                kill(victim)
    raise LabError(
        f"processes {', '.join(str(p.pid) for p in left)} of the lab cannot be ended",
        hint="they may wait for a device; see their state in /proc/PID/status",
    )
