"""Starting the hosts of a lab, and waiting until they do their work."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import health, node_init, processes, record
from nornir_torque_vm.lab.layout import LabPaths
from nornir_torque_vm.lab.record import Running
from nornir_torque_vm.lab.spec import ENVIRONMENT, Daemon, HostSpec

UNSHARE = (
    "/usr/bin/setsid", "--fork", "/usr/bin/unshare", "--net", "--mount", "--uts",
    "--fork", "--pid", "--kill-child", "--mount-proc",
)  # fmt: skip
POLL = 0.01
"""Seconds between two looks at a host that is starting."""
COMMAND_SECONDS = 10.0


def digest(orders: str) -> str:
    """What tells one text of orders from another."""
    return hashlib.sha256(orders.encode()).hexdigest()


class Birth:
    """A host between its start and its ``go``. When this process dies meanwhile, the host ends.

    :param orders: text of the host's init.json, which must be written already.
    """

    def __init__(self, paths: LabPaths, name: str, orders: str) -> None:
        self.name, self._orders, self._paths = name, digest(orders), paths
        # the script by its path and without site-packages: it starts in half the time
        argv = [*UNSHARE, sys.executable, "-I", "-S", node_init.__file__, str(paths.spec(name))]
        with paths.log(name, "init").open("wb") as log:
            self._setsid = subprocess.Popen(
                argv, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        self._setsid.wait(COMMAND_SECONDS)  # it only forks, so that the host is no child of this process

    def find(self, deadline: Deadline) -> Running:
        """Wait for the host's first process.

        :raises LabError: it never came, or is gone already.
        """
        spec = self._paths.spec(self.name)
        for _ in _looks(deadline):
            host = record.find(self.name, spec, self._orders, sys.executable)
            if host is not None:
                return host
            if not processes.serving(spec):
                break
        log = health.tail(self._paths, self.name, "init")
        raise LabError(f"its namespaces cannot be made{log}", node=self.name)

    def go(self) -> None:
        """Let it start its daemons; from now on it lives on its own."""
        self._hang_up(b"go\n")

    def abandon(self) -> None:
        """Let it end, unless it was told to go."""
        self._hang_up(b"")

    def _hang_up(self, last_word: bytes) -> None:
        pipe = self._setsid.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended; whoever waits for it will see that
                pipe.write(last_word)
                pipe.close()


def await_hosts(
    paths: LabPaths, hosts: Mapping[str, Running], orders: Mapping[str, HostSpec], deadline: Deadline
) -> None:
    """Wait until all daemons of these hosts do their work.

    :raises LabError: one ended or is not ready in time; quotes the end of its log.
    """
    waiting: dict[str, Daemon] = {name: orders[name].daemons[0] for name in hosts}
    for _ in _looks(deadline):
        waiting = {}
        for name, host in hosts.items():
            health.check(paths, host)
            late = health.not_ready(host, orders[name].daemons)
            if late is not None:
                waiting[name] = late
        if not waiting:
            break
    for name, daemon in waiting.items():
        log = health.tail(paths, name, daemon.name)
        raise LabError(f"{daemon.name} was not ready in time{log}", node=name)
    nodes = [host for name, host in hosts.items() if orders[name].has("libvirtd")]
    for host, answer in zip(nodes, health.ask(nodes, deadline.clamp(COMMAND_SECONDS)), strict=True):
        if answer.error:
            health.check(paths, host)
            log = health.tail(paths, host.name, "libvirtd")
            raise LabError(f"libvirtd does not answer ({answer.error}){log}", node=host.name)


def _looks(deadline: Deadline) -> Iterator[None]:
    """Yield at short, even intervals until the deadline: a host is up in less than a second."""
    while deadline.remaining() > 0.0:
        yield
        time.sleep(deadline.clamp(POLL))
