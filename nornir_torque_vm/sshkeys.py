"""The ssh keys of one attempt of one job: made for it, never used again."""

from __future__ import annotations

from collections.abc import Iterable

from nornir_torque_vm.model import JobKeys, KeyPair


def make_key(comment: str) -> KeyPair:
    """Return a new ed25519 key pair in OpenSSH's formats, the private half without a passphrase.

    :param comment: one word, put behind the public half for whoever reads an authorized_keys file.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private.decode("ascii"), f"{public.decode('ascii')} {comment}")


def make_job_keys(guest_names: Iterable[str]) -> JobKeys:
    """Return an admin key, a user key and a host key for each guest."""
    return JobKeys(
        admin=make_key("torque-vm-admin"),
        user=make_key("torque-vm-user"),
        hosts={name: make_key(name) for name in guest_names},
    )
