"""What the site allows and defaults: one TOML file, checked when it is read.

Names are the lower-case ones of the site's earlier ``config.sh`` where a parameter existed there; the
upper-case ones and its later names are read too. Each setting is defined once, in a dataclass; kind,
help and aliases travel as its metadata, from which :data:`SETTINGS` is made.
"""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.addresses.model import ASKED, AddressSource
from nornir_torque_vm.config.components import ComponentSettings
from nornir_torque_vm.config.fields import Table, fields_of, setting, show
from nornir_torque_vm.config.guests import BRIDGE, BRIDGE_WORDS
from nornir_torque_vm.config.kinds import AbsPath, Bool, Int, Seconds, Text, Words
from nornir_torque_vm.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PATH = "/etc/torque-vm/settings.toml"
"""Where every host of the site looks for its settings."""
KILL_MARGIN = 10.0
"""Seconds before ``$prologalarm`` at which the MOM kills a hook (TORQUE 5.0 and later; measured)."""
DAY = 86_400.0
"""Seconds of a day."""
_ORDERED = (
    ("vms_per_node_default", "max_vms_per_node"),
    ("iocm_min_cores", "iocm_max_cores"),
    ("iocm_min_cores_default", "iocm_max_cores_default"),
)
"""Pairs of settings of which the first is never more than the second."""

_URI = r"[a-z][a-z0-9+]*:[^\s{}\0-\x1f\x7f]*"
_NODE_URI = r"test:[^\s{}\0-\x1f\x7f]*|[a-z][a-z0-9+]*:[^\s{}\0-\x1f\x7f]*\{node\}[^\s{}\0-\x1f\x7f]*"


@dataclasses.dataclass(frozen=True)
class Settings(ComponentSettings):
    """The settings of one host. Times in seconds; sizes in bytes unless the name ends in ``_mb``.

    :raises SettingsError: values that are each right and contradict each other.
    """

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
    max_requeues: int = setting(
        Int(0, 100), 3, "how often a job is tried again when its guests did not start by the site's fault"
    )
    requeue_pause: float = setting(
        Seconds(0, 3600),
        10.0,
        "time a prologue waits before a job is tried again",
    )
    torque_home: str = setting(
        AbsPath(), "/var/spool/torque", "TORQUE's directory on the nodes, with mom_priv in it"
    )
    parallel: bool = setting(
        Bool(), True, "whether nodes are worked on at the same time; if not, one after the other"
    )
    bridge: str = setting(
        Text(BRIDGE, BRIDGE_WORDS),
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
        Words({source.value: source for source in ASKED}),
        ASKED,
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
    reap_grace: float = setting(
        Seconds(0, DAY),
        600.0,
        "time for which a job has to be seen to be over before torque-vm reap removes what it left",
    )

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        if self.room() <= 0:
            raise SettingsError(
                f"prologalarm ({self.prologalarm:g} s) leaves no time for the guests: hooks are killed "
                f"{KILL_MARGIN:g} s before it, and teardown_margin takes {self.teardown_margin:g} s",
                hint="raise $prologalarm on all nodes and prologalarm here, or lower teardown_margin",
            )
        if self.hypervisor_default == "skvm" and not self.skvm_emulator:
            raise SettingsError("hypervisor_default is skvm and there is no skvm_emulator", hint="name it")
        if self.unclot_enabled and not self.ramdisk_dir:
            hint = "name the directory of the nodes' file system in memory, or switch unclot off"
            raise SettingsError("unclot_enabled is true and there is no ramdisk_dir", hint=hint)
        for small, large in _ORDERED:
            if getattr(self, small) > getattr(self, large):
                raise SettingsError(
                    f"{small} ({getattr(self, small)}) is more than {large} ({getattr(self, large)})"
                )
        self.require_static()
        self.require_distinct_components()

    def room(self) -> float:
        """Seconds a prologue may take at most: the MOM's limit without its and our own margins."""
        return self.prologalarm - KILL_MARGIN - self.teardown_margin

    def prologue_seconds(self) -> float:
        """Seconds a prologue may take until all guests are ready: ``timeout``, or less by the MOM's limit."""
        return min(self.timeout, self.room())


SETTINGS = Table("setting", SettingsError, fields_of(Settings))
"""All settings in the order they are documented."""


def read_values(text: str, origin: str = "the settings") -> dict[str, Any]:
    """Return the settings that ``text`` (TOML) states, by their own names, each judged by itself.

    :param origin: what messages call the text; the file's path when there is one.
    :raises SettingsError: no TOML, an unknown setting, one that is set twice, a bad value.
    """
    import tomllib

    try:
        stated = tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}") from None
    values: dict[str, Any] = {}
    for written, raw in stated.items():
        try:
            name, value = SETTINGS.read(written, raw)
        except SettingsError as error:
            raise _located(error, origin) from None
        if name in values:
            raise SettingsError(f"{origin}: setting {name} is set twice, the second time as {show(written)}")
        values[name] = value
    return values


def settings_of(values: Mapping[str, Any], origin: str = "the settings") -> Settings:
    """Return the settings with these values, defaults for the rest.

    :raises SettingsError: values that contradict each other.
    """
    try:
        settings = Settings(**values)
    except SettingsError as error:
        raise _located(error, origin) from None
    # Only a stated one: the default gives way to a short prologalarm.
    if "timeout" in values and settings.timeout > settings.room():
        raise SettingsError(
            f"{origin}: timeout ({settings.timeout:g} s) does not fit into prologalarm "
            f"({settings.prologalarm:g} s): hooks are killed {KILL_MARGIN:g} s before it, and "
            f"teardown_margin takes {settings.teardown_margin:g} s",
            hint=f"lower timeout to {settings.room():g}, or raise $prologalarm on all nodes and here",
        )
    return settings


def _located(error: SettingsError, origin: str) -> SettingsError:
    return SettingsError(f"{origin}: {error.what}", hint=error.hint)


def loads(text: str, origin: str = "the settings") -> Settings:
    """Return the settings that ``text`` (TOML) states, defaults for the rest.

    :raises SettingsError: what :func:`read_values` and :func:`settings_of` raise.
    """
    return settings_of(read_values(text, origin), origin)


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
