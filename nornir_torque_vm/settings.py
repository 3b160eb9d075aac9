"""What the site allows and defaults: one TOML file, checked when it is read.

Names are the lower-case ones of the site's earlier ``config.sh`` where a parameter existed there.
Each setting is defined once, in :class:`Settings`; its kind and help travel as dataclass metadata,
from which :data:`SETTINGS` is made.
"""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.fields import Field, Table
from nornir_torque_vm.keys import IMAGE_NAME, KEYS
from nornir_torque_vm.kinds import AbsPath, Int, Kind, Seconds, Text, Words
from nornir_torque_vm.model import AddressSource, Distro
from nornir_torque_vm.nodefile import HOST_PATTERN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

DEFAULT_PATH = "/etc/torque-vm/settings.toml"
"""Where every host of the site looks for its settings."""
KILL_MARGIN = 10.0
"""Seconds before ``$prologalarm`` at which the MOM kills a hook (TORQUE 5.0 and later; measured)."""
DAY = 86_400.0
"""Seconds of a day."""

_URI = r"[a-z][a-z0-9+]*:[^\s{}\0-\x1f\x7f]*"
_NODE_URI = r"test:[^\s{}\0-\x1f\x7f]*|[a-z][a-z0-9+]*:[^\s{}\0-\x1f\x7f]*\{node\}[^\s{}\0-\x1f\x7f]*"


def setting(kind: Kind, default: T, text: str) -> T:
    """Return a dataclass field that carries its kind and its help ``text``."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": text})


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one host. Times in seconds; sizes in bytes unless the name ends in ``_mb``.

    :raises SettingsError: values that are each right and contradict each other.
    """

    image_pool: str = setting(
        AbsPath(), "/srv/torque-vm/images", "directory with the images users may boot, the same on every node"
    )
    img_default: str = setting(
        Text(IMAGE_NAME, "the name of a file in the image pool", empty=True),
        "",
        "image of jobs that name none; empty: such jobs are refused",
    )
    distro_default: Distro = setting(  # noqa: RUF009 - it returns a dataclass field
        KEYS["distro"].kind,
        Distro.DEBIAN,
        "operating system family of images whose file name does not tell it",
    )
    arch_default: str = setting(KEYS["arch"].kind, "x86_64", "processor architecture of the guests")
    vcpus_default: int = setting(KEYS["vcpus"].kind, 1, "virtual processors of each guest")
    ram_default: int = setting(KEYS["ram"].kind, 2 << 30, "memory of each guest")
    vms_per_node_default: int = setting(
        KEYS["vms_per_node"].kind, 1, "guests on each node of a job, at most max_vms_per_node"
    )
    hypervisor_default: str = setting(
        KEYS["hypervisor"].kind, "kvm", "kvm for hardware virtualization, qemu for slow emulation"
    )
    max_vms_per_node: int = setting(
        KEYS["vms_per_node"].kind, 8, "guests of all jobs together that a node may have at one time"
    )
    host_os_core_count: int = setting(
        Int(0, 4096), 0, "processors of a node that are kept for its own system"
    )
    host_os_ram_mb: int = setting(
        Int(1, 1 << 24), 512, "memory of a node that is kept for its own system, in MiB"
    )
    timeout: float = setting(
        Seconds(1, DAY), 240.0, "time a job's guests have to become ready, and to be destroyed"
    )
    prologalarm: float = setting(
        Seconds(KILL_MARGIN + 1, DAY),
        300.0,
        "the $prologalarm of the nodes' pbs_mom; a hook is killed 10 seconds before it",
    )
    teardown_margin: float = setting(
        Seconds(1, DAY), 30.0, "time kept, after the guests' time is up, to remove what a failed start left"
    )
    bridge: str = setting(
        Text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "a network interface name of 1 to 15 characters"),
        "br0",
        "bridge on every node that the guests' network cards are attached to",
    )
    local_uri: str = setting(Text(_URI, "a libvirt URI"), "qemu:///system", "libvirt of the node we are on")
    node_uri: str = setting(
        Text(_NODE_URI, "a libvirt URI with {node} where the node's name belongs"),
        "qemu+ssh://root@{node}/system",
        "libvirt of another node; {node} stands for its name",
    )
    max_connections_per_node: int = setting(
        Int(1, 64), 5, "connections to the libvirt of one node at the same time"
    )
    address_sources: tuple[AddressSource, ...] = setting(
        Words({source.value: source for source in AddressSource}),
        tuple(AddressSource),
        "who is asked for a guest's address, all at once: the guest's agent, libvirt's DHCP server, "
        "libvirt's and the node's own neighbor table",
    )
    node_shell_user: str = setting(
        Text(r"[a-z_][a-z0-9_-]{0,31}", "an account name"),
        "root",
        "account for read-only commands on other nodes over ssh",
    )
    node_shell_key: str = setting(
        AbsPath(empty=True), "", "private key for that account; empty: the keys of the calling user"
    )
    node_shell_known_hosts: str = setting(
        AbsPath(empty=True), "", "known_hosts file with the nodes' keys; empty: that of the calling user"
    )
    volume_dir: str = setting(
        AbsPath(), "/var/lib/torque-vm/volumes", "directory on every node for the guests' disks"
    )
    run_dir: str = setting(AbsPath(), "/run/torque-vm", "directory for the state of running jobs")
    history_dir: str = setting(AbsPath(), "/var/log/torque-vm", "directory for what is kept of past jobs")
    history_days: int = setting(Int(1, 36_500), 30, "days after which a past job's record is removed")
    server_hostname: str = setting(
        Text(HOST_PATTERN, "a host name", empty=True),
        "",
        "host name of the batch server; empty: taken from the job id",
    )
    search_domain: str = setting(
        Text(HOST_PATTERN, "a domain name", empty=True), "", "domain of the guests' host names"
    )

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        if self.prologue_seconds() <= 0:
            raise SettingsError(
                f"prologalarm ({self.prologalarm:g} s) leaves no time for the guests: hooks are killed "
                f"{KILL_MARGIN:g} s before it, and teardown_margin takes {self.teardown_margin:g} s",
                hint="raise $prologalarm on all nodes and prologalarm here, or lower teardown_margin",
            )
        if self.vms_per_node_default > self.max_vms_per_node:
            raise SettingsError(
                f"vms_per_node_default ({self.vms_per_node_default}) is more than max_vms_per_node "
                f"({self.max_vms_per_node})"
            )

    def prologue_seconds(self) -> float:
        """Seconds a prologue may take until all guests are ready: ``timeout``, or less by the MOM's limit."""
        return min(self.timeout, self.prologalarm - KILL_MARGIN - self.teardown_margin)


SETTINGS = Table(
    "setting",
    SettingsError,
    (Field(f.name, f.metadata["kind"], f.metadata["help"], f.default) for f in dataclasses.fields(Settings)),
)
"""All settings in the order they are documented."""


def loads(text: str, origin: str = "the settings") -> Settings:
    """Return the settings that ``text`` (TOML) states, defaults for the rest.

    :param origin: what messages call the text; the file's path when there is one.
    :raises SettingsError: no TOML, an unknown setting, a bad value, values that contradict.
    """
    import tomllib

    try:
        values: dict[str, Any] = dict(SETTINGS.read(name, raw) for name, raw in tomllib.loads(text).items())
        return Settings(**values)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {error.what}", hint=error.hint) from None
    except ValueError as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}") from None


def load(path: str | None = None) -> Settings:
    """Return the settings of the file ``path``; None: :data:`DEFAULT_PATH`, defaults if it is missing.

    :raises SettingsError: a named file that cannot be read, and everything :func:`loads` raises.
    """
    name = path or DEFAULT_PATH
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib costs the wrapper milliseconds
            text = file.read().decode()
    except FileNotFoundError:
        if path is None:
            return Settings()
        raise SettingsError(f"there is no settings file {name}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"the settings file {name} cannot be read: {reason}") from None
    return loads(text, name)
