"""Keys and certificates of a lab."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nornir_torque_vm.lab import pki
from nornir_torque_vm.lab.layout import lab_nodes
from nornir_torque_vm.lab.pki import LabKeys

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> LabKeys:
    """The keys of a lab of two nodes."""
    return pki.ensure(tmp_path_factory.mktemp("keys") / "keys.json", lab_nodes(2), NOW)


def certificate(keys: LabKeys, node: str) -> x509.Certificate:
    """Read a node's certificate."""
    return x509.load_pem_x509_certificate(keys.nodes[node].certificate.encode())


def test_a_certificate_names_its_node_and_suits_libvirt(keys: LabKeys) -> None:
    """Libvirt wants name and address, both purposes, and an RSA key that may encipher keys."""
    mine = certificate(keys, "node2")
    names = mine.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node2"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.89.0.12"]
    purposes = mine.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {x509.OID_SERVER_AUTH, x509.OID_CLIENT_AUTH} == set(purposes)
    assert mine.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    private = serialization.load_pem_private_key(keys.nodes["node2"].key.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.public_key() == mine.public_key()


def test_a_certificate_is_the_authoritys_and_no_other_ones(keys: LabKeys, tmp_path: Path) -> None:
    """The lab beside this one cannot talk to its daemons."""
    mine = certificate(keys, "node1")
    own = x509.load_pem_x509_certificate(keys.authority.encode())
    mine.verify_directly_issued_by(own)
    strange = pki.ensure(tmp_path / "keys.json", [], NOW)
    with pytest.raises(Exception, match=r".*") as refused:
        mine.verify_directly_issued_by(x509.load_pem_x509_certificate(strange.authority.encode()))
    assert type(refused.value).__name__ == "InvalidSignature"


def test_certificates_are_valid_for_thirty_days(keys: LabKeys) -> None:
    """From an hour before, for machines whose clocks differ; node and authority alike."""
    made = dt.datetime.fromtimestamp(NOW, dt.UTC)
    authority = x509.load_pem_x509_certificate(keys.authority.encode())
    for cert in (certificate(keys, "node1"), authority):
        assert cert.not_valid_before_utc == made - dt.timedelta(hours=1)
        assert cert.not_valid_after_utc == made + dt.timedelta(days=30)


def test_keys_stay_until_a_day_before_their_end(tmp_path: Path) -> None:
    """A lab that is brought up again keeps them, and so its nodes; a clock set back does not."""
    path = tmp_path / "keys.json"
    first = pki.ensure(path, lab_nodes(1), NOW)
    assert pki.ensure(path, lab_nodes(1), NOW + 28.9 * DAY) == first
    assert pki.ensure(path, lab_nodes(1), NOW + 29 * DAY).identity != first.identity
    assert pki.ensure(path, lab_nodes(1), NOW - 1).identity != first.identity


def test_a_new_node_gets_keys_of_the_same_authority(tmp_path: Path) -> None:
    """The others' keys are not touched: their nodes go on."""
    path = tmp_path / "keys.json"
    first = pki.ensure(path, lab_nodes(1), NOW)
    grown = pki.ensure(path, lab_nodes(2), NOW + DAY)
    assert grown.nodes["node1"] == first.nodes["node1"]
    assert grown.identity == first.identity
    certificate(grown, "node2").verify_directly_issued_by(
        x509.load_pem_x509_certificate(grown.authority.encode())
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"nodes": {"node1": {}}}'])
def test_a_damaged_file_is_replaced(tmp_path: Path, text: str) -> None:
    """Keys are made, not repaired; the file is for root only."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    made = pki.ensure(path, lab_nodes(1), NOW)
    assert pki.from_text(path.read_text()) == made
    assert path.stat().st_mode & 0o777 == 0o600
