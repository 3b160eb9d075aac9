"""A Nornir inventory from values: nodes and guests as hosts, one group per node.

How a node's libvirt is reached is stated once, in the node's group, and inherited by the node and
its guests. Building touches no network and imports neither libvirt nor ssh.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from nornir.core.inventory import (
    ConnectionOptions,
    Defaults,
    Group,
    Groups,
    Host,
    Hosts,
    Inventory,
    ParentGroups,
)

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.inventory.hostdata import GUEST, NODE
from nornir_torque_vm.model import Guest, JobKeys, Node, NodeFacts, Plan
from nornir_torque_vm.neighbours import NeighbourTable

_LOOPBACK = frozenset({"localhost", "127.0.0.1"})


def build_inventory(
    plan: Plan,
    settings: Settings,
    *,
    keys: JobKeys | None = None,
    facts: Mapping[str, NodeFacts] | None = None,
    addresses: Mapping[str, str] | None = None,
    base: Inventory | None = None,
    here: str | None = None,
) -> Inventory:
    """Return the inventory of one job: its nodes first, then its guests by rank.

    :param keys: without them guests can be started and found but not spoken to.
    :param facts: the survey's, by node.
    :param addresses: guest name → IPv4 address, for guests that run already.
    :param base: an inventory, such as an administrator's hosts.yaml, whose connection options for
        nodes of the same name go before the settings.
    :param here: host name of this machine; asked from the system when None.
    :raises InventoryError: a guest is called like another host.
    """
    builder = InventoryBuilder(settings, base=base, here=here)
    builder.share(plan=plan, job_keys=keys, image=plan.image.name)
    for node in plan.nodes:
        builder.add_node(node, (facts or {}).get(node.name))
    for guest in plan.guests:
        builder.add_guest(guest, keys=keys, address=(addresses or {}).get(guest.name))
    return builder.inventory()


def node_inventory(
    nodes: Iterable[Node], settings: Settings, *, base: Inventory | None = None, here: str | None = None
) -> Inventory:
    """Return an inventory of nodes alone: to survey them, to list and to destroy what is there.

    Parameters and errors as in :func:`build_inventory`.
    """
    builder = InventoryBuilder(settings, base=base, here=here)
    for node in nodes:
        builder.add_node(node)
    return builder.inventory()


class InventoryBuilder:
    """Collects nodes and guests; parameters as in :func:`build_inventory`."""

    def __init__(self, settings: Settings, *, base: Inventory | None = None, here: str | None = None) -> None:
        self._settings, self._base = settings, base
        self._here = os.uname().nodename if here is None else here
        self._hosts, self._groups = Hosts(), Groups()
        self._defaults = Defaults(data={"settings": settings})
        self._options = {"max_connections": settings.max_connections_per_node}
        for role in (NODE, GUEST):
            self._groups[role] = Group(role, data={"role": role}, defaults=self._defaults)
        self._groups[GUEST].platform = "linux"

    def share(self, **data: object) -> None:
        """Give every host ``data``; what is None is left out."""
        self._defaults.data.update((key, value) for key, value in data.items() if value is not None)

    def add_node(self, node: Node, facts: NodeFacts | None = None) -> None:
        """Add a node as a host, with its group."""
        group = self._group_of(node.name)
        if facts is not None:
            group.data["facts"] = facts
        if node.address:
            group.data["node_address"] = node.address
        groups = ParentGroups([self._groups[NODE], group])
        data = {"node": node.name, "slots": node.slots}
        self._add(Host(node.name, node.address or node.name, groups=groups, data=data))

    def add_guest(
        self,
        guest: Guest,
        *,
        keys: JobKeys | None = None,
        address: str | None = None,
        name: str | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Add a guest as a host.

        :param name: of the host when it must differ from the guest's.
        :param data: more for this host alone.
        """
        own = {"node": guest.node, "guest": guest, "rank": guest.rank, "mac": guest.mac,
               "domain": guest.domain, **(data or {})}  # fmt: skip
        host = Host(name or guest.name, address, data=own)
        host.groups = ParentGroups([self._groups[GUEST], self._group_of(guest.node)])
        if keys is not None:
            host.connection_options["guest_ssh"] = guest_ssh_options(guest, keys)
        self._add(host)

    def inventory(self) -> Inventory:
        """Return what was added."""
        return Inventory(self._hosts, self._groups, self._defaults)

    def _add(self, host: Host) -> None:
        if host.name in self._hosts:
            raise InventoryError(f"two hosts are called {host.name}", hint="nodes and guests share names")
        host.defaults = self._defaults
        self._hosts[host.name] = host

    def _group_of(self, node: str) -> Group:
        """The group of one node: how it is reached, and what its guests share."""
        name = group_name(node)
        group = self._groups.get(name)
        if group is None:
            local = is_local(node, self._here)
            group = Group(
                name, data={"local": local, "neighbours": NeighbourTable()}, defaults=self._defaults
            )
            group.connection_options = self._connections(node, local=local)
            group.data["uri"] = uri_in(group.connection_options["libvirt"])
            self._groups[name] = group
        return group

    def _connections(self, node: str, *, local: bool) -> dict[str, ConnectionOptions]:
        settings = self._settings
        uri = settings.local_uri if local else settings.node_uri.replace("{node}", node)
        extras = {"uri": uri, "node": node, **self._options}
        found = {
            "libvirt": ConnectionOptions(hostname=node, extras=extras),
            "node_shell": node_shell_options(node, settings),
        }
        known = self._base.hosts.get(node) if self._base else None
        return {name: _preferred(known, name, options) for name, options in found.items()} if known else found


def _preferred(host: Host, name: str, ours: ConnectionOptions) -> ConnectionOptions:
    """What ``host`` states about a connection, completed by ``ours``; ours when it states nothing."""
    stated = host.get_connection_parameters(name)
    if not stated.extras:
        return ours
    stated.extras = {**(ours.extras or {}), **stated.extras}
    return stated


def group_name(node: str) -> str:
    """Name of a node's own group: the node's name, unless that is one of the two roles."""
    return f"{node}." if node in (NODE, GUEST) else node  # no host name ends in a dot


def is_local(node: str, here: str) -> bool:
    """Whether a nodefile's name means this machine, whose host name is ``here``.

    Short and full names match each other; two full names have to be equal.
    """
    node, here = node.lower().rstrip("."), here.lower().rstrip(".")
    if node in _LOOPBACK or node == here:
        return True
    return ("." not in node or "." not in here) and node.partition(".")[0] == here.partition(".")[0]


def uri_in(options: ConnectionOptions) -> str:
    """The URI that the ``libvirt`` connection plugin opens for these options."""
    extras = options.extras or {}
    return str(extras.get("uri", "")).replace("{node}", str(extras.get("node") or options.hostname or ""))


def node_shell_options(node: str, settings: Settings) -> ConnectionOptions:
    """How read-only commands are run on a node."""
    extras = {
        "node": node,
        "key_file": settings.node_shell_key,
        "known_hosts": settings.node_shell_known_hosts,
    }
    return ConnectionOptions(hostname=node, port=22, username=settings.node_shell_user, extras=extras)


def guest_ssh_options(guest: Guest, keys: JobKeys) -> ConnectionOptions:
    """How root in a guest is reached: the job's admin key, the guest's own host key and no other."""
    extras = {
        "guest": guest.name,
        "private_key": keys.admin.private,
        "host_key": keys.hosts[guest.name].public,
    }
    return ConnectionOptions(port=22, username="root", extras=extras)
