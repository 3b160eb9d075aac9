"""The XML that libvirt makes pools and volumes from. Pure.

Format: https://libvirt.org/formatstorage.html.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from nornir_torque_vm.model import Image
from nornir_torque_vm.render.encode import xml


def pool_xml(directory: str, name: str, mode: int | None = None) -> str:
    """Describe a pool of the files in a directory.

    :param mode: what the directory gets when the pool is built, also one that is there; else it is let alone.
    """
    rights = "" if mode is None else f"<permissions><mode>{mode:04o}</mode></permissions>"
    target = f"<target><path>{xml(directory)}</path>{rights}</target>"
    return f'<pool type="dir"><name>{xml(name)}</name>{target}</pool>'


def directory_xml(name: str, mode: int) -> str:
    """Describe a directory in a pool; it is made only if nothing has its name, and never looked into."""
    rights = f"<permissions><mode>{mode:04o}</mode></permissions>"
    return (
        f'<volume type="dir"><name>{xml(name)}</name><capacity unit="bytes">0</capacity>'
        f'<target><format type="dir"/>{rights}</target></volume>'
    )


def volume_xml(
    name: str,
    capacity: int,
    form: str,
    *,
    base: Image | None = None,
    reader: tuple[int, int] | None = None,
    user: tuple[int, int] | None = None,
    hole: bool = False,
) -> str:
    """Describe a volume; it gets all its room at once unless it has a base or is a hole.

    :param capacity: bytes.
    :param form: ``raw`` or ``qcow2``.
    :param reader: uid and gid of the user who alone may read it, and nobody write; else it is root's.
    :param user: uid and gid of the user who alone may read and write it.
    """
    backing = (
        f'<backingStore><path>{xml(base.path)}</path><format type="{xml(base.format)}"/></backingStore>'
        if base
        else ""
    )
    allocation = "<allocation>0</allocation>" if base or hole else ""
    owner = reader or user
    rights = "<mode>0400</mode>" if reader else "<mode>0600</mode>"
    rights += f"<owner>{owner[0]}</owner><group>{owner[1]}</group>" if owner else ""
    return (
        f'<volume><name>{xml(name)}</name><capacity unit="bytes">{capacity}</capacity>{allocation}{backing}'
        f'<target><format type="{form}"/><permissions>{rights}</permissions></target></volume>'
    )


def written_by_root(described: str) -> bool:
    """Whether, by libvirt's description of a pool or volume, root has it and nobody else may write it."""
    rights = ET.fromstring(described).find("target/permissions")  # noqa: S314 - libvirtd's own
    if rights is None:
        return False
    mode, owner = rights.findtext("mode", ""), rights.findtext("owner", "")
    return owner == "0" and re.fullmatch("[0-7]+", mode) is not None and not int(mode, 8) & 0o022
