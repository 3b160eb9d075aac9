"""Whom to ask for a guest's address: one function per source, and the judge of their answers."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nornir.core.task import Task

from nornir_torque_vm import neighbours
from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.connections.libvirt import map_error
from nornir_torque_vm.errors import HypervisorUnreachable, NodeShellError
from nornir_torque_vm.inventory.hostdata import guest_of, is_guest, neighbours_of, node_of
from nornir_torque_vm.tasks.common import NODE_SHELL, connection
from nornir_torque_vm.tasks.watch import Watch

_SRC = {AddressSource.LEASE: 0, AddressSource.AGENT: 1, AddressSource.ARP: 2}
"""``virDomainInterfaceAddressesSource``."""
_IPV4 = 0
"""``VIR_IP_ADDR_TYPE_IPV4``."""

_UNSUPPORTED = frozenset({3, 74, 84})
"""``VIR_ERR_NO_SUPPORT``, ``ARGUMENT_UNSUPPORTED`` (no agent channel), ``OPERATION_UNSUPPORTED``."""
_INTERNAL = 1
"""``VIR_ERR_INTERNAL_ERROR``: libvirt's own ARP reader on kernels since 6.10, for ever."""

_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
"""Addresses a machine may only use for itself while it has none (RFC 1122)."""
PROC_NET_ARP = Path(neighbours.PROC_NET_ARP)
READ_SECONDS = 10.0
"""How long reading another node's table may take, waiting included."""
KNOCK_PORT = 22
KNOCK_SECONDS = 0.2


class Refused(Exception):
    """This source will never know: it need not be asked again."""


class Enquiry:
    """Asks the sources for one guest, in the order given, and remembers what each said last.

    :param verify: believe hearsay (every source but the agent) only when something answers at the
        address: a job that is started again gets the same MAC, and the tables may still have the
        address of its earlier guest.
    """

    def __init__(self, task: Task, watch: Watch, sources: Iterable[AddressSource], *, verify: bool) -> None:
        self._task, self._watch, self._verify = task, watch, verify
        self._mac = guest_of(task.host).mac.lower()
        self._static = guest_of(task.host).static
        self.open = list(dict.fromkeys(sources))
        """The sources that may still answer."""
        self.said: dict[str, str] = {}
        """Source → why it has no answer."""

    def ask(self) -> tuple[AddressSource, str] | None:
        """Ask every open source once; return the first believable answer and who gave it."""
        for source in tuple(self.open):
            try:
                address = _ASK[source](self)
            except Refused as exc:
                self.open.remove(source)
                self.said[source] = f"{exc}, not asked again"
            except (HypervisorUnreachable, NodeShellError, LookupError, ValueError) as exc:
                self.said[source] = str(exc)
            else:
                if address and self._believes(source, address):
                    return source, address
        return None

    def _believes(self, source: AddressSource, address: str) -> bool:
        planned = source is AddressSource.STATIC
        if source is AddressSource.AGENT or not (self._verify or planned) or answers(address):
            return True
        self.said[source] = f"{address}, where nothing answers"
        return False

    def agent(self) -> str | None:
        """Ask the agent inside the guest."""
        return self._interfaces(AddressSource.AGENT, _UNSUPPORTED)

    def lease(self) -> str | None:
        """Ask libvirt's own DHCP server."""
        return self._interfaces(AddressSource.LEASE, _UNSUPPORTED | {_INTERNAL})

    def arp(self) -> str | None:
        """Ask libvirt for its host's neighbour table."""
        return self._interfaces(AddressSource.ARP, _UNSUPPORTED | {_INTERNAL})

    def neighbour(self) -> str | None:
        """Look into the node's neighbour table ourselves."""
        host = self._task.host
        address = neighbours_of(host).address(self._mac, self._read_table, aside=not host.get("local"))
        self.said[AddressSource.NEIGHBOUR] = "not in the node's table"
        return address

    def static(self) -> str | None:
        """Take the address that it was given.

        :raises Refused: it was given none.
        """
        if self._static is None:
            raise Refused("none was planned")
        return self._static.address

    def _interfaces(self, source: AddressSource, refusals: frozenset[int]) -> str | None:
        from libvirt import libvirtError

        try:
            found = self._watch.domain.interfaceAddresses(_SRC[source])
        except libvirtError as exc:
            error = map_error(exc)
            if error.code in refusals:
                raise Refused(error.what) from exc
            if isinstance(error, HypervisorUnreachable):
                raise error from exc
            self.said[source] = error.what
            return None
        self.said[source] = "no address yet"
        return ipv4_of(found or {}, self._mac)

    def _read_table(self) -> Mapping[str, str]:
        if self._task.host.get("local"):
            return read_here()
        return read_there(connection(self._task, NODE_SHELL), self._waited_for())

    def _waited_for(self) -> list[str]:
        """MAC addresses of the guests of this one's node whose address nobody knows yet."""
        node, hosts = node_of(self._task.host), self._task.nornir.inventory.hosts.values()
        waiting = (host for host in hosts if is_guest(host) and node_of(host) == node and not host.hostname)
        return [guest_of(host).mac.lower() for host in waiting]


_ASK: Mapping[AddressSource, Callable[[Enquiry], str | None]] = {
    AddressSource.AGENT: Enquiry.agent,
    AddressSource.LEASE: Enquiry.lease,
    AddressSource.ARP: Enquiry.arp,
    AddressSource.NEIGHBOUR: Enquiry.neighbour,
    AddressSource.STATIC: Enquiry.static,
}


def ipv4_of(interfaces: Mapping[str, Any], mac: str) -> str | None:
    """The IPv4 address of the interface with that MAC in what ``interfaceAddresses`` returned.

    ``{"eth0": {"hwaddr": "52:54:…", "addrs": [{"type": 0, "addr": "10.89.0.9", "prefix": 24}]}}``; an
    interface may have no addresses (None), link-local ones do not count.
    """
    for interface in interfaces.values():
        if str(interface.get("hwaddr", "")).lower() != mac:
            continue
        for entry in interface.get("addrs") or ():
            if entry.get("type") == _IPV4 and _usable(str(entry.get("addr"))):
                return str(entry["addr"])
    return None


def _usable(address: str) -> bool:
    """Whether a guest's own word is an address others can reach; the agent's words are hostile."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    of_no_use = parsed.is_link_local or parsed.is_loopback or parsed.is_multicast or parsed.is_reserved
    return not of_no_use and parsed not in _THIS_NETWORK


def read_here() -> dict[str, str]:
    """This machine's neighbour table: MAC → address; the file ``arp`` reads, without starting ``arp``."""
    return neighbours.by_mac(neighbours.parse_proc_net_arp(PROC_NET_ARP.read_text(encoding="ascii")))


def read_there(shell: Any, macs: Iterable[str] = ()) -> dict[str, str]:
    """Another node's neighbour table, read over its ``node_shell`` connection.

    :param macs: wait a second for one of these to be in it.
    :raises NodeShellError: the node cannot be reached or has no program that prints the table.
    """
    result = shell.run((*neighbours.COMMAND, *macs), timeout=READ_SECONDS)
    if not result.ok:
        raise NodeShellError(f"cannot read the neighbour table: {result.summary()}")
    return neighbours.by_mac(neighbours.parse_any(result.stdout))


def answers(address: str) -> bool:
    """Whether some machine is at ``address``: it accepts or refuses, but does not stay silent."""
    try:
        socket.create_connection((address, KNOCK_PORT), timeout=KNOCK_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True
