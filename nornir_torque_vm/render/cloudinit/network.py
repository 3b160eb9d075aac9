"""``network-config`` (version 2): how a guest's card gets its address, and whom the guest asks for names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Guest
from nornir_torque_vm.render.cloudinit.programs import program
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings


def network_config(guest: Guest, settings: Settings) -> str:
    """Return ``network-config`` (version 2): the card with our MAC address is ``eth0``.

    It has the guest's planned address, or asks DHCP.

    :raises RequestError: a value that JSON and YAML cannot both hold.
    """
    # The name is set because cloud-init writes it into the files of distributions that know no match.
    card: dict[str, Any] = {"match": {"macaddress": guest.mac}, "set-name": "eth0", **_address(guest)}
    if settings.name_server and guest.static is None:
        card["dhcp4-overrides"] = {"use-dns": False}
    if names := name_servers(settings):
        card["nameservers"] = names
    return json_line({"version": 2, "ethernets": {"eth0": card}}) + "\n"


def _address(guest: Guest) -> dict[str, Any]:
    if guest.static is None:
        return {"dhcp4": True}
    card: dict[str, Any] = {"dhcp4": False, "addresses": [guest.static.text]}
    if guest.static.gateway:
        # Not gateway4, which netplan is giving up.
        card["routes"] = [{"to": "0.0.0.0/0", "via": guest.static.gateway}]
    return card


def name_servers(settings: Settings) -> dict[str, list[str]]:
    """Return a card's ``nameservers``: what the site says of them; empty when that is nothing."""
    names = {"addresses": list(settings.name_server), "search": [*filter(None, [search_domain(settings)])]}
    return {kind: values for kind, values in names.items() if values}


def search_domain(settings: Settings) -> str:
    """The domain in which guests look for short names; may be empty."""
    return settings.search_domain or settings.domain


def resolver_command(settings: Settings) -> list[str] | None:
    """Return the command that sees to a guest's ``resolv.conf``, with its network up; None: nothing to do."""
    if not name_servers(settings):
        return None
    return ["sh", "-c", program("resolver"), "sh", search_domain(settings), *settings.name_server]
