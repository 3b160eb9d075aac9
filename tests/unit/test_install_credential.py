"""What nodes reach each other's libvirt with: made once, put in place on each, never printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from node_kit import TLS, NodeHost, host

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.install.credential import Kind, advice, allow, client_text, key_line, kind_of

__all__ = ["host"]

HOSTS = "node1,10.0.0.1 ssh-ed25519 AAAA1\nnode2 ssh-ed25519 AAAA2\nother ssh-ed25519 AAAA3\n"
SECRET = "PRIVATE KEY"


def made(host: NodeHost, *nodes: str, code: int = 0) -> str:
    """Make a credential in the directory ``made``."""
    hosts = host.give("known", HOSTS)
    words = (str(host.path("made")), *nodes, "--known-hosts", str(hosts))
    return host.run(*words, role="credential", code=code)


class TestKeys:
    def test_a_key_is_made_once_and_never_printed(self, host: NodeHost) -> None:
        """With the host keys of the nodes, as the site knows them, and no others."""
        said = made(host, "node1")
        assert SECRET not in said
        key = host.path("made/id_ed25519").read_bytes()
        made(host, "node1", "node2")
        assert host.path("made/id_ed25519").read_bytes() == key
        assert SECRET.encode() in key
        assert host.mode("made") == 0o700
        assert host.mode("made/id_ed25519") == 0o600
        assert host.path("made/known_hosts").read_text() == "".join(HOSTS.splitlines(keepends=True)[:2])

    def test_a_node_without_a_known_key_is_not_believed(self, host: NodeHost) -> None:
        """Asking it for its key would believe whoever answers."""
        assert "has no host key of node7; add it" in made(host, "node7", code=1)
        assert not host.path("made/id_ed25519").exists()

    def test_what_is_no_host_name_is_refused(self, host: NodeHost) -> None:
        """Names become directories."""
        assert "'../x' is not a host name" in made(host, "../x", code=2)

    def test_it_is_put_in_place_and_taken_away(self, host: NodeHost) -> None:
        """Key, host keys, the ssh that uses them, and one line that lets the key in; again: nothing to do."""
        made(host, "node1")
        host.give("root/authorized_keys", "ssh-rsa AAAA site\n", 0o600)
        before = host.snapshot()
        said = host.run("--credential", str(host.path("made")))
        assert SECRET not in said
        assert f'command={host.path("etc")}/credential/ssh" in the settings' in said
        assert host.mode("etc/credential") == 0o700
        assert host.mode("etc/credential/id_ed25519") == 0o600
        assert SECRET not in host.path("opt/installed.json").read_text()
        first, second = host.path("root/authorized_keys").read_text().splitlines()
        assert first.startswith('restrict,command="virt-ssh-helper qemu:///system" ssh-ed25519 ')
        assert second == "ssh-rsa AAAA site"
        assert host.run().startswith("nothing to do\n")
        assert host.run("--credential", str(host.path("made"))).startswith("nothing to do\n")
        host.run("--uninstall")
        assert host.snapshot() == before

    def test_a_new_key_takes_the_place_of_the_old_one(self, host: NodeHost) -> None:
        """In both files; the old line does not come back when all goes."""
        made(host, "node1")
        before = host.snapshot()
        host.run("--credential", str(host.path("made")))
        old = host.path("etc/credential/id_ed25519").read_bytes()
        host.path("made").rename(host.path("made.old"))
        made(host, "node1")
        host.run("--credential", str(host.path("made")))
        assert host.path("etc/credential/id_ed25519").read_bytes() != old
        assert len(host.path("root/authorized_keys").read_text().splitlines()) == 1
        host.run("--uninstall")
        shutil.rmtree(host.path("made"))
        host.path("made.old").rename(host.path("made"))
        assert host.snapshot() == before

    def test_a_file_of_roots_alone_is_made_where_there_was_none(self, host: NodeHost) -> None:
        """authorized_keys and its directory."""
        made(host, "node1")
        host.run("--credential", str(host.path("made")))
        assert (host.mode("root"), host.mode("root/authorized_keys")) == (0o700, 0o600)

    def test_a_key_that_others_can_read_is_no_secret(self, host: NodeHost) -> None:
        """It is not put in place."""
        made(host, "node1")
        host.path("made/id_ed25519").chmod(0o644)
        said = host.run("--credential", str(host.path("made")), code=1)
        assert "id_ed25519 is secret, and others than root may read it (mode 0644); chmod 600" in said

    def test_an_incomplete_one_is_said(self, host: NodeHost) -> None:
        """With how to make one."""
        said = host.run("--credential", str(host.directory("empty")), code=1)
        assert "id_ed25519 is missing; make a credential with torque-vm install credential" in said

    def test_a_site_s_own_files_are_not_overwritten(self, host: NodeHost) -> None:
        """A key that is there and not ours stays."""
        made(host, "node1")
        host.give("etc/credential/id_ed25519", "theirs", 0o600)
        assert "is there and not from this command" in host.run(
            "--credential", str(host.path("made")), code=1
        )

    def test_the_line_can_do_nothing_but_reach_libvirt(self, host: NodeHost) -> None:
        """Ssh itself accepts it; whoever has the key gets libvirt's helper, whatever was asked for."""
        made(host, "node1")
        public = host.path("made/id_ed25519.pub").read_text()
        line = key_line(public, "qemu:///system")
        host.give("line", line)
        if shutil.which("ssh-keygen"):
            done = subprocess.run(["ssh-keygen", "-lf", host.path("line")], capture_output=True, check=True)
            assert b"torque-vm-node" in done.stdout
        assert line.startswith(b'restrict,command="virt-ssh-helper qemu:///system" ')
        edit = allow("/x", b"a\n" + line, key_line(public, "qemu:///other"))
        assert edit is not None
        assert edit.old == line
        assert allow("/x", b"a\n" + line, line) is None

    def test_its_ssh_asks_nobody_and_believes_nobody(self) -> None:
        """Only the pinned host keys, only our key; what else root's configuration says does not count."""
        text = client_text("/etc/my dir")
        assert "ssh -F none " in text
        assert "'IdentityFile=/etc/my dir/id_ed25519'" in text
        for option in ("StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "BatchMode=yes"):
            assert option in text
        assert text.endswith(' "$@"\n')


class TestCertificates:
    @pytest.fixture(autouse=True)
    def tls(self, host: NodeHost) -> None:
        host.settings_text(node_uri=f"{TLS}{host.path('etc/pki')}")

    def test_each_node_gets_its_own(self, host: NodeHost) -> None:
        """Signed by one authority, whose key no node has; openssl agrees."""
        said = made(host, "node1", "node2")
        assert SECRET not in said
        assert host.mode("made/node1/clientkey.pem") == 0o600
        for name in ("node1", "node2"):
            certificate = host.path(f"made/{name}/clientcert.pem")
            if shutil.which("openssl"):
                for purpose in ("sslserver", "sslclient"):
                    verify(host, certificate, purpose, name)

    def test_one_for_a_node_that_came_later(self, host: NodeHost) -> None:
        """The others keep theirs."""
        made(host, "node1")
        before = {path: path.read_bytes() for path in host.path("made").rglob("*") if path.is_file()}
        made(host, "node1", "node2")
        assert {path: path.read_bytes() for path in before} == before
        assert host.path("made/node2/clientcert.pem").exists()

    def test_it_is_put_where_node_uri_says_and_taken_away(
        self, host: NodeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """This node's own certificate, never the authority's key; nothing is left to be set."""
        import os

        name = os.uname().nodename.partition(".")[0]
        made(host, name, "node2")
        before = host.snapshot()
        said = host.run("--credential", str(host.path("made")))
        assert "for the credential to be used" not in said
        there = {path.name: path.read_bytes() for path in host.path("etc/pki").iterdir()}
        own = host.path("made") / name
        assert there == {
            "cacert.pem": host.path("made/cacert.pem").read_bytes(),
            "clientcert.pem": (own / "clientcert.pem").read_bytes(),
            "clientkey.pem": (own / "clientkey.pem").read_bytes(),
        }
        assert host.mode("etc/pki/clientkey.pem") == 0o600
        assert host.run().startswith("nothing to do\n")
        host.run("--uninstall")
        assert host.snapshot() == before

    def test_a_site_made_one_has_its_files_side_by_side(self, host: NodeHost) -> None:
        """A directory per node is only needed where one directory serves all."""
        for name in ("cacert.pem", "clientcert.pem", "clientkey.pem"):
            host.give(f"site/{name}", name, 0o600)
        host.run("--credential", str(host.path("site")))
        assert host.path("etc/pki/clientkey.pem").read_text() == "clientkey.pem"


def verify(host: NodeHost, certificate: Path, purpose: str, name: str) -> None:
    """Have openssl judge a certificate."""
    authority = host.path("made/cacert.pem")
    words = ["openssl", "verify", "-CAfile", str(authority), "-purpose", purpose, "-verify_hostname", name]
    words.append(str(certificate))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert re.search(r": OK$", done.stdout, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("qemu+ssh://root@{node}/system", Kind.SSH),
        ("qemu+libssh2://{node}/system?keyfile=/x", Kind.SSH),
        ("qemu+tls://{node}/system", Kind.TLS),
    ],
)
def test_node_uri_says_which(uri: str, kind: Kind) -> None:
    """And whether it says where the credential is, is told."""
    settings = Settings(node_uri=uri)
    assert kind_of(settings) is kind
    assert advice(settings, "/etc/torque-vm").startswith("for the credential to be used set node_uri = ")


def test_a_transport_without_a_credential_is_said(host: NodeHost) -> None:
    """Nothing is made for it."""
    host.settings_text(node_uri="qemu+tcp://{node}/system")
    assert "use qemu+ssh or qemu+tls there" in made(host, "node1", code=1)
