"""The program that sees to a guest's resolv.conf, on files of a guest's in place of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.render.cloudinit.network import resolver_command

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can put files in place of others"),
]

SITE = Settings(name_server=("10.0.0.53", "fd00::53"), search_domain="site.example")
OURS = ["search site.example", "nameserver 10.0.0.53", "nameserver fd00::53"]
IN_PLACE = 'mount --bind "$0" /etc || exit 99; exec "$@"'
RESOLV, MANAGER = "resolv.conf", "NetworkManager/conf.d"


@pytest.fixture(params=[["sh"], ["busybox", "sh"]], ids="-".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


def boots(shell: list[str], etc: Path, site: Settings = SITE) -> None:
    """Run the program with this directory for /etc; it is content and says nothing."""
    command = resolver_command(site)
    assert command is not None
    inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_PLACE, str(etc)]
    done = subprocess.run(
        [*inside, *shell, *command[1:]], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def lines(etc: Path, name: str = RESOLV) -> list[str]:
    return (etc / name).read_text().splitlines()


def test_a_guest_where_nobody_writes_it_gets_one(shell: list[str], tmp_path: Path) -> None:
    """The daemon systemd-networkd by itself writes none."""
    boots(shell, tmp_path)
    assert lines(tmp_path) == OURS


def test_what_dhcp_said_gives_way_and_the_rest_stays(shell: list[str], tmp_path: Path) -> None:
    """At each boot the same comes out."""
    (tmp_path / RESOLV).write_text("domain dhcp\nsearch dhcp\nnameserver 192.0.2.1\noptions edns0\n# end")
    for _ in range(2):
        boots(shell, tmp_path)
        assert lines(tmp_path) == [*OURS, "options edns0", "# end"]


def test_a_site_that_names_no_server_leaves_those_of_dhcp(shell: list[str], tmp_path: Path) -> None:
    """Only the domain is the site's then; and the other way round."""
    (tmp_path / RESOLV).write_text("search dhcp\nnameserver 192.0.2.1\n")
    boots(shell, tmp_path, Settings(domain="site.example"))
    assert lines(tmp_path) == ["search site.example", "nameserver 192.0.2.1"]
    boots(shell, tmp_path, Settings(name_server=("10.0.0.53",)))
    assert lines(tmp_path) == ["nameserver 10.0.0.53", "search site.example"]
    assert resolver_command(Settings()) is None


def test_a_link_is_left_to_who_made_it(shell: list[str], tmp_path: Path) -> None:
    """Mostly systemd-resolved, whose file it leads to, has read network-config."""
    (tmp_path / "stub").write_text("nameserver 127.0.0.53\n")
    (tmp_path / RESOLV).symlink_to("stub")
    boots(shell, tmp_path)
    assert lines(tmp_path, "stub") == ["nameserver 127.0.0.53"]


def test_networkmanager_is_told_in_its_own_file(shell: list[str], tmp_path: Path) -> None:
    """Else its next lease would bring back DHCP's servers."""
    (tmp_path / MANAGER).mkdir(parents=True)
    boots(shell, tmp_path)
    own = ["[global-dns]", "searches=site.example", "[global-dns-domain-*]", "servers=10.0.0.53,fd00::53"]
    assert lines(tmp_path, f"{MANAGER}/90-torque-vm.conf") == own
    boots(shell, tmp_path, Settings(name_server=("10.0.0.53",)))
    own = ["[global-dns]", "[global-dns-domain-*]", "servers=10.0.0.53"]
    assert lines(tmp_path, f"{MANAGER}/90-torque-vm.conf") == own
