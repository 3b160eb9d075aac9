"""What a node can run, read from the XML that libvirt's ``getCapabilities`` returns. Pure.

Format: https://libvirt.org/formatcaps.html. The text comes from a node's own libvirtd, which this
package trusts as it trusts root there.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping

from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.model import Holding, NodeFacts
from nornir_torque_vm.pinning.topology import Topology, read_topology

KIB = 1024
_DAC_LABEL = re.compile(r"\+([0-9]{1,10}):\+([0-9]{1,10})")
"""``+64055:+64055``: uid and gid."""

_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "KiB": KIB, "k": KIB, "MB": 10**6, "MiB": KIB**2, "M": KIB**2,
          "GB": 10**9, "GiB": KIB**3, "G": KIB**3, "TB": 10**12, "TiB": KIB**4, "T": KIB**4}  # fmt: skip
"""libvirt's scale suffixes (virScaleInteger); its own default, no unit at all, is KiB."""


@dataclasses.dataclass(frozen=True, slots=True)
class Capabilities:
    """The part of a capabilities document that planning needs. ``memory`` in bytes.

    ``cpus`` and ``memory`` are 0 where the document has no topology (some containers): the caller
    then asks ``getInfo``.
    """

    cpus: int
    memory: int
    domain_types: Mapping[str, tuple[str, ...]]
    """Architecture → domain types for full virtualization, in libvirt's order."""
    emulators: Mapping[str, str]
    """Architecture → path of the emulator."""
    topology: Topology


def parse_capabilities(text: str, online: Collection[int] | None = None) -> Capabilities:
    """Read a capabilities document.

    :param online: numbers of the processors that are online, None when not known; others do not count.
    :raises HypervisorError: the text is not such a document.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - from our own libvirtd, see the module's docstring
    except ET.ParseError as exc:
        raise HypervisorError(f"libvirt's capabilities are not XML: {exc}") from exc
    if root.tag != "capabilities":
        raise HypervisorError(f"libvirt's capabilities start with <{root.tag}>, not <capabilities>")
    cells = root.findall("host/topology/cells/cell")
    types: dict[str, tuple[str, ...]] = {}
    emulators: dict[str, str] = {}
    for arch in _machines(root):
        name = arch.get("name", "")
        domains = arch.findall("domain")
        found = types.get(name, ()) + tuple(domain.get("type", "") for domain in domains)
        types[name] = tuple(dict.fromkeys(found))
        own = [path for domain in domains if (path := domain.findtext("emulator"))]
        emulator = arch.findtext("emulator") or (own[0] if own else "")
        if emulator:
            emulators.setdefault(name, emulator)
    sizes = [size_of(cell.find("memory")) for cell in cells]
    topology = read_topology(zip(cells, sizes, strict=True), online)
    return Capabilities(
        cpus=len(topology.cpus),
        memory=sum(sizes),
        domain_types=types,
        emulators=emulators,
        topology=topology,
    )


def emulator_user(text: str) -> tuple[int, int]:
    """Uid and gid that emulators run with, from a capabilities document; root's where that does not say.

    :raises HypervisorError: the text is not such a document.
    """
    try:
        models = ET.fromstring(text).findall("host/secmodel")  # noqa: S314 - from our own libvirtd
    except ET.ParseError as exc:
        raise HypervisorError(f"libvirt's capabilities are not XML: {exc}") from exc
    for model in models:
        label = model.findtext("baselabel", "")
        if model.findtext("model") == "dac" and (match := _DAC_LABEL.fullmatch(label)) is not None:
            return int(match[1]), int(match[2])
    return 0, 0


def node_facts(
    node: str,
    capabilities: Capabilities,
    *,
    memory_stats: Mapping[str, int] | None = None,
    guests_memory: Iterable[int] = (),
    guests_ramdisk: int = 0,
    guests_shared: int = 0,
    ramdisk: int = 0,
    copy: str = "",
    hypervisor: str = "",
    held: Iterable[Holding] = (),
) -> NodeFacts:
    """Join what libvirt said about one node.

    :param memory_stats: ``getMemoryStats(-1)``: KiB under ``total``, ``free``, ``buffers``, ``cached``.
        None when the driver has no such call: then all is free that our guests may not use.
    :param guests_memory: bytes each guest of ours there may use.
    :param guests_ramdisk: bytes that their disks in memory may take together beside that.
    :param guests_shared: bytes that those of a job share beside that.
    :param ramdisk: size of the file system for such disks, and for what is shared.
    :param copy: path of the node's own copy of the image.
    :param held: what guests there, ours and others, hold for themselves.
    """
    promised = tuple(guests_memory)
    taken = sum(promised) + guests_ramdisk + guests_shared
    if memory_stats is None:
        total, free = capabilities.memory, max(0, capabilities.memory - taken)
    else:
        # Not the NUMA cells' sum: memory plugged in later can be missing there (seen: 5 of 24 GiB).
        total = KIB * memory_stats.get("total", 0) or capabilities.memory
        # The page cache gives way to guests; MemFree alone would call every busy node full.
        free = KIB * sum(memory_stats.get(key, 0) for key in ("free", "buffers", "cached"))
    return NodeFacts(
        node=node,
        cpus=capabilities.cpus,
        memory=total,
        memory_free=min(free, total),
        domain_types=capabilities.domain_types,
        emulators=capabilities.emulators,
        guests=len(promised),
        guests_memory=taken,
        guests_ramdisk=guests_ramdisk + guests_shared,
        ramdisk=ramdisk,
        copy=copy,
        hypervisor=hypervisor,
        topology=capabilities.topology,
        held=tuple(held),
    )


def _machines(root: ET.Element) -> Iterable[ET.Element]:
    """Every ``<arch>`` that runs unmodified systems; ``xen``, ``exe`` and ``linux`` are left out."""
    for guest in root.findall("guest"):
        if guest.findtext("os_type") == "hvm":
            yield from guest.findall("arch")


def size_of(element: ET.Element | None) -> int:
    """Bytes of ``<memory unit='KiB'>123</memory>``; 0 when the element is missing."""
    if element is None:
        return 0
    return int(element.text or 0) * _UNITS[element.get("unit", "KiB")]
