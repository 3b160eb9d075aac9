"""Guests cannot pass for others: what they send under a foreign address does not reach the other guest."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from driving import SMALL, command, leftovers, settings, shell

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

JOB = "4950.spoof"
FOREIGN = "10.89.0.250"
"""No other machine of the lab has it."""
FOREIGN_MAC = "02:66:6f:72:65:69"


class Pair:
    """Two guests on one node."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        said = json.loads(command(lab, "address", "node1", "--job", JOB, "--json").stdout)
        self.addresses = [host["data"]["address"] for host in said["hosts"]]

    def do(self, rank: int, text: str) -> bool:
        """Run a command in one of them as root; whether it ended with 0."""
        words = ("health", "node1", "--job", JOB, "--filter", f"rank={rank}", "--command", text, "--quiet")
        return command(self.lab, *words, "--timeout", "60").returncode == 0

    def foreign_address_is_heard(self) -> bool:
        """Whether the second guest gets answers from an address that the first took for itself."""
        assert self.do(0, f"ip addr replace {FOREIGN}/24 dev eth0")
        return self.do(1, f"ping -c 2 -w 4 {FOREIGN} >/dev/null")

    def foreign_card_is_heard(self) -> bool:
        """Whether the second guest gets answers while the first has another MAC address."""
        own = "$(cat /sys/class/net/eth0/address)"
        change = "ip link set eth0 address"
        there = f"own={own}; (sleep 1; {change} {FOREIGN_MAC}; sleep 7; {change} $own)"
        assert self.do(0, f"{there} >/dev/null 2>&1 </dev/null &")
        self.do(1, "sleep 2; ip neigh flush dev eth0")
        heard = self.do(1, f"ping -c 2 -w 4 {self.addresses[0]} >/dev/null")
        assert self.do(1, "sleep 6")
        return heard

    def without_filter(self) -> None:
        """Take the filter from both, as nobody but the node's root can."""
        virsh = "virsh -q -c qemu:///system"
        for name in shell(self.lab, "node1", f"{virsh} list --name").split():
            text = shell(self.lab, "node1", f"{virsh} dumpxml {name}")
            card = ET.fromstring(text).find("devices/interface")  # noqa: S314 - libvirt's own
            assert card is not None
            card.remove(next(card.iter("filterref")))
            self.lab.run("node1", ["tee", "/run/card.xml"], input=ET.tostring(card, "unicode"))
            shell(self.lab, "node1", f"{virsh} update-device --live {name} /run/card.xml; rm /run/card.xml")


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[Pair]:
    """Two guests with the filter that guests have where a site says nothing, and with addresses by DHCP."""
    with settings(lab, {"network_filter": "torque-vm-guest"}, "node1"):
        try:
            booted = command(lab, "boot", "node1", "-vm", f"{SMALL},vms_per_node=2", "--job", JOB)
            assert booted.returncode == 0, booted.stderr
            yield Pair(lab)
        finally:
            command(lab, "destroy", "node1", "--job", JOB)


@pytest.mark.proves("network_filter")
def test_nobody_hears_a_guest_under_a_foreign_address_until_the_filter_is_gone(pair: Pair) -> None:
    """Neither an IP nor a MAC address; under its own it is heard, and all that is the filter's doing."""
    assert pair.do(1, f"ping -c 2 -w 4 {pair.addresses[0]} >/dev/null")
    assert not pair.foreign_address_is_heard()
    assert not pair.foreign_card_is_heard()
    pair.without_filter()
    assert pair.foreign_address_is_heard()
    assert pair.foreign_card_is_heard()


def test_the_rules_go_with_the_guests(pair: Pair, lab: Lab) -> None:
    """Nothing of them is left in the kernel."""
    command(lab, "destroy", "node1", "--job", JOB)
    assert "libvirt-" not in shell(lab, "node1", "ebtables -t nat -L")
    assert leftovers(lab) == {}
