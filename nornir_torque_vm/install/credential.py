"""What a node opens the libvirt of the others with: a key that can do nothing else, or certificates.

Which of the two, and where it lies, follows from the setting ``node_uri``. All of it comes from one
directory, made by :mod:`~.keymaking` or by the site:

* ssh: ``id_ed25519``, ``id_ed25519.pub`` and ``known_hosts`` with the host key of every node;
* TLS: ``cacert.pem``, and in a directory of the node's name ``clientcert.pem`` and ``clientkey.pem``.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import shlex
from urllib.parse import parse_qs, urlsplit

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.ground import read_file
from nornir_torque_vm.install.model import Directory, Edit, File

KEY, PUBLIC, KNOWN_HOSTS, CLIENT = "id_ed25519", "id_ed25519.pub", "known_hosts", "ssh"
AUTHORITY, CERTIFICATE, CERTIFICATE_KEY = "cacert.pem", "clientcert.pem", "clientkey.pem"
COMMENT = "torque-vm-node"
"""Last word of the key's line in ``authorized_keys``, by which it is found again."""
HELPER = "virt-ssh-helper"
"""libvirt's program on the far side: hands one stream to the local libvirtd (libvirt 6.8 and later)."""
_PUBLIC = re.compile(r"(ssh-ed25519|ecdsa-sha2-\S+|ssh-rsa) [A-Za-z0-9+/=]+")


class Kind(enum.Enum):
    """How nodes reach each other's libvirt."""

    SSH = "ssh"
    TLS = "tls"


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """Files and the edit that put a credential in place.

    :param edited: files that carry an edit of ours, new or from an earlier run.
    """

    files: tuple[File, ...] = ()
    edit: Edit | None = None
    edited: frozenset[str] = frozenset()
    directories: tuple[Directory, ...] = ()


def kind_of(settings: Settings) -> Kind:
    """Which credential the setting ``node_uri`` asks for.

    :raises InstallError: none that we know.
    """
    scheme = urlsplit(settings.node_uri).scheme
    transport = scheme.partition("+")[2]
    if transport in {"ssh", "libssh", "libssh2"}:
        return Kind.SSH
    if transport == "tls":
        return Kind.TLS
    raise InstallError(
        f"node_uri is {settings.node_uri}, which needs no key or certificate that could be installed",
        hint="use qemu+ssh or qemu+tls there",
    )


def directory_of(settings: Settings, etc: str) -> str:
    """Where the credential lies on a node: ``pkipath`` of ``node_uri``, or a directory of ours."""
    stated = parse_qs(urlsplit(settings.node_uri).query).get("pkipath", [])
    return stated[0].rstrip("/") if stated and stated[0].startswith("/") else f"{etc}/credential"


def advice(settings: Settings, etc: str) -> str:
    """What ``node_uri`` has to say for the credential to be used; empty when it does."""
    own = directory_of(settings, etc)
    if kind_of(settings) is Kind.TLS:
        fitting, wanted = f"pkipath={own}" in settings.node_uri, f"qemu+tls://{{node}}/system?pkipath={own}"
    else:
        wanted = f"qemu+ssh://root@{{node}}/system?command={own}/{CLIENT}"
        fitting = f"{own}/{CLIENT}" in settings.node_uri or f"{own}/{KEY}" in settings.node_uri
    return "" if fitting else f'for the credential to be used set node_uri = "{wanted}" in the settings'


def read_credential(source: str, settings: Settings, etc: str, name: str, authorized: str) -> Credential:
    """Return what puts the credential of the directory ``source`` in place.

    :param name: this node's, for its own certificate.
    :param authorized: root's ``authorized_keys``.
    :raises InstallError: it is not complete, or others could read or change it.
    """
    target = directory_of(settings, etc)
    if kind_of(settings) is Kind.TLS:
        own = f"{source}/{name}" if read_file(f"{source}/{name}/{CERTIFICATE}") else source
        files = (
            File(f"{target}/{AUTHORITY}", _public(f"{source}/{AUTHORITY}")),
            File(f"{target}/{CERTIFICATE}", _public(f"{own}/{CERTIFICATE}")),
            File(f"{target}/{CERTIFICATE_KEY}", _secret(f"{own}/{CERTIFICATE_KEY}"), 0o600),
        )
        return Credential(files, directories=(Directory(target, 0o700),))
    files = (
        File(f"{target}/{KEY}", _secret(f"{source}/{KEY}"), 0o600),
        File(f"{target}/{KNOWN_HOSTS}", _public(f"{source}/{KNOWN_HOSTS}")),
        File(f"{target}/{CLIENT}", client_text(target).encode(), 0o755),
    )
    line = key_line(_public(f"{source}/{PUBLIC}").decode(errors="replace"), settings.local_uri)
    found = read_file(authorized)
    edit = allow(authorized, found.content if found else b"", line)
    folders = (Directory(target, 0o700), Directory(authorized.rpartition("/")[0], 0o700))
    return Credential(files, edit, frozenset({authorized}), folders)


def _public(path: str) -> bytes:
    found = read_file(path)
    if found is None:
        raise InstallError(
            f"{path} is missing", hint="make a credential with torque-vm install credential DIR NODES"
        )
    return found.content


def _secret(path: str) -> bytes:
    content, found = _public(path), read_file(path)
    if found is not None and found.mode & 0o077:
        raise InstallError(
            f"{path} is secret, and others than root may read it (mode {found.mode:04o})",
            hint=f"chmod 600 {path}, and make a new one if anybody else was on this host",
        )
    return content


def client_text(directory: str) -> str:
    """The ssh that libvirt runs: our key, only pinned host keys, nobody is asked anything."""
    options = (
        f"IdentityFile={directory}/{KEY}",
        f"UserKnownHostsFile={directory}/{KNOWN_HOSTS}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "ConnectTimeout=10",
    )
    words = " ".join(f"-o {shlex.quote(option)}" for option in options)
    why = "# What libvirt reaches the other nodes with; named by node_uri."
    return f'#!/bin/sh\n{why}\nexec ssh -F none {words} "$@"\n'


def key_line(public: str, local_uri: str) -> bytes:
    """The line for ``authorized_keys``: whoever has the key reaches libvirtd, and nothing else.

    Whatever the far side asks to be run, sshd runs libvirt's helper. (Write access to libvirt is root all
    the same; but not by a shell, a forwarded port or an agent.)

    :raises InstallError: this is no public key.
    """
    found = _PUBLIC.match(public)
    if found is None:
        raise InstallError(f"{PUBLIC} of the credential is not a public key of OpenSSH's")
    command = f"{HELPER} {shlex.quote(local_uri)}".replace("\\", "\\\\").replace('"', '\\"')
    return f'restrict,command="{command}" {found[0]} {COMMENT}\n'.encode()


def allow(path: str, there: bytes, line: bytes) -> Edit | None:
    """Return the edit of ``authorized_keys`` that puts our line in, in place of an older one of ours.

    None when it is in already.
    """
    if line in there.splitlines(keepends=True):
        return None
    older = re.search(rb"^restrict,command=[^\n]* " + COMMENT.encode() + rb"\n", there, re.MULTILINE)
    start, old = (older.start(), older[0]) if older else (0, b"")
    return Edit(path, start, old, line, private=True)
