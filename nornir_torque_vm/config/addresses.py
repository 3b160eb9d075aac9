"""Settings for the guests' addresses: by DHCP, computed from node and slot, or from the site's script."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.hooks import HookSettings
from nornir_torque_vm.config.kinds import AbsPath, Bool, Int, Text
from nornir_torque_vm.errors import InventoryError, SettingsError
from nornir_torque_vm.nodefile import unfold

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
MOST_NODES = 65_536
"""Nodes that may have computed addresses: it bounds what ``node[0-999999999]`` can cost."""


class NodeNames(Text):
    """Names of nodes in a row, as ``pbsnodes`` has them; ``node[01-16,20],big1`` is short for 18 of them."""

    def __init__(self) -> None:
        super().__init__(r"[^\s\0-\x1f\x7f]*", "names of nodes such as node[01-16],big1", empty=True)

    def parse(self, raw: object) -> str:
        """Read the names; no name may stand there twice, or two nodes would have the same addresses."""
        text = super().parse(raw)
        try:
            names = unfold(text, MOST_NODES)
        except InventoryError as error:
            raise ValueError(f"must be {self.words}: {error.what}") from None
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueError(f"must name every node once, and names {name} twice")
            seen.add(name)
        return text


@dataclasses.dataclass(frozen=True)
class AddressSettings(HookSettings):
    """Where the guests' addresses come from."""

    static_ip_mapping: bool = setting(
        Bool(),
        False,
        "whether guests get addresses computed from node and slot, or from ip_script, without a DHCP server",
        aliases=("custom_ip_mapping",),
    )
    static_network: str = setting(
        Text(rf"{_IPV4}/(?:[89]|[12][0-9]|30)", "an IPv4 network such as 10.89.0.0/24", empty=True),
        "",
        "network that such addresses are in",
    )
    static_first: str = setting(
        Text(_IPV4, "an IPv4 address", empty=True),
        "",
        "first address of the first node; empty: the first of static_network",
    )
    static_nodes: str = setting(
        NodeNames(),
        "",
        "the nodes in a row, each with the next static_slots addresses: append new ones at the end",
    )
    static_slots: int = setting(
        Int(1, 65_536), 64, "addresses of each node, one for each of its slots (np) in TORQUE"
    )
    static_gateway: str = setting(
        Text(_IPV4, "an IPv4 address", empty=True), "", "router of guests with such addresses; empty: none"
    )
    ip_script: str = setting(
        AbsPath(empty=True),
        "",
        "program of the site's that prints a guest's address, in place of the computed one",
        aliases=("ip_to_mac_script",),
    )
    check_addresses: bool = setting(
        Bool(), True, "whether a start fails when another machine answers at a guest's address"
    )
    release_leases: bool = setting(
        Bool(), True, "whether the leases of guests that are gone are given back to the DHCP server"
    )

    def require_static(self) -> None:
        """Refuse settings by which two guests would have one address, or one would have none.

        :raises SettingsError: they contradict each other.
        """
        if self.static_ip_mapping and not self.ip_script and not (self.static_network and self.static_nodes):
            raise SettingsError(
                "static_ip_mapping needs static_network and static_nodes, or ip_script",
                hint="state them, or leave addresses to DHCP",
            )
        if not self.static_network:
            return
        first, last = self.static_range()
        network = self._network()
        lowest, highest = network.network_address + 1, network.broadcast_address - 1
        if not lowest <= first <= highest:
            raise SettingsError(f"static_first ({first}) is no address of static_network ({network})")
        if last > highest:
            raise SettingsError(
                f"static_nodes and static_slots need the addresses {first} to {last}, and those of "
                f"static_network end with {highest}",
                hint="take a larger network, fewer static_slots or a lower static_first",
            )
        if self.static_gateway and first <= self._address(self.static_gateway) <= last:
            raise SettingsError(f"static_gateway ({self.static_gateway}) is an address of static_nodes")

    def static_range(self) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
        """First and last address of all nodes; ``static_network`` has to be there."""
        first = self._address(self.static_first) if self.static_first else self._network().network_address + 1
        return first, first + max(1, len(unfold(self.static_nodes, MOST_NODES)) * self.static_slots) - 1

    def _network(self) -> ipaddress.IPv4Network:
        import ipaddress  # costs the wrapper milliseconds, and few sites need it

        try:
            return ipaddress.IPv4Network(self.static_network)
        except ValueError:
            raise SettingsError(
                f"static_network ({self.static_network}) has bits set behind its prefix",
                hint=f"write {ipaddress.IPv4Network(self.static_network, strict=False)}",
            ) from None

    @staticmethod
    def _address(text: str) -> ipaddress.IPv4Address:
        import ipaddress

        return ipaddress.IPv4Address(text)
