"""The micro guest's ssh: strict about host keys, however dropbear's client is."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_shell import Root, needs_busybox

pytestmark = needs_busybox

SHOW = '#!/bin/sh\necho "$HOME"\ncat "$HOME/.ssh/known_hosts"\nfor word; do echo "<$word>"; done\n'


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A guest whose dropbear client says how it was called, with a key in OpenSSH's format."""
    guest = Root(tmp_path / "root")
    guest.program("dbclient", SHOW)
    guest.program("dropbearconvert", '#!/bin/sh\necho "converted $(cat "$3")" > "$4"\n')
    guest.write("root/.ssh/known_hosts", "r1 ssh-ed25519 KEY1\nother,r2,10.0.0.2 ssh-ed25519 KEY2 comment\n")
    guest.write("etc/ssh/ssh_known_hosts", "[r3]:2222 ssh-ed25519 KEY3\n")
    guest.write("root/.ssh/id_ed25519", "private")
    return guest


def test_an_unknown_host_is_refused_before_anything_is_sent(root: Root) -> None:
    """Dropbear's client would ask, and with -y take any key."""
    said = root.run("ssh -o StrictHostKeyChecking=no nowhere true")
    assert said.returncode == 255
    assert said.stderr == "ssh: no host key is known for nowhere, so it is not trusted\n"
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "host", "key", "port"),
    [("r1", "r1", "KEY1", "22"), ("r2", "r2", "KEY2", "22"), ("10.0.0.2", "10.0.0.2", "KEY2", "22"),
     ("-p 2222 r3", "r3", "KEY3", "2222"), ("-o Port=2222 r3", "r3", "KEY3", "2222")],
)  # fmt: skip
def test_the_client_knows_exactly_the_pinned_key(
    root: Root, arguments: str, host: str, key: str, port: str
) -> None:
    """Lists of names, ports, the system's file: all become the one form dropbear reads."""
    home, known, *words = root.run(f"ssh {arguments} hostname -f").stdout.splitlines()
    assert known == f"{host} ssh-ed25519 {key}"
    assert home == f"{root.directory}/root/.ssh/dropbear/{host}.{port}"
    assert words == ["<-p>", f"<{port}>", "<-i>", f"<{home}/key>", f"<{host}>", "<hostname>", "<-f>"]


def test_a_port_that_was_not_pinned_is_unknown(root: Root) -> None:
    """A key for the host's port 22 says nothing about another server there."""
    assert root.run("ssh -p 2222 r1").returncode == 255


def test_a_changed_pin_is_followed(root: Root) -> None:
    """A new attempt's guests have new keys under old names."""
    assert "KEY1" in root.run("ssh r1").stdout
    root.write("root/.ssh/known_hosts", "r1 ssh-ed25519 NEW\n")
    said = root.run("ssh r1").stdout
    assert "NEW" in said
    assert "KEY1" not in said


def test_user_and_harmless_options_are_understood(root: Root) -> None:
    """MPI's launchers and scripts pass many options that make no difference here."""
    said = root.run("ssh -x -q -T -o BatchMode=yes -o User=bob r1 'a  b'").stdout.splitlines()
    assert said[2:5] == ["<-T>", "<-p>", "<22>"]
    assert said[-4:] == ["<-l>", "<bob>", "<r1>", "<a  b>"]
    assert root.run("ssh eve@r1 x").stdout.splitlines()[-4:] == ["<-l>", "<eve>", "<r1>", "<x>"]


def test_the_jobs_converted_key_is_preferred_and_another_is_converted(root: Root) -> None:
    """Conversion costs a process, so what the roster left is used as it is."""
    root.write("root/.ssh/id_dropbear", "ready")
    assert f"<{root.directory}/root/.ssh/id_dropbear>" in root.run("ssh r1").stdout
    other = root.write("root/other", "other")
    root.run(f"ssh -i {other} r1")
    assert root.read("root/.ssh/dropbear/r1.22/key") == "converted other\n"


@pytest.mark.parametrize("arguments", ["", "-J jump r1", "-D 1080 r1", "-Z r1", "a/b", "''"])
def test_what_it_cannot_do_is_an_error(root: Root, arguments: str) -> None:
    """With ssh's own exit code for trouble of its own."""
    assert root.run(f"ssh {arguments}").returncode == 255
