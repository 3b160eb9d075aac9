"""Whether a lab host does its work, asked from outside and never for long."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab.layout import BRIDGE, LabNode, LabPaths
from nornir_torque_vm.lab.record import Running
from nornir_torque_vm.lab.spec import ENVIRONMENT, EXITED, Daemon

LISTEN, UNCONNECTED = "0A", "07"
"""States of sockets that wait, in /proc/net/tcp and /proc/net/udp."""
ASK_SECONDS = 5.0
TAIL = 300
"""Characters of a log that an error quotes."""


def ports(text: str, state: str) -> frozenset[int]:
    """Return the local ports of the sockets in ``state``, from the text of /proc/PID/net/tcp or udp."""
    rows = (line.split() for line in text.splitlines()[1:])
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == state)


def _ports(host: Running, protocol: str, state: str) -> frozenset[int]:
    return ports(Path(f"/proc/{host.init}/net/{protocol}").read_text(encoding="ascii"), state)


def exited(host: Running) -> dict[str, str]:
    """Return the daemons that have ended, with their exit codes."""
    directory = host.root / EXITED[1:]
    try:
        return {name: (directory / name).read_text().strip() for name in sorted(os.listdir(directory))}  # noqa: PTH208
    except OSError:  # the host is not that far yet, or gone
        return {}


def not_ready(host: Running, daemons: Iterable[Daemon]) -> Daemon | None:
    """Return the first of a host's daemons that accepts no requests; None when all do.

    One that accepts them may still be getting ready to answer, as libvirtd does with its drivers.
    """
    try:
        tcp, udp = _ports(host, "tcp", LISTEN), _ports(host, "udp", UNCONNECTED)
    except OSError:
        tcp, udp = frozenset(), frozenset()
    return next((daemon for daemon in daemons if not _accepts(host, daemon, tcp, udp)), None)


def _accepts(host: Running, daemon: Daemon, tcp: frozenset[int], udp: frozenset[int]) -> bool:
    if not (tcp.issuperset(daemon.tcp) and udp.issuperset(daemon.udp)):
        return False
    if daemon.socket:
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1.0)
                link.connect(str(host.root / daemon.socket[1:]))
        except OSError:
            return False
    return True


def check(paths: LabPaths, host: Running) -> None:
    """Check that a host and all its daemons run.

    :raises LabError: they do not; quotes the end of the log.
    """
    if not host.alive:
        raise LabError(f"it ended while it started{tail(paths, host.name, 'init')}", node=host.name)
    for program, status in exited(host).items():
        raise LabError(f"{program} ended with code {status}{tail(paths, host.name, program)}", node=host.name)


def tail(paths: LabPaths, host: str, program: str) -> str:
    """Return the end of a program's log, worded for the end of a message."""
    path = paths.log(host, program)
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines()[-3:]]
    return f": {' / '.join(lines)[-TAIL:]}" if lines else f"; nothing in {path}"


def wired(node: LabNode, host: Running, switch: Running) -> bool:
    """Tell whether both ends of the node's cable are plugged in."""
    ports = (
        host.root / f"sys/class/net/{BRIDGE}/brif/eth0",
        switch.root / f"sys/class/net/{BRIDGE}/brif/{node.name}",
    )
    return all(port.exists() for port in ports)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What libvirtd said: the names of the running guests, or why it said nothing."""

    guests: tuple[str, ...] = ()
    error: str = ""


def ask(hosts: Sequence[Running], seconds: float = ASK_SECONDS) -> list[Answer]:
    """Ask the libvirtd of several nodes at once for their guests, for at most ``seconds`` altogether."""
    argv = ["/usr/bin/virsh", "--quiet", "--connect", "qemu:///system", "list", "--name"]
    asked = [
        subprocess.Popen(
            [*host.enter(), *argv],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in hosts
    ]
    return [_answer(process, seconds) for process in asked]


def _answer(process: subprocess.Popen[str], seconds: float) -> Answer:
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return Answer(error=f"no answer within {seconds:g} s")
    if process.returncode:
        return Answer(error=(err.strip().splitlines() or ["virsh failed without a word"])[-1])
    return Answer(guests=tuple(out.split()))
