"""The nouns of guests' addresses."""

from __future__ import annotations

import dataclasses
import enum


class AddressSource(enum.StrEnum):
    """Where a guest's address can be learnt; ``settings.address_sources`` lists those that are asked."""

    AGENT = "agent"
    LEASE = "lease"
    ARP = "arp"
    NEIGHBOUR = "neighbour"
    STATIC = "static"
    """It was planned; nobody needs to be asked."""


ASKED = (AddressSource.AGENT, AddressSource.LEASE, AddressSource.ARP, AddressSource.NEIGHBOUR)
"""The sources of an address that was not planned."""


@dataclasses.dataclass(frozen=True, slots=True)
class StaticAddress:
    """An IPv4 address that a guest is given with its seed. ``gateway`` is empty when there is no router."""

    address: str
    prefix: int
    gateway: str = ""

    @property
    def text(self) -> str:
        """Address and length of the network's prefix: ``10.89.0.65/24``."""
        return f"{self.address}/{self.prefix}"
