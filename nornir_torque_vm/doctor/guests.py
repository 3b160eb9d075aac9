"""Checks of what guests run on: KVM, libvirt and the emulator, libvirtd's limits, the bridge."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.addresses.bridge import bridges_here
from nornir_torque_vm.capabilities import parse_capabilities
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import lease, mapped
from nornir_torque_vm.connections.virconnect import HOSTS_PER_CONNECTION, MAX_OPENING
from nornir_torque_vm.deadline import current
from nornir_torque_vm.doctor.model import Here, Line, fail, ok, text_of, warn
from nornir_torque_vm.doctor.probe import Proof, prove
from nornir_torque_vm.machine.netfilter import provide

TESTED = {"libvirt": 9_000_000, "the emulator": 7_002_000}
"""Oldest versions this was tested with, as libvirt writes them: 9.0.0 is 9000000."""
LIMITS = {"max_clients": 5000, "max_workers": 20, "max_client_requests": 5, "max_anonymous_clients": 20}
"""libvirtd's own values (libvirtd.conf of libvirt 9)."""

FILTER_TOOLS = ("ebtables", "iptables", "ip6tables")
"""What libvirtd turns network filters into rules with."""
FILTER_PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where libvirtd finds them."""


def kvm(here: Here) -> Iterator[Line]:
    """Whether hardware virtualization works: only a guest that ran is proof."""
    device = here.system("/dev/kvm").exists()
    wanted = here.settings.hypervisor_default
    tried = device and wanted != "qemu" and not here.quick
    yield judge_kvm(wanted, device=device, proof=prove("kvm", current.get()) if tried else None)


def judge_kvm(wanted: str, *, device: bool, proof: Proof | None) -> Line:
    """Judge KVM.

    :param wanted: the setting ``hypervisor_default``.
    :param proof: None when it was not tried.
    """
    if wanted == "qemu":
        return ok("kvm", "not needed: guests are emulated, as hypervisor_default says, and slow")
    if not device:
        cure = "switch virtualization on in the firmware and load kvm_intel or kvm_amd, else"
        return fail("kvm", "there is no /dev/kvm", f'{cure} hypervisor_default = "qemu", which is slow')
    if proof is None:
        return ok("kvm", "there is a /dev/kvm; whether guests run with it was not tried")
    if not proof.ran:
        cure = "look at the kernel's messages about kvm"
        return fail("kvm", f"/dev/kvm is there and does not work: {proof.reason}", cure)
    return ok("kvm", f"a guest ran with it after {proof.seconds:.1f} s")


def libvirt(here: Here) -> Iterator[Line]:
    """Versions, the network filter, and whether guests of the kind that jobs get are offered."""
    settings = here.settings
    with lease(settings.local_uri, here.hostname) as conn, mapped(here.hostname):
        versions = {"libvirt": conn.getLibVersion(), "the emulator": conn.getVersion()}
        offered = parse_capabilities(conn.getCapabilities()).domain_types.get(settings.arch_default, ())
        real = settings.local_uri.startswith("qemu")
        missing = provide(conn, settings.network_filter) if real else ""
    yield judge_versions(versions)
    if real:
        tools = [tool for tool in FILTER_TOOLS if shutil.which(tool, path=FILTER_PLACES) is None]
        yield judge_filter(settings.network_filter, missing=missing, tools=tools)
    kind = "qemu" if settings.hypervisor_default == "qemu" else "kvm"
    if real and kind not in offered:
        types = " and ".join(offered) or "no"
        yield fail(
            "libvirt", f"it offers {types} guests for {settings.arch_default}, not {kind}",
            "restart libvirtd if /dev/kvm came after it; else correct hypervisor_default or arch_default",
        )  # fmt: skip


def judge_versions(versions: Mapping[str, int]) -> Line:
    """Judge versions, as libvirt counts them."""
    text = ", ".join(f"{name} {_dotted(number)}" for name, number in versions.items())
    old = [name for name, number in versions.items() if 0 < number < TESTED[name] and number != 2]
    if old:
        tested = " and ".join(f"{name} {_dotted(TESTED[name])}" for name in old)
        return warn("libvirt", f"it answers: {text}", f"this version was tested with {tested} and later")
    return ok("libvirt", f"it answers: {text}")


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def limits(here: Here) -> Iterable[Line]:
    """What libvirtd lets others do at once, from its configuration."""
    modular = here.system("/run/libvirt/virtqemud-sock").exists()
    name = "virtqemud.conf" if modular else "libvirtd.conf"
    text = text_of(here.system(f"/etc/libvirt/{name}")) or ""
    return judge_limits(read_limits(text), here.settings, f"/etc/libvirt/{name}")


def read_limits(text: str) -> dict[str, int]:
    """Return libvirtd's limits from its configuration; its own values for what that does not state."""
    stated = re.findall(r"^[ \t]*(max_\w+)[ \t]*=[ \t]*([0-9]+)", text, re.MULTILINE)
    return LIMITS | {name: int(value) for name, value in stated if name in LIMITS}


def judge_limits(found: Mapping[str, int], settings: Settings, path: str) -> Iterator[Line]:
    """Judge libvirtd's limits by what one job's first node asks of another at once."""
    opened = min(settings.max_connections_per_node, MAX_OPENING)
    needed = {
        "max_clients": settings.max_connections_per_node,
        "max_workers": settings.max_connections_per_node,
        "max_client_requests": HOSTS_PER_CONNECTION,
        "max_anonymous_clients": opened,
    }
    bad = False
    for name, least in needed.items():
        if found[name] < least:
            bad = True
            text = f"{name} is {found[name]}, and a job of many guests asks for {least} at once"
            yield warn("libvirtd", text, f"set {name} = {LIMITS[name]} in {path} and restart it")
    if not bad:
        yield ok("libvirtd", ", ".join(f"{name} {found[name]}" for name in needed))


def bridge(here: Here) -> Iterator[Line]:
    """Whether the guests' bridges are there, and let a new guest talk at once."""
    for name in bridges_here(here.settings, current.get()):
        interface = here.system(f"/sys/class/net/{name}")
        yield judge_bridge(
            name,
            there=interface.is_dir(),
            facts={word: _number(interface / "bridge" / word) for word in ("stp_state", "forward_delay")},
            up=_number(interface / "flags", 16) & 1 == 1,
        )


def judge_filter(name: str, *, missing: str, tools: Sequence[str]) -> Line:
    """Judge the network filter.

    :param missing: what libvirt has not got; empty: it has the filter.
    :param tools: programs libvirt needs for filters that are not there.
    """
    subject = "network filter"
    if not name:
        cure = 'leave network_filter away, or at "torque-vm-guest"'
        return warn(subject, "none: a guest can send under the address of any other", cure)
    if missing:
        cure = "install libvirt-daemon-config-nwfilter or libvirt-daemon-driver-nwfilter, or name another"
        return fail(subject, missing, f"{cure} in network_filter")
    if tools:
        text = f"libvirt needs {' and '.join(tools)} for {name}, else no guest starts"
        return fail(subject, text, "install iptables (Debian) or iptables-nft (Red Hat)")
    return ok(subject, f"{name} is there")


def _number(path: Path, base: int = 10) -> int:
    try:
        return int((text_of(path) or "").strip(), base)
    except ValueError:
        return -1


def judge_bridge(name: str, *, there: bool, facts: Mapping[str, int], up: bool) -> Line:
    """Judge a bridge by what the kernel says of it.

    :param facts: ``stp_state``, and ``forward_delay`` in hundredths of a second; -1 where it says nothing.
    """
    subject, delay = f"bridge {name}", facts["forward_delay"] / 100
    if not there:
        return fail(subject, "there is no such interface", "make it, or correct the setting bridge")
    if facts["stp_state"] < 0:
        return fail(subject, "it is no bridge", "name a bridge in the setting bridge")
    if not up:
        return fail(subject, "it is down", f"ip link set {name} up")
    if delay > 0:
        listening = delay * (2 if facts["stp_state"] else 1)
        cure = f"ip link set {name} type bridge stp_state 0 forward_delay 0"
        text = f"a new guest has no network for {listening:g} s (forward delay {delay:g} s)"
        return warn(subject, text, cure)
    return ok(subject, "up, no forward delay")
