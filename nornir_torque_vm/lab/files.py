"""The text of every file that makes a lab host what it is. Pure.

The directories follow what TORQUE and this package expect of a compute node; where libvirt's settings
are not obvious, the reason stands beside them.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nornir_torque_vm.lab.layout import BRIDGE, HEAD, HEAD_NODE, SWITCH_NODE, LabNode
from nornir_torque_vm.lab.spec import LOGS
from nornir_torque_vm.model import Owner

if TYPE_CHECKING:
    from nornir_torque_vm.lab.pki import LabKeys

PKI = "/etc/torque-vm/pki"
SSH = "/etc/torque-vm/ssh"
SPOOL = "/var/spool/torque"
USER = Owner(name="alice", uid=2001, gid=2001, group="alice", home="/home/alice")
"""The lab's ordinary user: who submits the jobs."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file below the host's own root. ``mode`` as for chmod; owned by root."""

    path: str
    text: str
    mode: int = 0o644


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A directory below the host's own root."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


# Parents stand before what is in them, so that no mode depends on the caller's umask.
DIRECTORIES = (
    Directory("/etc"),
    Directory("/etc/libvirt"),
    Directory("/etc/torque-vm"),
    Directory(PKI, 0o700),
    Directory(SSH, 0o700),
    Directory("/home"),
    Directory("/root", 0o711),  # an interpreter below it must be reachable for the job owner too
    Directory("/root/.ssh", 0o700),
    Directory("/srv"),
    Directory("/var"),
    Directory("/var/cache"),
    Directory("/var/lib"),
    Directory("/var/lib/misc"),
    Directory("/var/lib/torque-vm"),
    Directory("/var/log"),
    Directory("/var/log/torque-vm"),
    Directory(LOGS),
    Directory("/var/tmp", 0o1777),  # noqa: S108 -- the host's own
    Directory("/var/spool"),
    # as TORQUE 6.1 makes them
    Directory(SPOOL),
    Directory(f"{SPOOL}/aux"),
    Directory(f"{SPOOL}/mom_logs"),
    Directory(f"{SPOOL}/mom_priv", 0o751),
    Directory(f"{SPOOL}/mom_priv/jobs", 0o751),
    Directory(f"{SPOOL}/spool", 0o1777),
    Directory(f"{SPOOL}/undelivered", 0o1777),
    Directory(USER.home, 0o700, USER.uid, USER.gid),
)

LINKS = {"/var/run": "/run", "/var/lock": "/run/lock"}

ACCOUNTS = (
    ("root", 0, 0, "/root", "/bin/bash"),
    ("daemon", 1, 1, "/usr/sbin", "/usr/sbin/nologin"),
    ("sshd", 105, 65534, "/run/sshd", "/usr/sbin/nologin"),
    # libvirt does not start without its compiled-in user, even though qemu.conf names another
    ("libvirt-qemu", 64055, 64055, "/var/lib/libvirt", "/usr/sbin/nologin"),
    (USER.name, USER.uid, USER.gid, USER.home, USER.shell),
    ("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin"),
)
GROUPS = (
    ("root", 0),
    ("daemon", 1),
    ("tty", 5),
    (USER.group, USER.gid),
    ("libvirt-qemu", 64055),
    ("nogroup", 65534),
)

# One user for QEMU and no label kept on files: the nodes share base images and kernels, and libvirt would
# otherwise remember an owner in attributes of the shared file. No control groups: there is one tree for
# all nodes, and what libvirt makes in it outlives a node. No private /dev: the node's own is private.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
"""


NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"


def libvirtd_conf(node: LabNode, lab: str) -> str:
    """Return the daemon's settings.

    The UUID is fixed because the machine's cannot be read and libvirt would make up a new one at every
    start. TLS clients need a certificate of the lab's own authority.
    """
    return (
        f'host_uuid = "{uuid.uuid5(uuid.NAMESPACE_DNS, f"{node.name}.{lab}.lab.invalid")}"\n'
        "listen_tls = 1\n"
        "listen_tcp = 0\n"
        f'listen_addr = "{node.address}"\n'
        'auth_tls = "none"\n'
        f'ca_file = "{PKI}/cacert.pem"\n'
        f'cert_file = "{PKI}/clientcert.pem"\n'
        f'key_file = "{PKI}/clientkey.pem"\n'
    )


def sshd_config(node: LabNode) -> str:
    """Return the daemon's settings: root, by the lab's key, on the node's address."""
    return (
        f"ListenAddress {node.address}\n"
        f"HostKey {SSH}/host_key\n"
        f"AuthorizedKeysFile {SSH}/authorized_keys .ssh/authorized_keys\n"
        "PidFile none\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "UsePAM no\n"
        "UseDNS no\n"
        "PrintMotd no\n"
        "MaxStartups 100\n"
        "Subsystem sftp internal-sftp\n"
    )


def ssh_config(nodes: Sequence[LabNode]) -> str:
    """Return root's client settings: the lab's key, and only the host keys that were pinned."""
    return (
        f"Host {' '.join(word for node in nodes for word in (node.name, node.address))}\n"
        f"    IdentityFile {SSH}/id_ed25519\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {SSH}/known_hosts\n"
        "    StrictHostKeyChecking yes\n"
        "    BatchMode yes\n"
    )


def hosts(nodes: Sequence[LabNode]) -> str:
    """Return /etc/hosts."""
    lines = ["127.0.0.1 localhost", *(f"{n.address} {n.name}" for n in (SWITCH_NODE, *nodes))]
    return "\n".join(lines) + "\n"


def known_hosts(nodes: Sequence[LabNode], public_keys: Mapping[str, str]) -> str:
    """Return the pinned host keys, by name and by address.

    :param public_keys: node name → its key, one line in OpenSSH's format.
    """
    return "".join(f"{node.name},{node.address} {public_keys[node.name]}\n" for node in nodes)


def passwd() -> str:
    """Return /etc/passwd."""
    return "".join(f"{name}:x:{uid}:{gid}::{home}:{shell}\n" for name, uid, gid, home, shell in ACCOUNTS)


def shadow() -> str:
    """Return /etc/shadow: no account has a password; ``*`` keeps login by key possible, ``!`` would not."""
    return "".join(f"{name}:*:19000:0:99999:7:::\n" for name, *_ in ACCOUNTS)


def group() -> str:
    """Return /etc/group."""
    return "".join(f"{name}:x:{gid}:\n" for name, gid in GROUPS)


def toml(values: Mapping[str, object]) -> str:
    """Return a TOML table of texts, numbers, truth values and lists of them.

    JSON writes these values as TOML does, except for one control character that TOML wants escaped.
    """
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


def settings(*, kvm: bool, image: str, changes: Mapping[str, object]) -> str:
    """Return the node's settings.toml.

    :param kvm: whether hardware virtualization was proven to work.
    :param image: what jobs get that name no image; empty for none.
    :param changes: settings that shall differ from the lab's, by name.
    """
    values: dict[str, object] = {
        "img_default": image,
        "ram_default": "512M",
        "hypervisor_default": "kvm" if kvm else "qemu",
        "host_os_ram_mb": 64,
        "bridge": BRIDGE,
        # A second of ebtables for each guest of emulated nodes that share two processors.
        "network_filter": "",
        "local_uri": "qemu:///system",
        "node_uri": f"qemu+tls://{{node}}/system?pkipath={PKI}",
        "node_shell_user": "root",
        "node_shell_key": f"{SSH}/id_ed25519",
        "node_shell_known_hosts": f"{SSH}/known_hosts",
    }
    return toml(values | dict(changes))


def common_files(nodes: Sequence[LabNode], hostname: str) -> tuple[File, ...]:
    """Return what every host has: names and accounts, from files only."""
    return (
        File("/etc/hostname", f"{hostname}\n"),
        File("/etc/hosts", hosts(nodes)),
        File("/etc/resolv.conf", ""),
        File("/etc/nsswitch.conf", NSSWITCH),
        File("/etc/passwd", passwd()),
        File("/etc/shadow", shadow(), 0o600),
        File("/etc/group", group()),
    )


def client_files(host: str, nodes: Sequence[LabNode], keys: LabKeys, settings_text: str) -> tuple[File, ...]:
    """Return what a host has from which nodes are reached: settings, a certificate, an ssh client's files."""
    own = keys.nodes[host]
    pinned = known_hosts(nodes, {name: of.host_key.public for name, of in keys.nodes.items()})
    return (
        File("/etc/torque-vm/settings.toml", settings_text),
        File(f"{PKI}/cacert.pem", keys.authority),
        File(f"{PKI}/clientcert.pem", own.certificate),
        File(f"{PKI}/clientkey.pem", own.key, 0o600),
        File(f"{SSH}/id_ed25519", keys.root.private, 0o600),
        File(f"{SSH}/known_hosts", pinned),
        File("/root/.ssh/config", ssh_config(nodes), 0o600),
        File(f"{SPOOL}/pbs_environment", "PATH=/bin:/usr/bin\nLANG=C.UTF-8\n"),
        File(f"{SPOOL}/server_name", f"{HEAD}\n"),
    )


def node_files(
    node: LabNode,
    nodes: Sequence[LabNode],
    keys: LabKeys,
    lab: str,
    settings_text: str,
    others: Sequence[LabNode] = (),
) -> tuple[File, ...]:
    """Return all files of a node's own.

    :param others: hosts that are no nodes but known by name.
    """
    return (
        *common_files((*others, *nodes), node.name),
        *client_files(node.name, nodes, keys, settings_text),
        File("/etc/libvirt/libvirtd.conf", libvirtd_conf(node, lab)),
        File("/etc/libvirt/qemu.conf", QEMU_CONF),
        File(f"{SSH}/sshd_config", sshd_config(node)),
        File(f"{SSH}/host_key", keys.nodes[node.name].host_key.private, 0o600),
        File(f"{SSH}/authorized_keys", f"{keys.root.public}\n", 0o600),
    )


def head_files(nodes: Sequence[LabNode], keys: LabKeys, settings_text: str) -> tuple[File, ...]:
    """Return the head's own files, but for the batch system's."""
    return (
        *common_files((HEAD_NODE, *nodes), HEAD),
        *client_files(HEAD, nodes, keys, settings_text),
    )
