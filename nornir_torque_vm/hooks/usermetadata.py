"""The cloud-init settings a job's owner adds: read with the owner's rights, judged by the site's list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import Owner
from nornir_torque_vm.ownerfile import read_as_owner
from nornir_torque_vm.render.cloudinit.metadata import check_added
from nornir_torque_vm.request import Request


def metadata_of(request: Request, settings: Settings, owner: Owner, deadline: Deadline) -> Mapping[str, Any]:
    """Return what the owner's file adds; nothing when the request names none.

    :raises RequestError: no such file, no cloud-config, or a key the site does not allow.
    :raises TorqueVMError: what :func:`~nornir_torque_vm.ownerfile.read_as_owner` raises beside that.
    """
    ref = request.metadata
    if ref is None:
        return {}
    from nornir_torque_vm.render.cloudinit.yamlfile import MAX_BYTES, NotCloudConfig, read_cloud_config

    content = read_as_owner("metadata", ref, owner, deadline, limit=MAX_BYTES)
    try:
        added = read_cloud_config(content)
    except NotCloudConfig as error:
        raise RequestError(f"the metadata file {error}") from None
    check_added(added, settings.metadata_keys)
    return added
