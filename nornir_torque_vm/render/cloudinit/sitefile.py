"""The site's file with more cloud-init settings for all guests (``metadata_file``)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.trust import exposure


@functools.cache
def site_metadata(path: str) -> Mapping[str, Any]:
    """Return what the file says, read once by each process; nothing when ``path`` is empty.

    Whoever can write it is root in every guest, so it has to be root's alone.

    :raises SettingsError: others could have written it, it cannot be read, or is no cloud-config.
    """
    if not path:
        return {}
    from nornir_torque_vm.render.cloudinit.yamlfile import MAX_BYTES, NotCloudConfig, read_cloud_config

    try:
        reason = exposure(path)
        if reason:
            raise SettingsError(
                f"metadata_file: {reason}, who could be root in every guest",
                hint="give it to root and take the right to write from all others",
            )
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"metadata_file: {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SettingsError(f"metadata_file: {path} has more than {MAX_BYTES} bytes")
    try:
        return read_cloud_config(content)
    except NotCloudConfig as error:
        raise SettingsError(f"metadata_file: {path} {error}") from None
