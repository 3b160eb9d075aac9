"""The micro guest's getent, groupadd and useradd: the part of the real ones that seeds use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guest_shell import Root, needs_busybox

pytestmark = needs_busybox


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """An empty guest."""
    return Root(tmp_path / "root")


def test_a_group_gets_the_number_asked_for_or_the_next_free(root: Root) -> None:
    """Numbers of people's groups begin at 1000."""
    assert root.run("groupadd -g 2001 alice && groupadd a && groupadd b").returncode == 0
    assert root.read("etc/group").splitlines()[-3:] == ["alice:x:2001:", "a:x:2002:", "b:x:2003:"]


@pytest.mark.parametrize(
    ("command", "code"),
    [("groupadd users", 9), ("groupadd -f users", 0), ("groupadd -g 100 x", 4), ("groupadd -o -g 100 x", 0),
     ("groupadd 'a:b'", 3), ("groupadd -g 1x x", 3), ("groupadd", 3)],
)  # fmt: skip
def test_groupadd_ends_with_the_real_ones_codes(root: Root, command: str, code: int) -> None:
    """A seed's ``getent || groupadd`` depends on them."""
    assert root.run(command).returncode == code


def test_groupmod_gives_a_group_another_number(root: Root) -> None:
    """And changes no other; codes are the real one's."""
    before = root.read("etc/group")
    assert root.run("groupmod -o -g 2000 users").returncode == 0
    assert root.read("etc/group") == before.replace("users:x:100:", "users:x:2000:")
    for command, code in (("groupmod -o -g 1 nothere", 6), ("groupmod -o -g 1x users", 3), ("groupmod x", 2)):
        assert root.run(command).returncode == code
    assert root.read("etc/group") == before.replace("users:x:100:", "users:x:2000:")


def test_an_account_is_what_the_seed_says(root: Root) -> None:
    """Number, group, shell, home, memberships; no password; the home is the account's own."""
    uid, gid = (2001, 2001) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    home = f"{root.directory}/home/al"
    said = root.run(
        f"groupadd -g {gid} people && groupadd proj && "
        f"useradd -m -u {uid} -g people -s /bin/bash -G proj,users -d {home} al"
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert root.read("etc/passwd").splitlines()[-1] == f"al:x:{uid}:{gid}::{home}:/bin/bash"
    assert root.read("etc/shadow").splitlines()[-1].startswith("al:*:")
    assert {"users:x:100:al", f"people:x:{gid}:"} < set(root.read("etc/group").splitlines())
    assert Path(home).stat().st_uid == uid


@pytest.mark.parametrize(
    ("command", "code"),
    [("useradd root", 9), ("useradd -u 0 x", 4), ("useradd -g nothere x", 6), ("useradd -G nothere x", 6),
     ("useradd -- -x", 3), ("useradd 'a:b'", 3), ("useradd -u x x", 3)],
)  # fmt: skip
def test_useradd_ends_with_the_real_ones_codes(root: Root, command: str, code: int) -> None:
    """And leaves the files as they were."""
    before = root.read("etc/passwd")
    assert root.run(command).returncode == code
    assert root.read("etc/passwd") == before


def test_without_a_group_the_account_gets_one_of_its_name(root: Root) -> None:
    """As Debian does."""
    assert root.run("useradd bob").returncode == 0
    assert root.read("etc/group").splitlines()[-1] == "bob:x:1000:"


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [("getent group 100", 0, "users:x:100:\n"), ("getent group nothere", 2, ""),
     ("getent passwd root", 0, "root:x:0:0:root:/root:/bin/bash\n"), ("getent shadow root", 1, ""),
     ("getent hosts two", 0, "10.0.0.2 two 2\n"), ("getent hosts three", 2, "")],
)  # fmt: skip
def test_getent_finds_by_name_and_number(root: Root, command: str, code: int, output: str) -> None:
    """Names and numbers match whole, and its codes are the real one's."""
    root.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.2 two 2\n")
    said = root.run(command)
    assert (said.returncode, said.stdout) == (code, output)
