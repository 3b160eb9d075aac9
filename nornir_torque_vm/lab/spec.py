"""What the first process of a lab host is told to do: its mounts, devices and daemons. Pure.

A host has its own /dev, /etc, /home, /root, /run, /srv, /sys, /tmp and /var; everything else is the
machine's, read-only. So whatever runs in a host can leave nothing behind outside of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from nornir_torque_vm.lab.layout import BRIDGE, DHCP_RANGE, HEAD, SWITCH_NODE, LabNode

OWN = ("/etc", "/home", "/root", "/srv", "/var")
"""Directories that are bound from the host's own files."""
HIDDEN = (*OWN, "/dev", "/proc", "/run", "/sys", "/tmp")  # noqa: S108 -- a mount point, no file is made there
"""Directories in which a host sees nothing of the machine's."""
STAGE = "/run/lab/machine"
"""The machine's whole tree while the mounts are made."""
MACHINE_ETC = "/run/lab/etc"
"""The machine's /etc, for the links in the host's own."""
TOOLS = "/run/lab/tools"
LOGS = "/var/log/lab"
"""What the daemons print."""
EXITED = "/run/lab/exited"
"""Directory where the first process notes a daemon that has ended: a file of its name, its status inside."""
POOL = "/srv/torque-vm/images"
LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
LEASE_FILE = "/var/lib/misc/dnsmasq.leases"
LEASE_TIME = "15m"
"""Short, because every guest has a new MAC address and the range must not run out in a long session."""

DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
    "net/tun": (10, 200),
}  # fmt: skip
KVM_DEVICE = {"kvm": (10, 232)}
"""Only shown when it was proven to work: libvirt probes for seconds at every guest where it does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    """A program the first process starts and keeps an eye on.

    It is ready when it listens on these ports, and at this Unix socket if it has one.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    socket: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """A batch system's part in a host: its daemons, the common /home, and what is shown for it."""

    daemons: tuple[Daemon, ...] = ()
    home: Path | None = None
    read_only: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class HostSpec:
    """Orders for one host's first process.

    ``setup`` are commands, run in order before anything else; then the machine's mounts become read-only
    in the host, except those at or below ``writable``. ``daemons`` are started, also in order, once the
    network is there. ``identity`` only makes the text differ when a host has to be built anew.
    """

    hostname: str
    setup: tuple[tuple[str, ...], ...]
    daemons: tuple[Daemon, ...]
    writable: tuple[str, ...] = HIDDEN
    identity: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(ENVIRONMENT))
    logs: str = LOGS
    exited: str = EXITED

    def has(self, daemon: str) -> bool:
        """Whether a daemon of this name runs in the host."""
        return any(own.name == daemon for own in self.daemons)

    def text(self) -> str:
        """The orders as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def visible(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of the machine's ``paths`` that need a mount of their own to be usable in a host.

    Programs below /usr can be read anyway. Whole hidden directories are not shown, only things in them; a
    path below another one comes with it.
    """
    chosen: list[str] = []
    for path in sorted({str(PurePosixPath(p)) for p in paths}):
        whole = any(_inside(hidden, path) for hidden in HIDDEN)
        if not whole and not _inside(path, "/usr") and not any(_inside(path, other) for other in chosen):
            chosen.append(path)
    return tuple(chosen)


def _inside(path: str, directory: str) -> bool:
    return PurePosixPath(path).is_relative_to(directory)


def setup_commands(
    files: Path,
    show: Iterable[str],
    read_only: Mapping[str, str],
    *,
    kvm: bool,
    home: Path | None = None,
) -> tuple[tuple[str, ...], ...]:
    """Return the commands that make a host's tree, for a mount namespace of its own.

    :param files: directory (on the machine) with the host's own etc, home, root, srv and var.
    :param show: directories of the machine that appear in the host under their own name, writable.
    :param read_only: mount point in the host → directory of the machine.
    :param home: directory (on the machine) that is /home in several hosts; None: each has its own.
    """
    own = {directory: f"{files}{directory}" for directory in OWN}
    if home is not None:
        own["/home"] = str(home)
    return (
        ("mount", "--make-rprivate", "/"),
        ("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"),
        ("mkdir", "-p", STAGE, MACHINE_ETC, EXITED, "/run/lock", "/run/sshd", "/run/torque-vm"),
        ("mount", "--rbind", "/", STAGE),
        ("mount", "--bind", f"{STAGE}/etc", MACHINE_ETC),
        ("mount", "-o", "remount,bind,ro", MACHINE_ETC),
        *(("mount", "--bind", f"{STAGE}{source}", target) for target, source in own.items()),
        ("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"),  # noqa: S108 -- the mount point
        *_binds({path: path for path in visible(show)}),
        *_binds(read_only),
        *(("mount", "-o", "remount,bind,ro", target) for target in read_only),
        # lazily and first, or libvirt finds the machine's control groups below the new /sys
        ("umount", "-l", "-R", "/sys"),
        ("mount", "-t", "sysfs", "sysfs", "/sys"),
        *_devices(DEVICES | KVM_DEVICE if kvm else DEVICES),
        ("umount", "-l", "-R", STAGE),
    )


def _binds(mounts: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    if not mounts:
        return ()
    return (
        ("mkdir", "-p", *mounts),
        *(("mount", "--bind", f"{STAGE}{source}", target) for target, source in mounts.items()),
    )


def _devices(devices: Mapping[str, tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    return (
        ("mount", "-t", "tmpfs", "-o", "mode=0755,size=1m", "tmpfs", "/dev"),
        ("mkdir", "/dev/pts", "/dev/shm", "/dev/net"),  # noqa: S108 -- a mount point
        *(("mknod", "-m", "666", f"/dev/{name}", "c", str(major), str(minor))
          for name, (major, minor) in devices.items()),
        ("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620,gid=5", "devpts", "/dev/pts"),
        ("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"),  # noqa: S108 -- the mount point
        ("ln", "-s", "pts/ptmx", "/dev/ptmx"),
        ("ln", "-s", "/proc/self/fd", "/dev/fd"),
        ("ln", "-s", "fd/0", "/dev/stdin"),
        ("ln", "-s", "fd/1", "/dev/stdout"),
        ("ln", "-s", "fd/2", "/dev/stderr"),
    )  # fmt: skip


def node_daemons(sshd: str, libraries: str) -> tuple[Daemon, ...]:
    """What runs on a node. ``sshd`` is the path in the node, ``libraries`` where its own ones are, if any."""
    return (
        Daemon("virtlogd", ("/usr/sbin/virtlogd",)),
        Daemon("libvirtd", ("/usr/sbin/libvirtd", "--listen"), tcp=(16514,), socket=LIBVIRT_SOCKET),
        Daemon(
            "sshd",
            (sshd, "-D", "-e", "-f", "/etc/torque-vm/ssh/sshd_config"),
            {"LD_LIBRARY_PATH": libraries} if libraries else {},
            tcp=(22,),
        ),
    )


def switch_daemons() -> tuple[Daemon, ...]:
    """What runs in the switch: DHCP and nothing else.

    ``--no-ping`` saves two to three seconds for every new guest; no router and no name server are
    offered, because there is none.
    """
    first, last = DHCP_RANGE
    argv = (
        "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root",
        "--pid-file=", "--log-facility=-", "--port=0", "--no-hosts", "--no-resolv", "--no-ping",
        "--dhcp-authoritative", f"--interface={BRIDGE}", "--except-interface=lo", "--bind-dynamic",
        f"--listen-address={SWITCH_NODE.address}", f"--dhcp-range={first},{last},255.255.255.0,{LEASE_TIME}",
        f"--dhcp-leasefile={LEASE_FILE}", "--dhcp-option=option:router",
    )  # fmt: skip
    return (Daemon("dnsmasq", argv, udp=(67,)),)


def node_spec(
    node: LabNode,
    files: Path,
    *,
    pool: Path,
    tools: Path,
    sshd: str,
    libraries: str,
    show: Iterable[str],
    kvm: bool,
    identity: str,
    batch: Batch | None = None,
) -> HostSpec:
    """Return the orders for a node; with ``batch`` it is one of a batch system's."""
    batch = batch or Batch()
    read_only = {POOL: str(pool), TOOLS: str(tools), **batch.read_only}
    setup = setup_commands(files, show, read_only, kvm=kvm, home=batch.home)
    daemons = (*node_daemons(sshd, libraries), *batch.daemons)
    return HostSpec(node.name, setup, daemons, (*HIDDEN, *visible(show)), identity)


def head_spec(files: Path, *, pool: Path, show: Iterable[str], identity: str, batch: Batch) -> HostSpec:
    """Return the orders for the host where the batch system's server runs and users submit their jobs."""
    setup = setup_commands(files, show, {POOL: str(pool), **batch.read_only}, kvm=False, home=batch.home)
    return HostSpec(HEAD, setup, batch.daemons, (*HIDDEN, *visible(show)), identity)


def switch_spec(files: Path) -> HostSpec:
    """Return the orders for the switch."""
    return HostSpec(SWITCH_NODE.name, setup_commands(files, (), {}, kvm=False), switch_daemons())
