"""How guests get to know each other: the script, run by real shells in a directory that is a guest's root."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from render_kit import ALICE, illegal, keys_for, owned_by, plan_of

from nornir_torque_vm.errors import InventoryError, NoAddress, RequestError
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.roster import known_hosts, pbsdsh, roster_script

ADDRESSES = {"j17-3-r0": "10.89.0.100", "j17-3-r1": "10.89.0.101"}
HOSTS = """\
# torque-vm: begin
10.89.0.100 j17-3-r0
10.89.0.101 j17-3-r1
# torque-vm: end
"""
MINE = {"uid": os.geteuid(), "gid": os.getegid()}
"""Files can be given to oneself by anybody."""


@pytest.fixture(params=[["sh"], ["bash", "--posix"], ["busybox", "sh"]], ids="-".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """The root directory of a guest whose cloud-init has done its work."""
    root = tmp_path / "a guest"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 j17-3-r0\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1:1:A B:/home/alice:/bin/bash\n")
    (root / "home/alice").mkdir(parents=True)
    return root


def run(
    shell: list[str], root: Path, plan: Plan | None = None, addresses: Mapping[str, str] = ADDRESSES
) -> subprocess.CompletedProcess[str]:
    script = roster_script(plan or owned_by(**MINE), addresses, keys_for(), root=str(root))
    return subprocess.run(
        [*shell, "-s"], input=script, capture_output=True, text=True, timeout=20, check=False, cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def pinned() -> str:
    return f"# torque-vm: begin\n{known_hosts(plan_of(), ADDRESSES, keys_for())}# torque-vm: end\n"


def test_every_guest_knows_all_names_keys_and_the_users_key(shell: list[str], guest: Path) -> None:
    """Its own name leads to its address on the network, before any loopback address."""
    done = run(shell, guest)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ssh = guest / "home/alice/.ssh"
    assert (guest / "etc/hosts").read_text() == f"{HOSTS}127.0.0.1 localhost\n127.0.1.1 j17-3-r0\n"
    assert (guest / "etc/ssh/ssh_known_hosts").read_text() == pinned()
    assert (ssh / "known_hosts").read_text() == pinned()
    assert (ssh / "id_ed25519").read_text() == keys_for().user.private
    assert (ssh / "id_ed25519.pub").read_text() == keys_for().user.public + "\n"
    modes = {name: mode for name, (mode, _) in tree(guest).items()}
    assert modes["home/alice/.ssh"] == 0o700
    assert {modes[f"home/alice/.ssh/{name}"] for name in ("id_ed25519", "id_ed25519.pub", "known_hosts")} == {
        0o600
    }
    assert (modes["etc/hosts"], modes["etc/ssh/ssh_known_hosts"], modes["etc/ssh"]) == (0o644, 0o644, 0o755)


def test_guests_of_a_domain_have_full_names_too(guest: Path) -> None:
    """The full name is the canonical one, and its key is pinned as well."""
    script = roster_script(owned_by(**MINE), ADDRESSES, keys_for(), domain="g.example", root=str(guest))
    subprocess.run(["sh", "-s"], input=script, text=True, timeout=20, check=True, cwd="/")
    hosts = (guest / "etc/hosts").read_text().splitlines()
    assert hosts[1] == "10.89.0.100 j17-3-r0.g.example j17-3-r0"
    known = (guest / "etc/ssh/ssh_known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in known[1:4]] == ["j17-3-r0.g.example", "j17-3-r0", "10.89.0.100"]


def test_a_second_run_changes_nothing(shell: list[str], guest: Path) -> None:
    """A task may be repeated."""
    run(shell, guest)
    before = tree(guest)
    assert run(shell, guest).returncode == 0
    assert tree(guest) == before


def test_another_run_replaces_what_the_first_one_wrote(shell: list[str], guest: Path) -> None:
    """And nothing else in the files."""
    (guest / "etc/ssh").mkdir()
    (guest / "etc/ssh/ssh_known_hosts").write_text("other ssh-ed25519 AAAA\n")
    run(shell, guest, addresses={**ADDRESSES, "j17-3-r1": "10.89.0.77"})
    with (guest / "etc/hosts").open("a") as file:
        file.write("10.0.0.1 storage\n")
    run(shell, guest)
    assert (guest / "etc/hosts").read_text() == (
        f"{HOSTS}127.0.0.1 localhost\n127.0.1.1 j17-3-r0\n10.0.0.1 storage\n"
    )
    assert (guest / "etc/ssh/ssh_known_hosts").read_text() == f"other ssh-ed25519 AAAA\n{pinned()}"


def test_the_job_finds_its_directories(shell: list[str], guest: Path) -> None:
    """Script and nodefile have the paths they had on the node; they are nobody else's business."""
    run(shell, guest)
    modes = {name: mode for name, (mode, _) in tree(guest).items() if name.startswith("var")}
    assert modes["var/spool/torque/aux"] == modes["var/spool/torque/mom_priv/jobs"] == 0o700
    assert modes["var/spool/torque/mom_priv"] == modes["var/spool"] == 0o755


def test_every_guest_has_pbsdsh(shell: list[str], guest: Path) -> None:
    """For everybody, and again in place of an older one of ours."""
    tool = guest / "usr/local/bin/pbsdsh"
    for _ in range(2):
        done = run(shell, guest)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tool.read_text(), stat.S_IMODE(tool.stat().st_mode)) == (pbsdsh(), 0o755)
        tool.write_text("#!/bin/sh\n# torque-vm: pbsdsh as it was\n")


def test_a_pbsdsh_of_the_images_own_stays(shell: list[str], guest: Path) -> None:
    """Whatever it is good for."""
    tool = guest / "usr/local/bin/pbsdsh"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    assert run(shell, guest).returncode == 0
    assert tool.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("at", ["/usr", "/usr/local", "/usr/local/bin"])
def test_nothing_is_put_where_others_may_share_it(shell: list[str], guest: Path, at: str) -> None:
    """A site's /usr/local by NFS is that of its nodes as well, which have a pbsdsh of TORQUE's."""
    root = str(guest).replace(" ", "_")  # as the kernel would write it, less its escapes
    guest.rename(root)
    guest = Path(root)
    (guest / "proc").mkdir()
    (guest / "proc/mounts").write_text(
        f"proc {guest}/proc proc rw 0 0\nserver:/tools {guest}{at} nfs4 rw 0 0\n"
    )
    assert run(shell, guest).returncode == 0
    assert not (guest / "usr").exists()
    (guest / "proc/mounts").write_text(
        f"/dev/vda2 {guest} ext4 rw 0 0\nserver:/home {guest}/home nfs4 rw 0 0\n"
    )
    assert run(shell, guest).returncode == 0
    assert (guest / "usr/local/bin/pbsdsh").exists()


def test_a_guest_without_room_for_pbsdsh_is_still_a_guest(shell: list[str], guest: Path) -> None:
    """Jobs that need none run."""
    (guest / "usr").write_text("no directory")
    done = run(shell, guest)
    assert done.returncode == 0
    assert done.stderr.endswith("torque-vm: this guest has no pbsdsh\n")
    assert (guest / "home/alice/.ssh/id_ed25519").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_everything_in_the_home_belongs_to_the_owner(shell: list[str], guest: Path) -> None:
    """By number: the guest's name service may be slow or missing."""
    assert run(shell, guest, plan_of()).returncode == 0
    owned = [guest / "home/alice/.ssh", *(guest / "home/alice/.ssh").iterdir()]
    owned += [guest / "var/spool/torque/aux", guest / "var/spool/torque/mom_priv/jobs"]
    assert len(owned) >= 6
    assert {(path.stat().st_uid, path.stat().st_gid) for path in owned} == {(ALICE.uid, ALICE.gid)}
    assert (guest / "etc/hosts").stat().st_uid == 0


@pytest.mark.skipif(shutil.which("dropbearconvert") is None, reason="dropbearconvert is not installed")
def test_dropbears_client_gets_the_key_in_its_own_form(shell: list[str], guest: Path) -> None:
    """It cannot read OpenSSH's."""
    run(shell, guest)
    key = guest / "home/alice/.ssh/id_dropbear"
    shown = subprocess.run(
        ["dropbearkey", "-y", "-f", key], capture_output=True, text=True, check=True
    ).stdout
    assert keys_for().user.public.split()[1] in shown
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_key_of_the_users_own_is_never_overwritten(shell: list[str], guest: Path) -> None:
    """Homes may be shared with the world outside."""
    ssh = guest / "home/alice/.ssh"
    ssh.mkdir()
    (ssh / "id_ed25519").write_text("precious\n")
    done = run(shell, guest)
    assert done.returncode == 0
    assert done.stderr == f"torque-vm: {ssh}/id_ed25519 is the user's own and stays as it is\n"
    assert sorted(path.name for path in ssh.iterdir()) == ["id_ed25519", "known_hosts"]
    assert (ssh / "id_ed25519").read_text() == "precious\n"


def test_a_key_that_others_could_read_is_closed(shell: list[str], guest: Path) -> None:
    """Ssh would refuse to use it."""
    run(shell, guest)
    key = guest / "home/alice/.ssh/id_ed25519"
    key.chmod(0o644)
    run(shell, guest)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_home_is_where_the_guest_says(shell: list[str], guest: Path) -> None:
    """Not where the node has it; without an account of that name the node's word counts."""
    (guest / "data/bob").mkdir(parents=True)
    run(shell, guest, owned_by(home="/elsewhere", **MINE))
    assert (guest / "home/alice/.ssh/id_ed25519").exists()
    run(shell, guest, owned_by(name="bob", home="/data/bob", **MINE))
    assert (guest / "data/bob/.ssh/id_ed25519").exists()


def test_a_missing_home_is_an_error_not_a_directory_of_roots(shell: list[str], guest: Path) -> None:
    """One line says which."""
    done = run(shell, guest, owned_by(name="bob", home="/home/bob", **MINE))
    assert done.returncode == 1
    assert done.stderr == f"torque-vm: the home directory {guest}/home/bob of bob does not exist\n"
    assert not (guest / "home/bob").exists()


def test_a_step_that_fails_ends_it(shell: list[str], guest: Path) -> None:
    """A guest that knows only half of the others must not count as ready."""
    (guest / "etc/passwd").unlink()
    assert run(shell, guest).returncode != 0
    assert not (guest / "home/alice/.ssh").exists()


names = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters="\ufffe\uffff:/"),
    min_size=1,
)


@given(name=names, home=names)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_names_are_text_to_every_shell(
    tmp_path_factory: pytest.TempPathFactory, name: str, home: str
) -> None:
    """Names of accounts and directories may look like anything."""
    root = tmp_path_factory.mktemp("guest")
    place = root / "home" / f"_{home[:40]}"
    place.mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("")
    plan = owned_by(name=name, home=f"/home/{place.name}", **MINE)
    for words in (["sh"], ["busybox", "sh"]):
        if shutil.which(words[0]):
            done = run(words, root, plan)
            assert (done.returncode, done.stderr) == (0, "")
            assert (place / ".ssh/id_ed25519").read_text() == keys_for().user.private
    assert sorted(path.name for path in root.iterdir()) == ["etc", "home", "usr", "var"]


def test_known_hosts_has_a_line_for_each_name_and_each_address() -> None:
    """Without the keys' comments; dropbear's client does not read several names in a line."""
    keys = keys_for().hosts
    first, second = (" ".join(keys[name].public.split()[:2]) for name in ADDRESSES)
    assert known_hosts(plan_of(), ADDRESSES, keys_for()) == (
        f"j17-3-r0 {first}\n10.89.0.100 {first}\nj17-3-r1 {second}\n10.89.0.101 {second}\n"
    )


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_ssh_finds_the_keys_it_looks_for(tmp_path: Path) -> None:
    """OpenSSH's own look-up in such a file."""
    file = tmp_path / "known_hosts"
    file.write_text(pinned())
    for known_as in (*ADDRESSES, *ADDRESSES.values()):
        found = subprocess.run(
            ["ssh-keygen", "-F", known_as, "-f", file], capture_output=True, text=True, check=True
        )
        assert f"\n{known_as} ssh-ed25519 AAAA" in found.stdout


@pytest.mark.parametrize("address", [None, ""])
def test_a_missing_address_is_named(address: str | None) -> None:
    """Every guest has to know every other."""
    known = {"j17-3-r0": "10.89.0.100"} | ({} if address is None else {"j17-3-r1": address})
    with pytest.raises(NoAddress) as caught:
        roster_script(plan_of(), known, keys_for())
    assert str(caught.value) == "guest j17-3-r1: its address is not known; run discover_address first"


@pytest.mark.parametrize(
    "address", ["10.89.0.1 evil", "10.89.0.1\n10.0.0.1 head", "node1", "10.89.0", "$(id)"]
)
def test_only_addresses_count_as_addresses(address: str) -> None:
    """They come from guests' agents and neighbor tables."""
    with pytest.raises(InventoryError) as caught:
        known_hosts(plan_of(), {**ADDRESSES, "j17-3-r0": address}, keys_for())
    assert str(caught.value) == f"guest j17-3-r0: {address!r} is not an address"


def test_a_guests_name_has_to_be_a_host_name() -> None:
    """It becomes a line of /etc/hosts, where quoting does not help."""
    plan = plan_of()
    odd = dataclasses.replace(plan.guests[0], name="a b")
    with pytest.raises(InventoryError, match="'a b' is not a host name"):
        roster_script(dataclasses.replace(plan, guests=(odd,)), {"a b": "10.0.0.1"}, keys_for())


@given(char=illegal)
def test_a_character_no_shell_can_hold_is_refused(char: str) -> None:
    """NUL ends a word, whatever is quoted."""
    for changes in ({"name": f"a{char}"}, {"home": f"/a{char}"}):
        with pytest.raises(RequestError):
            roster_script(owned_by(**changes), ADDRESSES, keys_for())


def test_in_a_guest_the_root_is_the_root() -> None:
    """The prefix is for tests."""
    assert roster_script(plan_of(), ADDRESSES, keys_for()).startswith("root=''\n")


def test_a_roster_of_hundreds_is_made_in_milliseconds() -> None:
    """About 8 ms for 256 guests when this was written; each guest gets the same text."""
    plan, keys = plan_of(256), keys_for(256)
    addresses = {guest.name: f"10.89.{guest.rank // 250}.{guest.rank % 250 + 1}" for guest in plan.guests}
    began = time.thread_time()
    script = roster_script(plan, addresses, keys)
    assert time.thread_time() - began < 0.1
    assert script.count("\n10.89.") >= 256
