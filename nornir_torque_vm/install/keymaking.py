"""A credential for a cluster's nodes, made in one directory, from which each node gets its part."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install import credential as parts
from nornir_torque_vm.install.credential import Kind
from nornir_torque_vm.sshkeys import make_key

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

VALID = dt.timedelta(days=3653)
"""Ten years: a certificate that runs out stops every job of its node."""
RSA_BITS = 3072
AUTHORITY_KEY = "authority.key"
"""Signs the certificate of a node that comes later; no node gets it."""


def make_credential(kind: Kind, directory: str, nodes: Sequence[str], known_hosts: str) -> tuple[str, ...]:
    """Make what is missing of a credential for these nodes; return the paths that were made.

    What is there stays: run again for a node that came later.

    :param known_hosts: file with the nodes' host keys as the site knows them (ssh only).
    :raises InstallError: it cannot be written, or a node's host key is not known.
    """
    root = Path(directory)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_uid != os.geteuid() or root.stat().st_mode & 0o077:
            raise InstallError(f"{root} is not root's alone", hint=f"chmod 700 {root}")
        return _make_ssh(root, nodes, known_hosts) if kind is Kind.SSH else _make_tls(root, nodes)
    except OSError as error:
        raise InstallError(f"the credential cannot be written below {root}: {error.strerror}") from None


def _make_ssh(root: Path, nodes: Sequence[str], known_hosts: str) -> tuple[str, ...]:
    pinned = pin(Path(known_hosts), nodes)
    made = []
    if not (root / parts.KEY).exists():
        pair = make_key(parts.COMMENT)
        write_text(root / parts.PUBLIC, f"{pair.public}\n", 0o644)
        write_text(root / parts.KEY, pair.private)
        made += [parts.PUBLIC, parts.KEY]
    write_text(root / parts.KNOWN_HOSTS, pinned, 0o644)
    return tuple(str(root / name) for name in (*made, parts.KNOWN_HOSTS))


def pin(source: Path, nodes: Iterable[str]) -> str:
    """Return the lines of a known_hosts file that are about the nodes.

    :raises InstallError: it has none for a node. Asking the node itself would believe whoever answers.
    """
    try:
        lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InstallError(
            f"{source}, where the nodes' host keys should be, cannot be read: {error}",
            hint="name the site's own with --known-hosts",
        ) from None
    chosen = {}
    for node in nodes:
        of_node = [line for line in lines if node in line.split()[0].split(",")]
        if not of_node:
            raise InstallError(
                f"{source} has no host key of {node}",
                hint="add it: the node's name and what is in its /etc/ssh/ssh_host_ed25519_key.pub",
            )
        chosen.update(dict.fromkeys(of_node))
    return "".join(f"{line}\n" for line in chosen)


def _make_tls(root: Path, nodes: Sequence[str]) -> tuple[str, ...]:
    from cryptography.hazmat.primitives.asymmetric import rsa

    now, made = dt.datetime.now(dt.UTC), []
    if not (root / AUTHORITY_KEY).exists():
        key = rsa.generate_private_key(65537, RSA_BITS)
        write_text(root / parts.AUTHORITY, _pem(_authority(key, now)), 0o644)
        write_text(root / AUTHORITY_KEY, _private(key))
        made += [root / parts.AUTHORITY, root / AUTHORITY_KEY]
    signer = _load(root / AUTHORITY_KEY)
    for node in nodes:
        folder = root / node
        if (folder / parts.CERTIFICATE).exists():
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        key = rsa.generate_private_key(65537, RSA_BITS)
        write_text(folder / parts.CERTIFICATE_KEY, _private(key))
        write_text(folder / parts.CERTIFICATE, _pem(_certificate(node, key, signer, now)), 0o644)
        made += [folder / parts.CERTIFICATE_KEY, folder / parts.CERTIFICATE]
    return tuple(map(str, made))


def _load(path: Path) -> rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InstallError(f"{path} is no key that this command made")
    return key


def _authority(key: rsa.RSAPrivateKey, now: dt.datetime) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return (
        _builder("torque-vm nodes", now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    node: str, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, now: dt.datetime
) -> x509.Certificate:
    """One certificate for both ends: every node is a server and a client.

    libvirt wants the usage "key encipherment", which only RSA keys can have (measured).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(node, now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _builder(subject: str, now: dt.datetime) -> x509.CertificateBuilder:
    from cryptography import x509

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("torque-vm nodes"))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
    )


def _usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, key_cert_sign: bool = False
) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _private(key: rsa.RSAPrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
