"""``network-config`` (version 2): how a guest's card gets its address, and whom the guest asks for names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings


def network_config(guest: Guest, settings: Settings) -> str:
    """Return ``network-config`` (version 2): the card with our MAC address is ``eth0``.

    It has the address that was planned for the guest; without one it asks DHCP.

    :raises RequestError: a value that JSON and YAML cannot both hold.
    """
    # The name is set because cloud-init writes it into the files of distributions that know no match.
    card: dict[str, Any] = {"match": {"macaddress": guest.mac}, "set-name": "eth0"}
    card["dhcp4"] = guest.static is None
    if guest.static is not None:
        card["addresses"] = [guest.static.text]
        if guest.static.gateway:
            # Not "default", which cloud-init's writers for some distributions do not know.
            card["routes"] = [{"to": "0.0.0.0/0", "via": guest.static.gateway}]
    if settings.search_domain:
        card["nameservers"] = {"search": [settings.search_domain]}
    return json_line({"version": 2, "ethernets": {"eth0": card}}) + "\n"
