"""The lab: a cluster in a box, made of namespaces, for demo, tests and benchmarks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import (
    builder,
    files,
    health,
    inside,
    kvm,
    lock,
    network,
    pbs_server,
    pki,
    processes,
    record,
    spec,
    tools,
    tree,
)
from nornir_torque_vm.lab.blueprint import Blueprint
from nornir_torque_vm.lab.layout import (
    DEFAULT_NODES,
    HEAD,
    HEAD_NODE,
    SWITCH,
    LabNode,
    LabPaths,
    cache_dir,
    lab_nodes,
)
from nornir_torque_vm.lab.record import LabRecord, Running
from nornir_torque_vm.lab.status import NodeStatus, node_status
from nornir_torque_vm.lab.torque import Torque, find_torque

UP_SECONDS = 30.0
DOWN_SECONDS = 15.0
LOCK_SECONDS = 60.0
PATIENCE = 10.0
"""Seconds without an answer after which ``up`` takes a libvirtd for broken and its guests with it."""
DEFAULT_SLOTS = 4
DEFAULT_IMAGE = "micro.qcow2"
"""What jobs get in the lab that name no image."""


class Lab:
    """Nodes with a libvirtd and an sshd each, and a switch with a DHCP server that joins them.

    Every host has namespaces of its own (network, mounts, host name, processes); nothing of the lab
    appears outside of them but its processes and its directory below the cache. One object may be used
    by several threads; several processes may use the lab of one name.

    :param nodes: how many; None: as many as there are, two for a new lab.
    :param pool: directory of base images, read-only in the nodes; None: that of ``torque-vm image build``.
    :param slots: declared capacity of each node in virtual processors; None: as it was, four for a new lab.
    :param settings: settings that shall differ from the lab's own, by name.
    :param torque: whether it has a TORQUE: a host ``head`` with the server, where jobs are submitted, and a
        MOM on every node; None: as it was, False for a new lab.
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
        torque: bool | None = None,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self.paths = LabPaths(cache.resolve() if cache else cache_dir(), name)
        self.pool = (pool or self.paths.cache / "images/pool").resolve()
        self._wanted = None if nodes is None else lab_nodes(nodes)
        self._slots = slots
        self._settings = dict(settings or {})
        self._torque = torque

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
    def torque(self) -> bool:
        """Whether it has, or shall have, a TORQUE."""
        return bool(self._record().torque) if self._torque is None else self._torque

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
        installed = find_torque() if self.torque else None
        sshd = tools.sshd(self.paths.cache / "tools")
        verdict = kvm.probe(self.paths.cache)
        with lock.held(self.paths.lock, Deadline.after(LOCK_SECONDS)):
            self._build(sshd, installed, Deadline.after(seconds), kvm=verdict.proven)
        return verdict

    def _build(self, sshd: tools.Sshd, installed: Torque | None, deadline: Deadline, *, kvm: bool) -> None:
        self.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.pool.mkdir(parents=True, exist_ok=True)
        plan = self._blueprint(sshd, installed, kvm=kvm)
        orders = plan.orders()
        kept = self._healthy(orders, installed)
        self._clear(kept, deadline, shared=installed is not None)
        fresh = [name for name in orders if name not in kept]
        plan.write(orders, fresh)
        found = LabRecord(self.slots, self.node_names, kept, installed.directories if installed else ())
        found.save(self.paths.record)
        with contextlib.ExitStack() as stack:
            births = []
            for name in fresh:
                births.append(builder.Birth(self.paths, name, orders[name].text()))
                stack.callback(births[-1].abandon)
            hosts = {**kept, **{birth.name: birth.find(deadline) for birth in births}}
            network.lay_network(self.paths, plan.wired, hosts, set(fresh), deadline)
            dataclasses.replace(found, hosts=hosts).save(self.paths.record)
            # the head first: a MOM that finds no server tries again only after seconds
            births.sort(key=lambda birth: birth.name != HEAD)
            for birth in births:
                birth.go()
                if installed and birth.name == HEAD:
                    builder.await_hosts(self.paths, {HEAD: hosts[HEAD]}, orders, deadline)
                    pbs_server.configure(self.paths, hosts[HEAD], installed, plan.server_commands(), deadline)
        builder.await_hosts(self.paths, {name: hosts[name] for name in fresh}, orders, deadline)
        if installed:
            pbs_server.await_nodes(hosts[HEAD], installed, self.node_names, deadline)

    def _blueprint(self, sshd: tools.Sshd, installed: Torque | None, *, kvm: bool) -> Blueprint:
        members = (*self.nodes, *((HEAD_NODE,) if installed else ()))
        return Blueprint(
            self.name,
            self.paths,
            self.nodes,
            self.slots,
            self.pool,
            keys=pki.ensure(self.paths.keys, members, time.time()),
            sshd=sshd,
            settings=files.settings(kvm=kvm, image=DEFAULT_IMAGE, changes=self._settings),
            kvm=kvm,
            torque=installed,
        )

    def _healthy(self, orders: Mapping[str, spec.HostSpec], installed: Torque | None) -> dict[str, Running]:
        """The hosts that run, are what they should be, and do their work."""
        hosts = {
            name: host
            for name, host in self._record().hosts.items()
            if name in orders and host.orders == builder.digest(orders[name].text())
            if host.alive and not health.exited(host) and not health.not_ready(host, orders[name].daemons)
        }
        nodes = [host for name, host in hosts.items() if orders[name].has("libvirtd")]
        for host, answer in zip(nodes, health.ask(nodes, PATIENCE), strict=True):
            if answer.error:
                del hosts[host.name]
        if installed and HEAD in hosts and not pbs_server.configured(hosts[HEAD], installed, PATIENCE):
            del hosts[HEAD]
        return hosts

    def _clear(self, kept: Iterable[str], deadline: Deadline, *, shared: bool) -> None:
        """End and remove all hosts but the ``kept`` ones, and what they share unless it is needed."""
        specs = {self.paths.spec(name) for name in kept}
        processes.end(self.paths.state, deadline, spare=specs)
        for directory in self.paths.state.iterdir():
            wanted = shared and directory == self.paths.shared
            if directory.is_dir() and directory / "init.json" not in specs and not wanted:
                tree.remove(directory)

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
        return node_status(self._record())

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
        """Run a program in ``node``, as root in ``/``, and return what it printed.

        TORQUE's commands are on its PATH when the lab has them.

        :raises LabError: it was not done after ``seconds``, or it failed and ``check`` is set.
        """
        host = self._running(node)
        path = Torque(self._record().torque).path
        return inside.run(
            host, argv, seconds=seconds, check=check, stdin=input, env={"PATH": path, **(env or {})}
        )

    def _record(self) -> LabRecord:
        return record.load(self.paths.record)

    def _running(self, node: str) -> Running:
        found = self._record()
        if not found.nodes:
            raise LabError(f"the lab {self.name} is not up", hint="torque-vm lab up")
        known = (*found.nodes, *((HEAD,) if found.torque else ()))
        if node not in known:
            raise LabError(f"the lab {self.name} has no node {node!r}, only {', '.join(known)}")
        host = found.living(node)
        if host is None:
            raise LabError("it does not run", node=node, hint="torque-vm lab up builds it anew")
        return host


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root", hint="namespaces, mounts and devices are made; use sudo")
