"""The NoCloud seed of one guest: what its cloud-init (or the micro guest's reader) is told.

Only keys of cloud-init's documented schema, and JSON throughout: JSON is YAML, and a guest without a
YAML parser can read it. The seed holds the guest's private host key: keep it from users.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Guest, JobKeys, Owner, Plan
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings

LABEL = "cidata"
"""Volume label by which NoCloud finds its seed."""

_ADD_GROUPS = 'while [ $# -gt 1 ]; do getent group "$1" >/dev/null || groupadd -o -g "$2" "$1"; shift 2; done'
"""Arguments: name, gid, name, gid … One shell for all of them: processes are slow under emulation."""
_GREET = (
    '(n=0; while [ $n -lt 60 ]; do n=$((n+1)); ping -c 1 -W 1 "$1" && break;'
    " bash -c ': >/dev/udp/$0/9' \"$1\"; sleep 1; done) >/dev/null 2>&1 &"
)
"""Argument: the node. Until they have exchanged packets the node's neighbor table does not know the
guest (measured). bash helps where there is no ping: any packet will do."""


def seed_files(
    plan: Plan, guest: Guest, keys: JobKeys, node_address: str, settings: Settings
) -> dict[str, str]:
    """Return the files of the guest's seed by name, for :func:`seed_iso`; parameters as in :func:`user_data`.

    :raises RequestError: a value that JSON and YAML cannot both hold.
    """
    return {
        "meta-data": meta_data(guest),
        "user-data": user_data(plan, guest, keys, node_address, settings),
        "network-config": network_config(guest, settings),
    }


def meta_data(guest: Guest) -> str:
    """Return ``meta-data``: who the guest is. Its uuid is new in each attempt, so nothing is ever reused.

    :raises RequestError: like :func:`seed_files`.
    """
    return json_line({"instance-id": guest.uuid, "local-hostname": guest.name}) + "\n"


def network_config(guest: Guest, settings: Settings) -> str:
    """Return ``network-config`` (version 2): the card with our MAC address is ``eth0`` and asks DHCP.

    :raises RequestError: like :func:`seed_files`.
    """
    # The name is set because cloud-init writes it into the files of distributions that know no match.
    card: dict[str, Any] = {"match": {"macaddress": guest.mac}, "set-name": "eth0", "dhcp4": True}
    if settings.search_domain:
        card["nameservers"] = {"search": [settings.search_domain]}
    return json_line({"version": 2, "ethernets": {"eth0": card}}) + "\n"


def user_data(plan: Plan, guest: Guest, keys: JobKeys, node_address: str, settings: Settings) -> str:
    """Return ``user-data``: the job owner's account, who may log in, the guest's host key.

    :param node_address: IPv4 address of the guest's node, which the guest pings at boot; may be empty.
    :raises RequestError: like :func:`seed_files`.
    """
    owner, host_key = plan.job.owner, keys.hosts[guest.name]
    data: dict[str, Any] = {
        "hostname": guest.name,
        "preserve_hostname": False,
        "users": _users(owner, keys),
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        # With these given cloud-init makes no host keys of its own.
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "bootcmd": list(_boot_commands(owner, node_address)),
        "package_update": False,
        "package_upgrade": False,
    }
    if settings.search_domain:
        data["fqdn"] = f"{guest.name}.{settings.search_domain}"
    return f"#cloud-config\n{json_line(data)}\n"


def _users(owner: Owner, keys: JobKeys) -> list[dict[str, Any]]:
    admin, user = keys.admin.public, keys.user.public
    if owner.name == "root":
        return [{"name": "root", "ssh_authorized_keys": [admin, user]}]
    account: dict[str, Any] = {
        "name": owner.name,
        "uid": owner.uid,
        "primary_group": owner.group,
        "no_user_group": True,
        "shell": owner.shell,
        "lock_passwd": True,
        "ssh_authorized_keys": [user],
    }
    if owner.home != f"/home/{owner.name}":
        account["homedir"] = owner.home
    if groups := [name for name, _ in owner.groups if name != owner.group]:
        account["groups"] = groups
    return [{"name": "root", "ssh_authorized_keys": [admin]}, account]


def _boot_commands(owner: Owner, node_address: str) -> Iterator[list[str]]:
    """Yield commands for before the accounts are made; each argument stays one, whatever it holds."""
    groups = dict([(owner.group, owner.gid), *owner.groups])
    yield ["sh", "-c", _ADD_GROUPS, "sh", *(text for group in groups.items() for text in map(str, group))]
    if node_address:
        yield ["sh", "-c", _GREET, "sh", node_address]


def seed_iso(files: Mapping[str, str]) -> bytes:
    """Return an ISO 9660 image (Rock Ridge and Joliet names, label ``cidata``) of text files.

    Equal files give equal bytes: all its dates are 1970-01-01.

    :param files: name → text, encoded as UTF-8; at least one.
    """
    from pycdlib import PyCdlib  # costs 20 ms, which only a process that starts guests pays

    image = PyCdlib()
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for name, text in files.items():
        data = text.encode()
        plain = "".join(char if char.isalnum() and char.isascii() else "_" for char in name.upper())
        image.add_fp(
            io.BytesIO(data),
            len(data),
            f"/{plain}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=0o100400,
        )
    out = io.BytesIO()
    image.write_fp(out)
    image.close()
    return _undated(bytearray(out.getvalue()))


_SECTOR = 2048
_DATE = bytes([70, 1, 1, 0, 0, 0, 0])
"""1970-01-01 00:00:00 UTC as directory records have it (ECMA-119, 9.1.5)."""
_LONG_DATE = b"1970010100000000\0"
"""The same as volume descriptors have it (ECMA-119, 8.4.26.1)."""


def _undated(image: bytearray) -> bytes:
    """Set every date pycdlib took from the clock to 1970: it cannot be told one."""
    sector = 16 * _SECTOR
    while image[sector] != 255:  # the descriptor that ends the set
        if image[sector] in {1, 2}:  # ISO 9660's and Joliet's
            for date in (813, 830, 864):  # creation, modification, effective; expiration is unset
                image[sector + date : sector + date + 17] = _LONG_DATE
            image[sector + 174 : sector + 181] = _DATE  # of the root directory's record
            extent, size = (struct.unpack_from("<I", image, sector + at)[0] for at in (158, 166))
            for record in _records(image, extent * _SECTOR, size):
                _undate_record(image, record)
        sector += _SECTOR
    return bytes(image)


def _records(image: bytearray, start: int, size: int) -> Iterator[int]:
    """Yield where each record of a directory begins; none crosses a sector's end, where zeros may follow."""
    at = start
    while at < start + size:
        if image[at]:
            yield at
            at += image[at]
        else:
            at += _SECTOR - at % _SECTOR


def _undate_record(image: bytearray, record: int) -> None:
    """Set the date of one directory record and those of its Rock Ridge ``TF`` entry (RRIP 4.1.6)."""
    image[record + 18 : record + 25] = _DATE
    entry = record + 33 + image[record + 32]
    entry += (entry - record) % 2
    while entry + 4 <= record + image[record]:
        length = image[entry + 2]
        if image[entry : entry + 2] == b"TF":
            image[entry + 5 : entry + length] = _DATE * ((length - 5) // 7)
        entry += max(length, 4)
