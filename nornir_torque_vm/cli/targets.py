"""Which nodes and guests an administrator's command is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from nornir.core.inventory import Host, Inventory

from nornir_torque_vm.cli import offers
from nornir_torque_vm.config.fields import nearest
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.inventory.torque import TorqueInventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.nodefile import valid_host

F = TypeVar("F", bound=Callable[..., Any])

GUEST_KEYS = (
    "guest",
    "rank",
    "node",
    "job",
    "owner",
    "server",
    "attempt",
    "state",
    "domain",
    "mac",
    "uuid",
    "vcpus",
)
"""What ``--filter`` can ask of a guest."""


def facts_of(found: FoundGuest) -> dict[str, object]:
    """What is known of a guest that exists, flat: the keys of tables, JSON and filters."""
    return {
        "guest": found.guest, "rank": found.rank, "node": found.node, "job": found.job_id,
        "owner": found.owner, "server": found.server, "attempt": found.attempt, "state": found.state,
        "domain": found.domain, "mac": found.mac, "uuid": found.uuid,
        "vcpus": found.vcpus, "memory": found.memory,
    }  # fmt: skip


def target_options(command: F) -> F:
    """Give a command the arguments and options that choose nodes and guests."""
    for decorate in reversed(
        (
            click.argument("nodes", nargs=-1, shell_complete=offers.nodes),
            click.option("--nodefile", shell_complete=offers.files,
                         help="File with one node a line, as TORQUE writes it."),
            click.option(
                "--inventory",
                "inventory_path",
                shell_complete=offers.files,
                help="A SimpleInventory: its hosts file, or the folder that holds hosts.yaml.",
            ),
            click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE",
                         help="Keep only nodes or guests of which that is true; may be repeated."),
            click.option("--job", "job_id", shell_complete=offers.jobs,
                         help="Only the guests of this job, e.g. 17.head."),
            click.option("--settings", "settings_path", envvar="TORQUE_VM_SETTINGS",
                         shell_complete=offers.files,
                         help="The settings file. [default: /etc/torque-vm/settings.toml]"),
            click.option("--timeout", type=click.FloatRange(min=0.1),
                         help="Seconds for everything. [default: the settings']"),
            click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
            click.option("--quiet", is_flag=True, help="No progress on stderr."),
        )
    ):  # fmt: skip
        command = decorate(command)
    return command


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """The nodes that were chosen, and what is left to ask of guests.

    ``base`` is the administrator's own inventory, whose connection options go before the settings.
    """

    nodes: tuple[Node, ...]
    guest_filters: Mapping[str, str]
    base: Inventory | None = None

    def keep(self, guests: Iterable[FoundGuest], job_id: str | None) -> list[FoundGuest]:
        """Those of the guests that were asked for."""
        wanted = {**self.guest_filters, **({"job": job_id} if job_id else {})}
        return [g for g in guests if all(str(facts_of(g)[key]) == value for key, value in wanted.items())]


def choose(
    nodes: Sequence[str], nodefile: str | None, inventory_path: str | None, filters: Sequence[str]
) -> Targets:
    """Resolve the command line's words to nodes; ``$PBS_NODEFILE`` when it names none.

    :raises InventoryError: several sources of nodes, an unusable one, or a filter nobody understands.
    """
    if sum(map(bool, (nodes, nodefile, inventory_path))) > 1:
        raise InventoryError("nodes are named twice", hint="give host names or --nodefile or --inventory")
    wanted = dict(_pair(text) for text in filters)
    if inventory_path is None:
        source = TorqueInventory(nodefile=nodefile, hosts=list(nodes) or None)
        return Targets(source.nodes(), _guest_filters(wanted, ()))
    base = load_simple(Path(inventory_path))
    known = sorted({key for host in base.hosts.values() for key in host.keys()} | {"name", "hostname"})  # noqa: SIM118
    on_nodes = {key: value for key, value in wanted.items() if key in known}
    hosts = [host for host in base.hosts.values() if all(_says(host, *pair) for pair in on_nodes.items())]
    rest = {key: value for key, value in wanted.items() if key not in on_nodes}
    return Targets(tuple(map(_node, hosts)), _guest_filters(rest, known), base)


def load_simple(path: Path) -> Inventory:
    """Read a SimpleInventory from its hosts file or its folder.

    :raises InventoryError: no such file, or not an inventory.
    """
    from nornir.plugins.inventory import SimpleInventory

    folder, hosts = (path, path / "hosts.yaml") if path.is_dir() else (path.parent, path)
    try:
        return SimpleInventory(str(hosts), str(folder / "groups.yaml"), str(folder / "defaults.yaml")).load()
    except OSError as exc:
        raise InventoryError(f"the inventory {hosts} cannot be read: {exc.strerror}") from exc
    except Exception as exc:
        raise InventoryError(f"the inventory {hosts} is not one that Nornir can use: {exc}") from exc


def _node(host: Host) -> Node:
    """The node an inventory's host stands for."""
    slots = host.get("slots", 1)
    if not valid_host(host.name):
        raise InventoryError(f"{host.name!r:.60} is not a host name", hint="mend the inventory")
    if not isinstance(slots, int) or slots < 1:
        raise InventoryError(
            f"{host.name} has slots {slots!r:.60}", hint="it is the number of its virtual processors"
        )
    return Node(host.name, slots, host.hostname or "")


def _says(host: Host, key: str, value: str) -> bool:
    return str(host.get(key)) == value


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InventoryError(f"the filter {text!r:.60} is not KEY=VALUE")
    return key.strip(), value.strip()


def _guest_filters(wanted: Mapping[str, str], node_keys: Iterable[str]) -> Mapping[str, str]:
    known = [*GUEST_KEYS, *node_keys]
    for key in wanted:
        if key not in GUEST_KEYS:
            raise InventoryError(f"no node or guest has a {key!r:.60} to filter by", hint=nearest(key, known))
    return wanted
