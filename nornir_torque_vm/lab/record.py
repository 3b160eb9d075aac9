"""What is known to run of a lab: a small file, trusted only as far as process ids and start times agree."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.lab.processes import PROC, alive, serving

NSENTER = ("/usr/bin/nsenter", "--mount", "--net", "--uts", "--pid")


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A host that was started: its first process, with its start time.

    ``orders`` is the digest of the init.json it was started with.
    """

    name: str
    orders: str
    init: int
    init_start: int

    @property
    def alive(self) -> bool:
        """Whether the host exists: its first process is this very process."""
        return alive(self.init, self.init_start)

    @property
    def root(self) -> Path:
        """The host's root directory as seen from the machine. Absolute links in it lead astray."""
        return PROC / str(self.init) / "root"

    def enter(self) -> list[str]:
        """Return the words that run a program in all of the host's namespaces, as root, in ``/``.

        When the process that was started with them is killed, so is the program.
        """
        return [*NSENTER, "--target", str(self.init), "--", "/usr/bin/setpriv", "--pdeathsig", "KILL"]

    def enter_network(self) -> list[str]:
        """Return the words that run a program of the machine in the host's network only."""
        return ["/usr/bin/nsenter", "--net", "--target", str(self.init), "--"]


def find(name: str, spec: Path, orders: str, python: str) -> Running | None:
    """Look for the processes of a host; None unless its first process is there."""
    found = {process.pid: process for process in serving(spec)}
    for inner in found.values():
        if inner.words[0] == python and inner.parent in found:  # whose parent is unshare
            return Running(name, orders, inner.pid, inner.start)
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class LabRecord:
    """A lab that was built: slots of each node, names of its nodes in order, its hosts by name.

    ``torque`` are the directories of TORQUE's programs; none when the lab has no TORQUE.
    """

    slots: int = 0
    nodes: tuple[str, ...] = ()
    hosts: Mapping[str, Running] = dataclasses.field(default_factory=dict)
    torque: tuple[str, ...] = ()

    def living(self, name: str) -> Running | None:
        """Return the host of this name; None when there is none or it has ended."""
        host = self.hosts.get(name)
        return host if host is not None and host.alive else None

    def save(self, path: Path) -> None:
        """Write it."""
        write_text(path, json.dumps(dataclasses.asdict(self)))


def load(path: Path) -> LabRecord:
    """Return what the file says; an empty record when there is none or it is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        hosts = {name: Running(**host) for name, host in values["hosts"].items()}
        torque = tuple(values["torque"])
        return LabRecord(int(values["slots"]), tuple(values["nodes"]), hosts, torque)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return LabRecord()
