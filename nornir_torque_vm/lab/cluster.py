"""The lab: a cluster in a box, made of namespaces, for demo, tests and benchmarks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import (
    builder,
    files,
    health,
    kvm,
    lock,
    network,
    pki,
    processes,
    record,
    spec,
    tools,
    tree,
)
from nornir_torque_vm.lab.layout import DEFAULT_NODES, SWITCH, LabNode, LabPaths, cache_dir, lab_nodes
from nornir_torque_vm.lab.record import LabRecord, Running
from nornir_torque_vm.textfile import write_text

UP_SECONDS = 30.0
DOWN_SECONDS = 15.0
LOCK_SECONDS = 60.0
PATIENCE = 10.0
"""Seconds without an answer after which ``up`` takes a libvirtd for broken and its guests with it."""
DEFAULT_SLOTS = 4
DEFAULT_IMAGE = "micro.qcow2"
"""What jobs get in the lab that name no image."""


@dataclasses.dataclass(frozen=True, slots=True)
class NodeStatus:
    """What ``status`` tells of a node. ``error`` is empty when its libvirtd answers."""

    name: str
    address: str
    guests: tuple[str, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the node's libvirtd answers."""
        return not self.error


class Lab:
    """Nodes with a libvirtd and an sshd each, and a switch with a DHCP server that joins them.

    Every host has namespaces of its own (network, mounts, host name, processes); nothing of the lab
    appears outside of them but its processes and its directory below the cache. One object may be used
    by several threads; several processes may use the lab of one name.

    :param nodes: how many; None: as many as there are, two for a new lab.
    :param pool: directory of base images, read-only in the nodes; None: that of ``torque-vm image build``.
    :param slots: declared capacity of each node in virtual processors; None: as it was, four for a new lab.
    :param settings: settings that shall differ from the lab's own, by name.
    :param cache: None: see :func:`~nornir_torque_vm.lab.layout.cache_dir`.
    """

    def __init__(
        self,
        name: str = "default",
        nodes: int | None = None,
        *,
        pool: Path | None = None,
        slots: int | None = None,
        settings: Mapping[str, object] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self.paths = LabPaths(cache.resolve() if cache else cache_dir(), name)
        self.pool = (pool or self.paths.cache / "images/pool").resolve()
        self._wanted = None if nodes is None else lab_nodes(nodes)
        self._slots = slots
        self._settings = dict(settings or {})

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """The nodes, in order: those asked for, else those that are there, else those a new lab has."""
        if self._wanted is not None:
            return self._wanted
        return lab_nodes(len(self._record().nodes) or DEFAULT_NODES)

    @property
    def node_names(self) -> tuple[str, ...]:
        """Host names of the nodes, in order."""
        return tuple(node.name for node in self.nodes)

    @property
    def slots(self) -> int:
        """Declared capacity of each node in virtual processors (``np`` in the batch system's words)."""
        return self._slots or self._record().slots or DEFAULT_SLOTS

    @property
    def lease_file(self) -> Path:
        """The DHCP server's leases (dnsmasq's format: expiry, MAC, address, name, client id)."""
        return self.paths.files(SWITCH) / spec.LEASE_FILE[1:]

    def up(self, seconds: float = UP_SECONDS) -> kvm.Verdict:
        """Bring the lab up: keep what is right and healthy, build the rest anew, remove what is not wanted.

        :return: whether guests run with hardware virtualization, and if not, why.
        :raises LabError: not root, programs missing, or a host that does not come up within ``seconds``.
        """
        _require_root()
        tools.require()
        sshd = tools.sshd(self.paths.cache / "tools")
        verdict = kvm.probe(self.paths.cache)
        with lock.held(self.paths.lock, Deadline.after(LOCK_SECONDS)):
            self._build(sshd, Deadline.after(seconds), kvm=verdict.proven)
        return verdict

    def _build(self, sshd: tools.Sshd, deadline: Deadline, *, kvm: bool) -> None:
        nodes = {node.name: node for node in self.nodes}
        self.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.pool.mkdir(parents=True, exist_ok=True)
        keys = pki.ensure(self.paths.keys, nodes.values(), time.time())
        orders = self._orders(nodes.values(), keys, sshd, kvm=kvm)
        kept = self._healthy(orders)
        self._clear(kept, deadline)
        self._write(nodes.values(), keys, orders, kvm=kvm)
        found = LabRecord(self.slots, tuple(nodes), kept)
        found.save(self.paths.record)
        fresh = [name for name in orders if name not in kept]
        with contextlib.ExitStack() as stack:
            births = []
            for name in fresh:
                births.append(builder.Birth(self.paths, name, orders[name]))
                stack.callback(births[-1].abandon)
            hosts = {**kept, **{birth.name: birth.find(deadline) for birth in births}}
            network.lay_network(self.paths, nodes, hosts, set(fresh), deadline)
            dataclasses.replace(found, hosts=hosts).save(self.paths.record)
            for birth in births:
                birth.go()
        builder.await_hosts(self.paths, {name: hosts[name] for name in fresh}, deadline)

    def _orders(
        self, nodes: Iterable[LabNode], keys: pki.LabKeys, sshd: tools.Sshd, *, kvm: bool
    ) -> dict[str, str]:
        """The text of every host's init.json: what makes a host, so a change of it means a new host."""
        show = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])]
        orders = {SWITCH: spec.switch_spec(self.paths.files(SWITCH)).text()}
        for node in nodes:
            orders[node.name] = spec.node_spec(
                node,
                self.paths.files(node.name),
                pool=self.pool,
                tools=self.paths.cache / "tools",
                sshd=sshd.path,
                libraries=sshd.libraries,
                show=show,
                kvm=kvm,
                identity=keys.identity,
            ).text()
        return orders

    def _healthy(self, orders: Mapping[str, str]) -> dict[str, Running]:
        """The hosts that run, are what they should be, and do their work."""
        hosts = [
            host
            for name, host in self._record().hosts.items()
            if name in orders and host.orders == builder.digest(orders[name])
            if host.alive and not health.exited(host) and health.is_up(host)
        ]
        nodes = [host for host in hosts if host.name != SWITCH]
        mute = {
            host.name for host, answer in zip(nodes, health.ask(nodes, PATIENCE), strict=True) if answer.error
        }
        return {host.name: host for host in hosts if host.name not in mute}

    def _clear(self, kept: Iterable[str], deadline: Deadline) -> None:
        """End and remove all hosts but the ``kept`` ones."""
        specs = {self.paths.spec(name) for name in kept}
        processes.end(self.paths.state, deadline, spare=specs)
        for directory in self.paths.state.iterdir():
            if directory.is_dir() and directory / "init.json" not in specs:
                tree.remove(directory)

    def _write(
        self, nodes: Iterable[LabNode], keys: pki.LabKeys, orders: Mapping[str, str], *, kvm: bool
    ) -> None:
        nodes = tuple(nodes)
        text = files.settings(kvm=kvm, image=DEFAULT_IMAGE, changes=self._settings)
        tree.write_tree(self.paths.files(SWITCH), files.common_files(nodes, SWITCH))
        for node in nodes:
            tree.write_tree(self.paths.files(node.name), files.node_files(node, nodes, keys, self.name, text))
        for name, order in orders.items():
            write_text(self.paths.spec(name), order)

    def down(self, seconds: float = DOWN_SECONDS) -> bool:
        """Remove every process, namespace, mount and file of the lab; False when there was nothing.

        :raises LabError: not root, or processes that cannot be ended within ``seconds``.
        """
        _require_root()
        with lock.held(self.paths.lock, Deadline.after(LOCK_SECONDS)):
            ended = processes.end(self.paths.state, Deadline.after(seconds))
            existed = self.paths.state.exists()
            if existed:
                tree.remove(self.paths.state)
        with contextlib.suppress(OSError):  # other labs may be there
            self.paths.labs.rmdir()
        return existed or bool(ended)

    def status(self) -> list[NodeStatus]:
        """Ask all nodes at once; no nodes when the lab is down."""
        found = self._record()
        nodes = lab_nodes(len(found.nodes)) if found.nodes else ()
        alive = [found.hosts[node.name] for node in nodes if self._lives(found, node.name)]
        answers = {host.name: answer for host, answer in zip(alive, health.ask(alive), strict=True)}
        gone = health.Answer(error="the node is gone")
        return [
            NodeStatus(node.name, node.address, answer.guests, answer.error)
            for node in nodes
            for answer in [answers.get(node.name, gone)]
        ]

    def enter(self, node: str) -> list[str]:
        """Return the words that run a program inside ``node``: as root, in ``/``, environment unchanged.

        When the process started with them is killed, so is the program in the node.

        :raises LabError: there is no such node now.
        """
        return self._running(node).enter()

    def root(self, node: str) -> Path:
        """Return the node's root directory as seen from here; absolute links in it lead astray.

        :raises LabError: there is no such node now.
        """
        return self._running(node).root

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        seconds: float = 30.0,
        check: bool = True,
        input: str | None = None,  # noqa: A002 -- as subprocess.run calls it
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in ``node`` and return what it printed.

        :raises LabError: it was not done after ``seconds``, or it failed and ``check`` is set.
        """
        try:
            done = subprocess.run(
                [*self.enter(node), *argv],
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                env={**spec.ENVIRONMENT, **(env or {})},
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} was not done after {seconds:g} s", node=node) from None
        if check and done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise LabError(f"{argv[0]} failed with code {done.returncode}: {''.join(last)}", node=node)
        return done

    def _record(self) -> LabRecord:
        return record.load(self.paths.record)

    @staticmethod
    def _lives(found: LabRecord, name: str) -> bool:
        return name in found.hosts and found.hosts[name].alive

    def _running(self, node: str) -> Running:
        found = self._record()
        if not found.nodes:
            raise LabError(f"the lab {self.name} is not up", hint="torque-vm lab up")
        if node not in found.nodes:
            raise LabError(f"the lab {self.name} has no node {node!r}, only {', '.join(found.nodes)}")
        if not self._lives(found, node):
            raise LabError("it does not run", node=node, hint="torque-vm lab up builds it anew")
        return found.hosts[node]


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root", hint="namespaces, mounts and devices are made; use sudo")
