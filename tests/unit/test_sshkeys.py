"""Keys of a job: OpenSSH reads them, and no two are alike."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nornir_torque_vm.sshkeys import make_job_keys, make_key


def test_a_key_is_one_public_line_and_a_private_file() -> None:
    """The forms that authorized_keys, known_hosts and ssh's IdentityFile take."""
    key = make_key("j1-r0")
    kind, body, comment = key.public.split(" ")
    assert (kind, comment) == ("ssh-ed25519", "j1-r0")
    assert body.startswith("AAAAC3NzaC1lZDI1NTE5")
    assert "\n" not in key.public
    assert key.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert key.private.endswith("-----END OPENSSH PRIVATE KEY-----\n")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_ssh_keygen_derives_the_public_half_from_the_private(tmp_path: Path) -> None:
    """Without a passphrase, as a batch job must be able to."""
    key, file = make_key("someone"), tmp_path / "key"
    file.write_text(key.private)
    file.chmod(0o600)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", file], check=True, capture_output=True, text=True
    )
    assert shown.stdout.split()[:2] == key.public.split()[:2]


def test_paramiko_reads_the_private_half() -> None:
    """It is what logs in to the guests."""
    paramiko = pytest.importorskip("paramiko")
    key = make_key("someone")
    loaded = paramiko.Ed25519Key.from_private_key(io.StringIO(key.private))
    assert f"{loaded.get_name()} {loaded.get_base64()}" == key.public.removesuffix(" someone")


def test_a_job_has_an_admin_a_user_and_a_host_key_per_guest() -> None:
    """All different; whoever has one cannot pass for another."""
    keys = make_job_keys(["j1-r0", "j1-r1"])
    assert list(keys.hosts) == ["j1-r0", "j1-r1"]
    pairs = [keys.admin, keys.user, *keys.hosts.values()]
    assert len({pair.private for pair in pairs}) == len({pair.public for pair in pairs}) == 4
    comments = [pair.public.split(" ")[2] for pair in pairs]
    assert comments == ["torque-vm-admin", "torque-vm-user", "j1-r0", "j1-r1"]


def test_importing_the_module_does_not_import_cryptography() -> None:
    """It costs tens of milliseconds that only who makes keys has to pay."""
    code = "import sys, nornir_torque_vm.sshkeys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
