"""Nodes for tests without a hypervisor: libvirt's own test driver, one small world per node."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.processor import Processor, Processors
from nornir.core.task import AggregatedResult

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.guest_ssh import GuestSshConnection
from nornir_torque_vm.connections.libvirt import LibvirtConnection
from nornir_torque_vm.connections.node_shell import NodeShellConnection
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.identity import domain_name, guest_name, guest_uuid, mac_address
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Guest, Image, Job, JobKeys, Node, Owner, Plan, Shape
from nornir_torque_vm.runners.deadline import DeadlineRunner
from nornir_torque_vm.sshkeys import make_job_keys

logging.getLogger("nornir").addHandler(logging.NullHandler())  # else failing tasks fill the screen

OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice")
JOB = Job("17.head", "head", OWNER, nonce="0badcafe")
RAM = 64 << 20


def make_plan(nodes: int = 1, per_node: int = 1, job: Job = JOB, ramdisk: int = 0) -> Plan:
    """A plan whose guests the test driver accepts: it knows one architecture and one domain type."""
    names = [f"node{number}" for number in range(1, nodes + 1)]
    places = [(name, index) for name in names for index in range(per_node)]
    shape = Shape(1, RAM, arch="i686", domain_type="test", ramdisk=ramdisk)
    guests = tuple(
        Guest(guest_name(job.id, rank), rank, node, index, mac_address(job.server, job.id, rank),
              guest_uuid(job.server, job.id, job.attempt, job.nonce, rank), domain_name(job, rank), shape)
        for rank, (node, index) in enumerate(places)
    )  # fmt: skip
    image = Image("micro.qcow2", "/nowhere/micro.qcow2", virtual_size=1 << 20)
    return Plan(job, tuple(Node(name) for name in names), guests, image)


class World:
    """Some nodes, a plan for them, and Nornir to drive them with."""

    def __init__(self, folder: pathlib.Path, plan: Plan, **settings: Any) -> None:
        self.plan = plan
        self.settings = Settings(
            node_uri=f"test://{folder}/{{node}}.xml",
            volume_dir=str(folder / "volumes"),
            run_dir=str(folder / "run"),
            **settings,
        )
        for node in plan.nodes:
            (folder / f"{node.name}.xml").write_text("<node/>")
        self.keys: JobKeys = make_job_keys(guest.name for guest in plan.guests)
        self.inventory = build_inventory(plan, self.settings, keys=self.keys, here="elsewhere")
        for name, plugin in (
            ("libvirt", LibvirtConnection),
            ("node_shell", NodeShellConnection),
            ("guest_ssh", GuestSshConnection),
        ):
            ConnectionPluginRegister.register(name, plugin)

    def nornir(
        self, seconds: float = 20.0, inventory: Inventory | None = None, processors: Sequence[Processor] = ()
    ) -> Nornir:
        """Nornir over all hosts, with that many seconds for each run."""
        return Nornir(
            inventory=inventory or self.inventory,
            runner=DeadlineRunner(run_timeout=seconds),
            config=Config(logging=LoggingConfig(enabled=False)),
            processors=Processors(list(processors)),
        )

    def run(
        self, task: Callable[..., Any], role: str, seconds: float = 20.0, **parameters: Any
    ) -> AggregatedResult:
        """Run a task on all nodes or on all guests, those that failed before included."""
        nornir = self.nornir(seconds).filter(role=role)
        return nornir.run(task, on_failed=True, **parameters)

    def connect(self, node: str = "node1") -> Any:
        """The virConnect of a node, for looking and meddling."""
        return pool.acquire(self.settings.node_uri.replace("{node}", node), 1).wait(0)

    def domains(self, node: str = "node1") -> list[str]:
        """Names of the domains that exist on a node."""
        return sorted(domain.name() for domain in self.connect(node).listAllDomains())

    def volumes(self, node: str = "node1") -> list[str]:
        """Names of the guests' files on a node."""
        folder = pathlib.Path(self.settings.volume_dir, node)
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def first_error(results: AggregatedResult, host: str) -> BaseException:
    """What made a host fail, at its root."""
    result: Any = next(part for part in results[host] if part.failed)
    while type(result.exception).__name__ == "NornirSubTaskError":
        inner = result.exception.result
        result = next(part for part in inner if part.failed)
    assert isinstance(result.exception, BaseException)
    return result.exception


def result_of(results: AggregatedResult, host: str) -> Any:
    """What a task returned for a host; fails the test with its error when it failed."""
    if results[host].failed:
        raise AssertionError(f"{host}: {first_error(results, host)!r}") from first_error(results, host)
    return results[host][0].result


def libvirt_error(code: int, message: str, domain: int = 10) -> Exception:
    """A ``libvirtError`` as the binding would raise it; domain 10 is the QEMU driver, 7 RPC."""
    import libvirt

    error: Exception = libvirt.libvirtError(message)
    error.err = (code, domain, message, 2, None, None, None, -1, -1)  # type: ignore[attr-defined]
    return error


class Plugged:
    """A connection plugin that is open already; put into ``host.connections``."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def open(self, *_: object, **__: object) -> None:
        """It is open."""

    def close(self) -> None:
        """Nothing to close."""


class FakeDomain:
    """A guest's domain with a script.

    :param answers: address source number → what ``interfaceAddresses`` returns, or raises.
    :param states: what ``state`` returns, one after the other; the last for ever.
    """

    def __init__(self, answers: Mapping[int, Any] | None = None, states: Sequence[Any] = ((1, 1),)) -> None:
        self.answers, self.state = dict(answers or {}), in_turn(*states)
        self.asked: list[int] = []

    def interfaceAddresses(self, source: int) -> Any:  # noqa: N802 - libvirt's name
        """Answer as scripted; nothing when the script does not say."""
        self.asked.append(source)
        return _play(self.answers.get(source, {}))


class FakeLibvirt:
    """A virConnect that knows one domain, by whatever name."""

    def __init__(self, domain: Any) -> None:
        self.domain = domain

    def lookupByName(self, _name: str) -> Any:  # noqa: N802 - libvirt's name
        """Find it, or fail as scripted."""
        return _play(self.domain)

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        """Always."""
        return True


def in_turn(*values: Any) -> Callable[[], Any]:
    """A function that returns, or raises, one value after the other; the last for ever."""
    left = list(values)
    return lambda: _play(left.pop(0) if len(left) > 1 else left[0])


def _play(scripted: Any) -> Any:
    if isinstance(scripted, Exception):
        raise scripted
    return scripted() if callable(scripted) else scripted
