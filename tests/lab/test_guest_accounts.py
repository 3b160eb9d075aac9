"""The script that makes the owner's account, with the real tools, on files of a guest's in place of ours."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from render_kit import ALICE

from nornir_torque_vm.model import Owner
from nornir_torque_vm.render.cloudinit.accounts import WRONG_ACCOUNT, account_check, accounts_command

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can put files in place of others"),
]

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
systemd-network:x:998:998::/:/usr/sbin/nologin
"""
GROUP = """\
root:x:0:
daemon:x:1:
sudo:x:27:
shadow:x:42:
users:x:100:
kvm:x:105:
systemd-network:x:998:
"""
DEBIAN = "debian:x:1000:1000:Debian:/home/debian:/bin/bash\n"
SUDOERS = "90-cloud-init-users"
IN_PLACE = 'for name in etc home run; do mount --bind "$0/$name" "/$name" || exit 99; done; exec "$@"'


@dataclasses.dataclass(frozen=True)
class Guest:
    """A directory with what stands for the guest's /etc, /home and /run."""

    root: Path

    def has(self, passwd: str = "", group: str = "", **files: str) -> None:
        """Put accounts beside those of the system, and files below /etc by their name there."""
        for name in ("etc/sudoers.d", "etc/skel", "etc/cloud/cloud.cfg.d", "etc/default", "home", "run"):
            (self.root / name).mkdir(parents=True)
        accounts, groups = PASSWD + passwd, GROUP + group
        for name, text in {
            "passwd": accounts,
            "group": groups,
            "shadow": "".join(f"{line.split(':')[0]}:!:19000::::::\n" for line in accounts.splitlines()),
            "gshadow": "".join(f"{line.split(':')[0]}:!::\n" for line in groups.splitlines()),
            "nsswitch.conf": "passwd: files\ngroup: files\n",
            "sudoers": "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n",
            **files,
        }.items():
            (self.root / "etc" / name).write_text(text)
        shutil.copy("/etc/login.defs", self.root / "etc")

    def in_it(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program that sees the guest's files in place of the machine's."""
        # Processes of its own: tools look whether somebody works as the account.
        own = ["unshare", *["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]]
        return subprocess.run(
            [*own, "sh", "-c", IN_PLACE, str(self.root), *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def boots(self, owner: Owner = ALICE) -> str:
        """Run the script, as each boot does; it is content, and what it said is returned."""
        done = self.in_it(*accounts_command(owner))
        assert done.returncode == 0, done.stderr
        return done.stderr

    def refuses(self, owner: Owner = ALICE) -> str:
        """Run the script, which is not content; what it leaves for whoever asks the guest."""
        assert self.in_it(*accounts_command(owner)).returncode != 0
        return (self.root / "run/torque-vm/refused").read_text().strip()

    def id(self, *words: str) -> str:
        """What ``id`` says in it."""
        done = self.in_it("id", *words)
        return done.stdout.strip() or done.stderr.strip()

    def line(self, file: str, name: str) -> list[str]:
        """The fields of an entry of a file in /etc; none when it is missing."""
        lines = (self.root / "etc" / file).read_text().splitlines()
        return next((line.split(":") for line in lines if line.startswith(f"{name}:")), [])


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def with_groups(*groups: tuple[str, int]) -> Owner:
    return dataclasses.replace(ALICE, groups=groups)


def test_the_account_is_that_of_the_nodes(guest: Guest) -> None:
    """Numbers, groups, shell, home; no password; a second boot changes nothing."""
    guest.has()
    guest.boots()
    known = "uid=2001(alice) gid=2002(staff) groups=2002(staff),3000(hpc)"
    assert guest.id("alice") == known
    assert guest.line("passwd", "alice")[5:] == ["/home/alice", "/bin/bash"]
    assert guest.line("shadow", "alice")[1] == "!"
    home = (guest.root / "home/alice").stat()
    assert (home.st_uid, home.st_gid) == (2001, 2002)
    before = {path.name: path.read_text() for path in (guest.root / "etc").iterdir() if path.is_file()}
    assert guest.boots() == ""
    assert {name: (guest.root / "etc" / name).read_text() for name in before} == before


def test_a_group_that_the_image_numbers_differently_gets_the_number_of_the_nodes(guest: Guest) -> None:
    """Files go by numbers, on file servers too; people's groups of the image have to give way."""
    guest.has(group="hpc:x:1005:\n")
    guest.boots()
    assert guest.id("-G", "alice") == "2002 3000"
    assert guest.line("group", "hpc")[2] == "3000"


def test_a_number_of_another_group_of_people_gets_a_second_name(guest: Guest) -> None:
    """As does that of users, which every system has."""
    guest.has(group="others:x:3000:\n")
    guest.boots(with_groups(("hpc", 3000), ("people", 100)))
    assert set(guest.id("-G", "alice").split()) == {"2002", "3000", "100"}
    assert guest.line("group", "others")[3] == ""
    assert guest.line("group", "people")[2] == "100"


@pytest.mark.parametrize(
    ("group", "why"),
    [
        (("proj", 42), "42 is the number of shadow in the image"),
        (("proj", 998), "998 is the number of systemd-network in the image"),
        (("kvm", 3105), "kvm of the image's system has the number 105"),
    ],
)
def test_nobody_gets_into_a_group_of_the_images_system_by_chance(
    guest: Guest, group: tuple[str, int], why: str
) -> None:
    """By the number or by the name; the job runs without that group."""
    guest.has()
    said = guest.boots(with_groups(group, ("hpc", 3000)))
    assert said == f"torque-vm: alice is not in the group {group[0]} ({group[1]}) here: {why}\n"
    assert guest.id("-G", "alice") == "2002 3000"


def test_a_primary_group_of_the_images_system_is_refused(guest: Guest) -> None:
    """Every file of the job's would be that group's."""
    guest.has()
    owner = dataclasses.replace(ALICE, gid=42)
    why = "42 is the number of shadow in the image"
    assert guest.refuses(owner) == f"the group staff of alice cannot have the number 42: {why}"


def test_groups_that_make_root_are_not_passed_on(guest: Guest) -> None:
    """Whoever is in sudo or docker on the nodes is not in a guest."""
    guest.has(group="docker:x:3999:\n")
    guest.boots(with_groups(("sudo", 27), ("docker", 3999), ("wheel", 10), ("hpc", 3000)))
    assert guest.id("-G", "alice") == "2002 3000"


def test_a_group_whose_name_is_not_allowed_here_goes_by_its_number(guest: Guest) -> None:
    """Names of a directory service may have blanks."""
    guest.has()
    guest.boots(with_groups(("domain users", 5000)))
    assert guest.id("-G", "alice") == "2002 5000"
    assert guest.line("group", "gid5000")[2] == "5000"


def test_an_account_of_the_image_with_the_same_number_is_used(guest: Guest) -> None:
    """With the groups of the nodes, and no others: not with sudo."""
    guest.has("alice:x:2001:2001::/home/alice:/bin/sh\n", "alice:x:2001:\nsudo2:x:1500:alice\n")
    guest.boots()
    assert guest.id("-G", "alice") == "2002 3000"


@pytest.mark.parametrize(
    ("passwd", "why"),
    [
        ("alice:x:1500:1500::/home/alice:/bin/sh\n", "alice has the number 1500 in the image, not 2001"),
        ("bob:x:2001:2001::/home/bob:/bin/sh\n", "the number 2001 of alice is that of bob in the image"),
    ],
)
def test_an_account_in_the_way_is_a_sentence(guest: Guest, passwd: str, why: str) -> None:
    """Files would be somebody else's."""
    guest.has(passwd)
    assert guest.refuses() == why
    assert (guest.root / "etc/passwd").read_text() == PASSWD + passwd


def test_a_shell_the_image_lacks_is_replaced(guest: Guest) -> None:
    """Nobody is let in by ssh whose shell is missing."""
    guest.has()
    assert guest.boots(Owner("alice", 2001, 2002, "staff", "/home/alice", "/opt/bin/fish")) == (
        "torque-vm: the image has no /opt/bin/fish\n"
    )
    assert guest.line("passwd", "alice")[6] == "/bin/sh"


@pytest.mark.parametrize("name", ["debian", "ubuntu", "cloud-user", "centos", "rocky", "site"])
def test_the_images_own_sudo_user_is_locked_out(guest: Guest, name: str) -> None:
    """No password, no key, no shell, no sudo: by name, or because cloud-init's files call it the default."""
    guest.has(f"{name}:x:1000:1000::/home/{name}:/bin/bash\nsvc:x:1001:1001::/home/svc:/bin/bash\n")
    etc = guest.root / "etc"
    (etc / "group").write_text(f"{GROUP.replace('sudo:x:27:', f'sudo:x:27:{name}')}{name}:x:1000:\n")
    shadow = (etc / "shadow").read_text()
    (etc / "shadow").write_text(shadow.replace(f"{name}:!", f"{name}:$6$salt$hash"))
    (etc / "sudoers.d" / SUDOERS).write_text(f"{name} ALL=(ALL) NOPASSWD:ALL\n")
    (etc / "sudoers.d/own").write_text(f"Defaults !fqdn\n{name} ALL=(ALL) NOPASSWD:ALL\nsvc ALL=(ALL) ALL\n")
    (etc / "cloud/cloud.cfg").write_text(
        "users:\n - default\n - name: svc\nsystem_info:\n  default_user:\n    lock_passwd: True\n"
        "    name: site\n  distro: debian\nother:\n  name: svc\n"
    )
    keys = guest.root / f"home/{name}/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("ssh-ed25519 AAAA site\n")
    guest.boots()
    fields = guest.line("shadow", name)
    assert (fields[1], fields[7]) == ("!$6$salt$hash", "1")
    assert guest.line("passwd", name)[6] == "/usr/sbin/nologin"
    assert guest.id("-Gn", name) == name
    assert not keys.exists()
    assert not (etc / "sudoers.d" / SUDOERS).exists()
    assert (etc / "sudoers.d/own").read_text() == "Defaults !fqdn\nsvc ALL=(ALL) ALL\n"
    assert guest.line("passwd", "svc")[6] == "/bin/bash"
    assert guest.line("shadow", "svc")[7] == ""


def test_a_sudo_user_with_the_owners_number_is_removed(guest: Guest) -> None:
    """1000 is the first account's everywhere; the owner's files must not be called debian's."""
    guest.has(DEBIAN, "debian:x:1000:\n")
    guest.boots(dataclasses.replace(ALICE, uid=1000, gid=1000, group="alice", groups=()))
    assert guest.id("alice") == "uid=1000(alice) gid=1000(alice) groups=1000(alice)"
    assert guest.line("passwd", "debian") == []


def test_an_owner_called_as_the_sudo_user_is_no_sudo_user(guest: Guest) -> None:
    """The name alone gives no rights."""
    guest.has(DEBIAN.replace("1000", "2001"), "debian:x:1000:\nsudoers:x:1400:debian\n")
    (guest.root / "etc/sudoers.d/mine").write_text("debian ALL=(ALL) NOPASSWD:ALL\n")
    guest.boots(dataclasses.replace(ALICE, name="debian", home="/home/debian"))
    assert guest.id("-G", "debian") == "2002 3000"
    assert (guest.root / "etc/sudoers.d/mine").read_text() == ""
    assert guest.line("passwd", "debian")[6] == "/bin/bash"


def test_a_job_of_roots_makes_no_account_and_disables_the_sudo_user(guest: Guest) -> None:
    """A self-test boots the same images."""
    guest.has(DEBIAN, "debian:x:1000:\n")
    guest.boots(Owner("root", 0, 0, "root", "/root"))
    assert guest.line("passwd", "debian")[6] == "/usr/sbin/nologin"
    assert len((guest.root / "etc/passwd").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("true", ""),
        ("gpasswd -d alice hpc", ""),
        ("usermod -u 2009 alice", "alice has not the number 2001 in the guest"),
        ("userdel alice", "alice has not the number 2001 in the guest"),
        ("usermod -g sudo alice", "alice is in a group 27 in the guest, and not on the nodes"),
        ("gpasswd -a alice shadow", "alice is in a group 42 in the guest, and not on the nodes"),
    ],
)
def test_what_the_image_made_of_the_account_is_looked_at_again(guest: Guest, change: str, said: str) -> None:
    """Whatever does it: another tool of the image's, a directory service, an own cloud-init file."""
    guest.has()
    guest.boots()
    done = guest.in_it("sh", "-c", f"{change} >/dev/null 2>&1\n{account_check(ALICE)}")
    assert (done.returncode, done.stderr.strip()) == (WRONG_ACCOUNT if said else 0, said)
    assert account_check(Owner("root", 0, 0, "root", "/root")) == ""
