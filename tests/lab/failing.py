"""Breaking a node's parts from outside, at a phase of a job; and a job beside it that must not notice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from driving import SMALL, TORQUE_VM, command, leftovers, pool_state, shell, wait_for
from remains import leases

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.lab import Lab, record
from nornir_torque_vm.lab.spec import EXITED

BUSY_MACHINE = 120.0
"""Seconds for guests to get ready where many share two processors; on a quiet machine they need six."""
STARTUP = 4.0
"""Seconds from TORQUE's start of a hook to the beginning of its own time, and from its last word to ours."""
LOOK = 0.002
"""Seconds between two looks at a job's events: phases are short."""
LEASES_WRITTEN = 10.0
"""Seconds after a release within which the DHCP server has written its file."""
VIRSH = "virsh -c qemu:///system"
BYSTANDER = "900.adhoc"
"""Id of the job that must not notice."""


def read_bytes(path: Path) -> bytes:
    """A file that may have gone, of /proc when its process has just ended; it is empty then."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def read_text(path: Path) -> str:
    """The same, as text."""
    return read_bytes(path).decode(errors="replace")


def host_pids(lab: Lab, node: str, program: str) -> list[int]:
    """Process ids, as this machine counts them, of a program of a node or of the switch."""
    inside = Path("/proc", str(record.load(lab.paths.record).hosts[node].init), "ns/pid").readlink()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if read_text(entry / "comm").strip() == program:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (entry / "ns/pid").readlink() == inside:
                    found.append(int(entry.name))
    return found


class Daemon:
    """A daemon of a node (or of the switch) that a test stops, kills and starts again."""

    def __init__(self, lab: Lab, node: str, program: str = "libvirtd") -> None:
        self.lab, self.node, self.program = lab, node, program
        self._pids = host_pids(lab, node, program)
        assert self._pids, f"no {program} on {node}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        for pid in self._pids:
            os.kill(pid, number)

    def kill(self) -> None:
        """End it without a word."""
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it as a hung storage would."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)


@contextlib.contextmanager
def libvirtd(lab: Lab, node: str) -> Iterator[Daemon]:
    """A node's libvirtd for a test to break; well again afterwards."""
    daemon = Daemon(lab, node)
    try:
        yield daemon
    finally:
        mend_libvirtd(lab, node, daemon)


def mend_libvirtd(lab: Lab, node: str, daemon: Daemon) -> None:
    """Start it again when it is gone, let it go on when it is frozen; return when it answers."""
    daemon.thaw()
    if not host_pids(lab, node, daemon.program):
        logs = "LIBVIRT_LOG_OUTPUTS=3:stderr"  # a lab's node has no directory for its log
        lab.run(node, ["/usr/bin/env", logs, "/usr/sbin/libvirtd", "--daemon", "--listen"])
        (lab.root(node) / EXITED[1:] / "libvirtd").unlink(missing_ok=True)
    wait_for(lambda: lab.run(node, [*VIRSH.split(), "list"], check=False).returncode == 0, 30)


class Watched(Protocol):
    """A job that is looked at while it runs."""

    over: bool

    def written(self, name: str) -> bytes:
        """A file of its newest attempt's history; empty as long as it is not there."""


class Watching(threading.Thread):
    """Does something, once, the moment what a running job leaves shows what is waited for.

    :param look: returns what is looked at.
    :param true: judges it.
    :param act: called when that is so.
    """

    def __init__(
        self, job: Watched, look: Callable[[], bytes], true: Callable[[bytes], bool], act: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True)
        self._job, self._look, self._true, self._act = job, look, true, act
        self.at = 0.0
        """When it acted, on the monotonic clock; 0 as long as it has not."""
        self.start()

    def run(self) -> None:
        """Look until it is there or the job is over."""
        while not self.at and not self._job.over:
            time.sleep(LOOK)
            if self._true(self._look()):
                self._act()
                self.at = time.monotonic()


def watch(job: Watched, wanted: Callable[[dict[str, object]], bool], act: Callable[[], None]) -> Watching:
    """Act at the wanted event of a job's."""

    def true(content: bytes) -> bool:
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        return any(wanted(json.loads(line)) for line in lines)

    return Watching(job, lambda: job.written("events.jsonl"), true, act)


def on_verdict(job: Watched, act: Callable[[], None]) -> Watching:
    """Act when the prologue has given its verdict, before the epilogue begins."""
    return Watching(job, lambda: job.written("verdict.json"), bool, act)


def on_panic(
    job: Watched, folders: Sequence[Path], others: Container[str], act: Callable[[], None]
) -> Watching:
    """Act when the kernel of one of a job's guests has panicked.

    :param folders: where nodes keep the files of guests.
    :param others: names of files that are not the job's.
    """

    def look() -> bytes:
        found = [
            path for folder in folders for path in folder.glob("*/*-console.log") if path.name not in others
        ]
        return b"".join(read_bytes(path) for path in found)

    return Watching(job, look, lambda said: b"Kernel panic" in said, act)


def begins(phase: str, where: str) -> Callable[[dict[str, object]], bool]:
    """The beginning of a phase, on a node or of a guest (a regular expression)."""
    return _is({"host_start", "step_start"}, phase, where)


def ends(phase: str, where: str) -> Callable[[dict[str, object]], bool]:
    """The end of a phase; the rest as of :func:`begins`."""
    return _is({"host_end", "step_end"}, phase, where)


def _is(kinds: Container[str], phase: str, where: str) -> Callable[[dict[str, object]], bool]:
    def wanted(event: dict[str, object]) -> bool:
        kind, host = str(event["event"]), str(event["host"])
        return kind in kinds and event["phase"] == phase and bool(re.fullmatch(where, host))

    return wanted


@contextlib.contextmanager
def covered(lab: Lab, node: str, directory: str, size: str = "64k") -> Iterator[Callable[[], None]]:
    """Yields what hides a directory of a node behind an empty file system, as its unmounting would."""
    done: list[None] = []

    def cover() -> None:
        shell(lab, node, f"mount -t tmpfs -o mode=0711,size={size} tmpfs {directory}")
        done.append(None)

    try:
        yield cover
    finally:
        for _ in done:
            shell(lab, node, f"umount {directory}")


def domains(lab: Lab, node: str) -> list[str]:
    """Names of all domains on a node."""
    return shell(lab, node, f"{VIRSH} list --all --name").split()


class Bystander:
    """A paused guest of another job on every node."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        words = ("boot", *lab.node_names, "--job", BYSTANDER, "-vm", SMALL)
        before = {node: set(domains(lab, node)) for node in lab.node_names}
        with subprocess.Popen([*lab.enter("node1"), *TORQUE_VM, *words], stderr=subprocess.DEVNULL) as boot:
            wait_for(lambda: all(set(domains(lab, node)) - before[node] for node in lab.node_names), 60)
            boot.kill()
        self.domains = {node: (set(domains(lab, node)) - before[node]).pop() for node in lab.node_names}
        for node, domain in self.domains.items():
            shell(lab, node, f"{VIRSH} suspend {domain}")
        self.left, self.leases = leftovers(lab), leases(lab).keys()
        self.before = self.looks()
        self.images = pool_state(lab.pool)

    def emulator(self, node: str) -> str:
        """Its process on a node: id and start time."""
        found = [
            read_text(Path(f"/proc/{pid}/stat")).split(")")[1].split()[19] + f" {pid}"
            for pid in host_pids(self.lab, node, "qemu-system-x86")
            if self.domains[node] in read_text(Path(f"/proc/{pid}/cmdline"))
        ]
        return " ".join(found)

    def looks(self) -> dict[str, tuple[str, str, str]]:
        """What can be seen of it on every node: its domain, its process and its files."""
        seen = {}
        for node, domain in self.domains.items():
            text = shell(self.lab, node, f"{VIRSH} domstate {domain}; {VIRSH} domuuid {domain}")
            folder = self.lab.root(node) / "var/lib/torque-vm/volumes"
            facts = [(path.name, path.stat()) for path in sorted(folder.glob(f"{domain}*"))]
            files = [(name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_uid, s.st_mode) for name, s in facts]
            seen[node] = (text, self.emulator(node), repr(files))
        return seen

    def untouched(self) -> None:
        """Nobody touched it, nor any base image, and nothing else is there, no lease of other guests either.

        :raises AssertionError: somebody did.
        """
        assert leftovers(self.lab) == self.left
        for _ in Deadline.after(LEASES_WRITTEN).backoff():
            if leases(self.lab).keys() <= self.leases:
                break
        assert leases(self.lab).keys() <= self.leases
        assert self.looks() == self.before
        images = pool_state(self.lab.pool)
        assert {name: images.get(name) for name in self.images} == self.images

    def sweep(self) -> None:
        """Remove everything else, for the next test's sake."""
        for node in self.lab.node_names:
            mine = "|".join(self.domains.values())
            for name in leftovers(self.lab).get(node, []):
                job = re.match(r"tvm-(\d+)-a|run/torque-vm/markers/(\d+)\.", name)
                if job and not re.match(mine, name):
                    command(self.lab, "reap", "--job", f"{job[1] or job[2]}.head", node=node)

    def remove(self) -> None:
        """Take it away."""
        for node in self.lab.node_names:
            command(self.lab, "reap", "--job", BYSTANDER, node=node)


def reap(lab: Lab, job_id: str) -> None:
    """What an administrator types on each node after a failure; once."""
    for node in lab.node_names:
        done = command(lab, "reap", "--job", job_id, node=node)
        assert done.returncode in {CliExit.OK, CliExit.NOTHING}, done.stderr
