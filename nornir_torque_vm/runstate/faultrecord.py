"""What a mother superior holds against nodes: ``<history_dir>/nodes/<node>.json``, root's alone.

It lies with who saw the faults, because a node whose libvirt is dead cannot be told. Bounded: a node's
faults count for a time, and no more of them are kept than it takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.faults import Fault
from nornir_torque_vm.nodefile import valid_host
from nornir_torque_vm.runstate.rootdir import RootDir

NODES = "nodes"
"""Subdirectory of the history directory."""
OUT = "out"
"""File of the run directory that takes this node out, where the MOM runs our node check."""
VERSION = 1
"""Of the JSON form."""
LOCK_SECONDS = 2.0
"""How long another hook is waited for; it needs some milliseconds."""
KEPT = 100
"""Faults of one node that are kept at most."""
_END = ".json"


class FaultRecords:
    """The faults of nodes, as seen from this one. All methods raise :class:`StateError`.

    :param directory: the setting ``history_dir``.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def add(self, node: str, fault: Fault, within: float) -> tuple[Fault, ...]:
        """Keep a fault of a node; return those that count, oldest first.

        :param within: seconds for which a fault counts.
        """
        with self._locked() as folder:
            # Another hook's may be a little younger: its clock was read before it had the lock.
            before = [one for one in _read(folder, node) if abs(fault.at - one.at) <= within]
            faults = tuple(sorted([*before, fault], key=lambda one: one.at)[-KEPT:])
            for other in _stale(folder, fault.at, within):
                folder.remove(other)
            text = json.dumps({"version": VERSION, "faults": [dataclasses.asdict(one) for one in faults]})
            folder.write(f"{node}{_END}", text.encode())
            return faults

    def forget(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Hold nothing against nodes any more; return those against which something was held."""
        wanted = list(nodes)
        if not self._any(wanted):
            return ()
        with self._locked() as folder:
            return tuple(node for node in wanted if folder.remove(f"{node}{_END}"))

    def all(self) -> Mapping[str, Sequence[Fault]]:
        """Everything that is held against nodes, by name."""
        if not (self.directory / NODES).exists():
            return {}
        with RootDir.at(self.directory) as root, root.sub(NODES) as folder:
            names = [name.removesuffix(_END) for name in folder.names() if name.endswith(_END)]
            return {name: _read(folder, name) for name in names if valid_host(name)}

    def counting(self, within: float, now: float | None = None) -> Mapping[str, Sequence[Fault]]:
        """Of what is held against nodes that which counts, by name.

        :param now: seconds since the epoch; the present when None.
        """
        at = time.time() if now is None else now
        young = {
            node: [one for one in faults if abs(at - one.at) <= within] for node, faults in self.all().items()
        }
        return {node: faults for node, faults in young.items() if faults}

    def _any(self, nodes: Iterable[str]) -> bool:
        """Whether there is a record, without making a directory."""
        return any((self.directory / NODES / f"{node}{_END}").exists() for node in nodes)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[RootDir]:
        """The directory, while no other hook of this node is at it."""
        with (
            RootDir.at(self.directory, create=0o700) as root,
            root.sub(NODES, create=0o700) as folder,
        ):
            for _ in Deadline.after(LOCK_SECONDS).backoff():
                try:
                    fcntl.flock(folder.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield folder
                return
            raise StateError(f"another process keeps {folder.path} locked", hint="look which: fuser -v on it")


def take_out_here(run_dir: str | Path, note: str) -> None:
    """Leave the word for this node's own check, which the MOM reports at its next look."""
    with RootDir.at(run_dir, create=0o711) as run:
        run.write(OUT, f"{note}\n".encode())


def put_back_here(run_dir: str | Path) -> bool:
    """Take that word away; False when there was none."""
    if not Path(run_dir, OUT).exists():
        return False
    with RootDir.at(run_dir) as run:
        return run.remove(OUT)


def out_here(run_dir: str | Path) -> str:
    """Why this node's own check takes it out; empty when it does not."""
    if not Path(run_dir, OUT).exists():
        return ""
    with RootDir.at(run_dir) as run:
        return (run.read(OUT) or b"").decode(errors="replace").strip()


def _stale(folder: RootDir, now: float, within: float) -> list[str]:
    """Files of nodes with nothing that counts."""
    names = [name for name in folder.names() if name.endswith(_END)]
    found = {name: _read(folder, name.removesuffix(_END)) for name in names}
    return [name for name, faults in found.items() if all(abs(now - one.at) > within for one in faults)]


def _read(folder: RootDir, node: str) -> tuple[Fault, ...]:
    """A node's faults, oldest first; none when they cannot be read."""
    try:
        raw = json.loads(folder.read(f"{node}{_END}") or b"{}")
        if raw.get("version") != VERSION:
            return ()
        found = [
            Fault(float(one["at"]), str(one["job_id"]), str(one["phase"]), str(one["what"]))
            for one in raw["faults"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
    return tuple(sorted(found, key=lambda one: one.at))
