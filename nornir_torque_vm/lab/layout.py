"""Names and addresses of a lab, and where its files are on the machine it runs on. Pure."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from nornir_torque_vm.errors import LabError

SUBNET = "10.89.0"
PREFIX_LENGTH = 24
SWITCH = "switch"
SWITCH_ADDRESS = f"{SUBNET}.1"
HEAD = "head"
DHCP_RANGE = (f"{SUBNET}.100", f"{SUBNET}.250")
FIRST_NODE = 11
"""Last byte of the first node's address."""
MAX_NODES = 64
"""More would run into the DHCP range."""
DEFAULT_NODES = 2
BRIDGE = "br0"
LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclasses.dataclass(frozen=True, slots=True)
class LabNode:
    """A node of the lab: its host name and its address on the lab's one subnet."""

    name: str
    address: str

    @property
    def mac(self) -> str:
        """The bridge's own MAC address: without one the bridge takes a new one with every guest."""
        return f"02:89:00:00:00:{int(self.address.rpartition('.')[2]):02x}"


def lab_nodes(count: int) -> tuple[LabNode, ...]:
    """Return node1 … node``count``.

    :raises LabError: the subnet has no room for that many, or there are none.
    """
    if not 1 <= count <= MAX_NODES:
        raise LabError(f"a lab has 1 to {MAX_NODES} nodes, not {count}")
    return tuple(LabNode(f"node{n}", f"{SUBNET}.{FIRST_NODE + n - 1}") for n in range(1, count + 1))


SWITCH_NODE = LabNode(SWITCH, SWITCH_ADDRESS)
"""The switch has a bridge and an address like a node; what differs is what runs on it."""
HEAD_NODE = LabNode(HEAD, f"{SUBNET}.{FIRST_NODE - 1}")
"""Where a lab with a TORQUE has its server and its users; no guests run there."""


def cache_dir() -> Path:
    """Where everything lives that is made once: ``$TORQUE_VM_CACHE`` or the user's cache directory.

    Links are resolved, so that one directory has one name: processes of a lab are known by it.
    """
    chosen = os.environ.get("TORQUE_VM_CACHE")
    if chosen:
        return Path(chosen).resolve()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "torque-vm").resolve()


@dataclasses.dataclass(frozen=True, slots=True)
class LabPaths:
    """The files of the lab ``name`` below the cache directory.

    :raises LabError: a name that is no plain word.
    """

    cache: Path
    name: str

    def __post_init__(self) -> None:
        """Refuse names that could lead elsewhere."""
        if not LAB_NAME.fullmatch(self.name):
            raise LabError(
                f"{self.name!r} is no name for a lab", hint="use lower-case letters, digits and dashes"
            )

    @property
    def labs(self) -> Path:
        """Directory of all labs."""
        return self.cache / "lab"

    @property
    def state(self) -> Path:
        """Directory of this lab; it does not exist when the lab is down."""
        return self.labs / self.name

    @property
    def lock(self) -> Path:
        """Held by whoever changes this lab; outside its directory, which comes and goes."""
        return self.labs / f"{self.name}.lock"

    @property
    def record(self) -> Path:
        """Which parts run: see ``record.py``."""
        return self.state / "lab.json"

    @property
    def keys(self) -> Path:
        """Certificate authority, certificates and ssh keys of this lab."""
        return self.state / "keys.json"

    @property
    def shared(self) -> Path:
        """What the hosts of a lab with a TORQUE have in common: their /home is below this directory."""
        return self.state / "shared"

    def host(self, name: str) -> Path:
        """Directory of one host: a node, the switch, or the head."""
        return self.state / name

    def spec(self, host: str) -> Path:
        """What the host's first process is told. Its path on a command line marks the lab's processes."""
        return self.host(host) / "init.json"

    def files(self, host: str) -> Path:
        """The host's own /etc, /home, /root, /srv and /var, as directories below this one."""
        return self.host(host) / "files"

    def log(self, host: str, program: str) -> Path:
        """What a program of the host printed; ``init`` is its first process."""
        if program == "init":
            return self.host(host) / "init.log"
        return self.files(host) / "var/log/lab" / f"{program}.log"


def bridge_commands(node: LabNode) -> str:
    """Return ``ip -batch`` text that makes the bridge of ``node`` in its own network namespace."""
    return (
        "link set lo up\n"
        f"link add {BRIDGE} address {node.mac} type bridge stp_state 0 forward_delay 0\n"
        f"link set {BRIDGE} up\n"
        f"address add {node.address}/{PREFIX_LENGTH} brd + dev {BRIDGE}\n"
    )


def cable_commands(node: LabNode, switch_pid: int) -> str:
    """Return ``ip -batch`` text, to run in the node, that lays its cable to the switch.

    Both ends are made where they belong: no device ever exists in the machine's own namespace. That
    an end is on its bridge comes last, so it proves that the rest was done.
    """
    return (
        f"link add eth0 type veth peer name {node.name} netns {switch_pid}\n"
        "link set eth0 up\n"
        f"link set eth0 master {BRIDGE}\n"
    )


def port_commands(node: LabNode) -> str:
    """Return ``ip -batch`` text, to run in the switch, that plugs the node's cable in."""
    return f"link set {node.name} up\nlink set {node.name} master {BRIDGE}\n"
