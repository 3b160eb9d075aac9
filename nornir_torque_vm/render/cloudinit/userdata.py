"""``user-data``: a guest's name, its accounts, who may log in, and what it does at boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Guest, JobKeys, Owner, Plan
from nornir_torque_vm.render.cloudinit.accounts import accounts_command, users
from nornir_torque_vm.render.cloudinit.metadata import added_in, merged
from nornir_torque_vm.render.cloudinit.network import resolver_command
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings

_GREET = (
    '(n=0; while [ $n -lt 60 ]; do n=$((n+1)); ping -c 1 -W 1 "$1" && break;'
    " bash -c ': >/dev/udp/$0/9' \"$1\"; sleep 1; done) >/dev/null 2>&1 &"
)
"""Argument: the node. Until they have exchanged packets the node's neighbor table does not know the
guest (measured). bash helps where there is no ping: any packet will do."""


def user_data(
    plan: Plan,
    guest: Guest,
    keys: JobKeys,
    node_address: str,
    settings: Settings,
    site: Mapping[str, Any] | None = None,
) -> str:
    """Return ``user-data``: the job owner's account, who may log in, the guest's host key, and more.

    :param node_address: IPv4 address of the guest's node, which the guest pings at boot; may be empty.
    :param site: what the site's own file adds.
    :raises RequestError: a value that JSON and YAML cannot both hold.
    :raises SettingsError: the site's file sets what is ours to set.
    """
    own = own_keys(plan, guest, keys, node_address, settings)
    return f"#cloud-config\n{json_line(merged(own, site or {}, added_in(plan)))}\n"


def own_keys(
    plan: Plan, guest: Guest, keys: JobKeys, node_address: str, settings: Settings
) -> dict[str, Any]:
    """Return what we state in ``user-data`` ourselves; parameters as in :func:`user_data`."""
    owner, host_key = plan.job.owner, keys.hosts[guest.name]
    data: dict[str, Any] = {
        "hostname": guest.name,
        "preserve_hostname": False,
        "users": users(owner, keys),
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        # With these given cloud-init makes no host keys of its own.
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "bootcmd": list(_boot_commands(owner, node_address, settings)),
        "package_update": settings.package_update,
        "package_upgrade": False,
    }
    if settings.host_domain:
        data["fqdn"] = f"{guest.name}.{settings.host_domain}"
    if settings.ntp_servers:
        data["ntp"] = {"enabled": True, "servers": list(settings.ntp_servers)}
    if packages := settings.packages_of(plan.image.distro):
        data["packages"] = list(packages)
    return data


def _boot_commands(owner: Owner, node_address: str, settings: Settings) -> Iterator[list[str]]:
    """Yield commands for before the accounts are made; each argument stays one, whatever it holds."""
    yield accounts_command(owner)
    if resolver := resolver_command(settings):
        yield resolver
    if node_address:
        yield ["sh", "-c", _GREET, "sh", node_address]
