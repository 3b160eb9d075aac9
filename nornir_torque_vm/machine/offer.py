"""Whether a node can run a guest's machine. Pure: judges what the node's libvirt said.

Format: https://libvirt.org/formatdomaincaps.html. libvirt itself refuses to describe an emulator that is not
there and a machine type that the emulator does not know.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import HypervisorError, RequestError
from nornir_torque_vm.model import NodeFacts, Shape

TEST_DRIVER = "test"
"""Domain type of libvirt's ``test:///``, which runs nothing and has one architecture."""
CPU_MODES = ("host-passthrough", "host-model", "maximum")
"""Words for a processor that are no model's name."""


def is_test_driver(fact: NodeFacts) -> bool:
    """Whether the node is one of libvirt's test driver."""
    return bool(fact.domain_types) and all(types == (TEST_DRIVER,) for types in fact.domain_types.values())


def lacking(text: str, cpu: str) -> str:
    """Return what is wrong with a processor model, by the domain capabilities; "" if nothing is.

    :param cpu: as in the settings; empty: whatever there is.
    :raises HypervisorError: the text is no such document.
    """
    if not cpu:
        return ""
    try:
        root = ET.fromstring(text)  # noqa: S314 - from the node's own libvirtd
    except ET.ParseError as exc:
        raise HypervisorError(f"libvirt's domain capabilities are not XML: {exc}") from exc
    if cpu in CPU_MODES:
        modes = {mode.get("name"): mode.get("supported") for mode in root.findall("cpu/mode")}
        return "" if modes.get(cpu) == "yes" else f"processor model {cpu} is not supported"
    for model in root.findall("cpu/mode[@name='custom']/model"):
        if model.text == cpu:
            return "" if model.get("usable") != "no" else f"processor model {cpu} cannot be had here"
    return f"there is no processor model {cpu}"


def check_arch(fact: NodeFacts, shape: Shape, _per_node: int, _settings: Settings) -> None:
    """Refuse an architecture that the node does not know at all."""
    if shape.arch not in fact.domain_types and not is_test_driver(fact):
        raise RequestError(
            f"arch={shape.arch} cannot be run here",
            hint=f"the node offers {', '.join(sorted(fact.domain_types)) or 'none at all'}",
            node=fact.node,
        )


def check_domain_type(fact: NodeFacts, shape: Shape, _per_node: int, _settings: Settings) -> None:
    """Refuse hardware virtualization where there is none."""
    offered = fact.domain_types.get(shape.arch, ())
    if shape.domain_type in offered or is_test_driver(fact):
        return
    if shape.domain_type != "kvm":
        cure = "install the emulator there"
    elif any("kvm" in types for types in fact.domain_types.values()):
        # Another architecture than the node's: nothing an administrator could mend.
        raise RequestError(
            f"arch={shape.arch} can only be emulated here", hint="ask for hypervisor=qemu", node=fact.node
        )
    else:
        cure = "make /dev/kvm work there, or ask for hypervisor=qemu (slow emulation)"
    raise HypervisorError(
        f"hypervisor={shape.domain_type} is not available for {shape.arch}, only {', '.join(offered)}",
        hint=cure,
        node=fact.node,
    )


def check_machine(fact: NodeFacts, _shape: Shape, _per_node: int, _settings: Settings) -> None:
    """Refuse an emulator, machine type, processor model, network or filter that the node has not."""
    if fact.refused:
        raise HypervisorError(
            f"guests as the settings describe them cannot be made here: {fact.refused}",
            hint="provide it there, or correct the settings emulator, machine_type, cpu_model, network, "
            "network_filter",
            node=fact.node,
        )
