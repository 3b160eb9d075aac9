"""The NoCloud seed of one guest: what its cloud-init (or the micro guest's reader) is told.

Only keys of cloud-init's documented schema, and JSON throughout: JSON is YAML, and a guest without a
YAML parser can read it. The seed holds the guest's private host key: keep it from users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nornir_torque_vm.model import Distro, Guest, JobKeys, Plan
from nornir_torque_vm.render.cloudinit.network import network_config
from nornir_torque_vm.render.cloudinit.osv import osv_user_data
from nornir_torque_vm.render.cloudinit.userdata import user_data
from nornir_torque_vm.render.encode import json_line

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings


def seed_files(
    plan: Plan,
    guest: Guest,
    keys: JobKeys,
    node_address: str,
    settings: Settings,
    site: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the files of the guest's seed by name, for :func:`seed_iso`; parameters as in :func:`user_data`.

    :raises RequestError: a value that JSON and YAML cannot both hold.
    :raises SettingsError: like :func:`user_data`.
    """
    if plan.image.distro is Distro.OSV:
        return {"meta-data": meta_data(guest), "user-data": osv_user_data(plan, guest, settings)}
    return {
        "meta-data": meta_data(guest),
        "user-data": user_data(plan, guest, keys, node_address, settings, site),
        "network-config": network_config(guest, settings),
    }


def meta_data(guest: Guest) -> str:
    """Return ``meta-data``: who the guest is. Its uuid is new in each attempt, so nothing is ever reused.

    :raises RequestError: like :func:`seed_files`.
    """
    return json_line({"instance-id": guest.uuid, "local-hostname": guest.name}) + "\n"
