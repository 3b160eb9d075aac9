"""Keys of a lab: a certificate authority, a TLS certificate and an ssh host key per node, one ssh key.

They exist only for the lab, are made anew with it, and are valid for 30 days.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.lab.layout import LabNode
from nornir_torque_vm.model import KeyPair
from nornir_torque_vm.sshkeys import make_key

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

VALID = dt.timedelta(days=30)
RENEW_BEFORE = dt.timedelta(days=1)
"""Keys with less time left are replaced by ``up``, and with them all nodes."""
RSA_BITS = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class NodeKeys:
    """What one node identifies itself with: TLS certificate and key (PEM), ssh host key."""

    certificate: str
    key: str
    host_key: KeyPair


@dataclasses.dataclass(frozen=True, slots=True)
class LabKeys:
    """All keys of a lab. ``made`` in seconds since the epoch; ``authority`` and its key in PEM."""

    made: float
    authority: str
    authority_key: str
    root: KeyPair
    nodes: dict[str, NodeKeys]

    @property
    def identity(self) -> str:
        """What changes when all keys were replaced."""
        return hashlib.sha256(self.authority.encode()).hexdigest()[:16]

    def fresh(self, now: float) -> bool:
        """Tell whether they are valid for long enough; a clock that was set back makes them stale too."""
        return 0 <= now - self.made < (VALID - RENEW_BEFORE).total_seconds()

    def text(self) -> str:
        """These keys as JSON."""
        return json.dumps(dataclasses.asdict(self))


def from_text(text: str) -> LabKeys:
    """Return the keys that :meth:`LabKeys.text` wrote.

    :raises ValueError, KeyError, TypeError: it is not such a text.
    """
    values = json.loads(text)
    nodes = {
        name: NodeKeys(own["certificate"], own["key"], KeyPair(**own["host_key"]))
        for name, own in values["nodes"].items()
    }
    return LabKeys(
        values["made"], values["authority"], values["authority_key"], KeyPair(**values["root"]), nodes
    )


def ensure(path: Path, nodes: Iterable[LabNode], now: float) -> LabKeys:
    """Return the keys in the file ``path`` after adding what ``nodes`` lack; write them when changed."""
    try:
        keys: LabKeys | None = from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        keys = None
    if keys is None or not keys.fresh(now):
        keys = _make(now)
    missing = [node for node in nodes if node.name not in keys.nodes]
    for node in missing:
        keys.nodes[node.name] = _node_keys(node, keys)
    if missing:
        write_text(path, keys.text())
    return keys


def _make(now: float) -> LabKeys:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return LabKeys(now, _pem(_authority(key, now)), _private_pem(key), make_key("lab-root"), {})


def _authority(key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    usage = _usage(key_cert_sign=True)
    return (
        _builder("lab authority", "lab authority", now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _node_keys(node: LabNode, keys: LabKeys) -> NodeKeys:
    from cryptography.hazmat.primitives.asymmetric import rsa

    # libvirt wants the usage "key encipherment", which only RSA keys can have
    key = rsa.generate_private_key(65537, RSA_BITS)
    return NodeKeys(_pem(_certificate(node, key, keys)), _private_pem(key), make_key(node.name))


def _certificate(node: LabNode, key: rsa.RSAPrivateKey, keys: LabKeys) -> x509.Certificate:
    """One certificate for both ends: every node is a server and a client."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    signer = serialization.load_pem_private_key(keys.authority_key.encode(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the key of the lab's authority is of another kind than this version makes")
    names = [x509.DNSName(node.name), x509.IPAddress(ipaddress.ip_address(node.address))]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(node.name, "lab authority", keys.made)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _builder(subject: str, issuer: str, made: float) -> x509.CertificateBuilder:
    from cryptography import x509

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    since = dt.datetime.fromtimestamp(made, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - dt.timedelta(hours=1))
        .not_valid_after(since + VALID)
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


def _private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
