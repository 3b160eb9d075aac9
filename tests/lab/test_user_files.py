"""The user's files in real guests: read, written, the owner's; and what root in a guest cannot do to them."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from driving import SMALL, Job, history, leftovers, pool_state, shell, wait_for
from nfs_server import nfs_server

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER, toml
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WORK = "/srv/work"
"""A directory of users' beside their homes."""
BOB = 2002
GROUP = 3003
"""Of a project that the job's owner is in."""
SECONDS = 240.0
KINDS = ("9p", "virtiofs", "nfs")


@pytest.fixture
def files_lab(lab: Lab) -> Iterator[Lab]:
    """The lab with an image that mounts files, and homes that are empty before and after."""
    build("micro-files", cache_dir())
    with contextlib.ExitStack() as stack:
        for node in lab.node_names:
            stack.callback(shell, lab, node, f"rm -rf {USER.home}/* {USER.home}/.ssh {WORK} /home/bob")
        yield lab


@contextlib.contextmanager
def with_files(lab: Lab, kind: str, **more: object) -> Iterator[Path]:
    """Have jobs get their files in one way; the root of the tree these are in, as seen from here."""
    values: dict[str, object] = {"user_files": kind, "work_dirs": [WORK], "img_default": "micro-files.qcow2"}
    with contextlib.ExitStack() as stack:
        top = lab.root("node1")
        if kind == "nfs":
            top = stack.enter_context(nfs_server(lab, "node2", "/srv/export", "/export"))
            values["nfs_sources"] = ["node2:/export/home=/home", f"node2:/export{WORK}={WORK}"]
        for folder in (USER.home, f"{WORK}/{USER.name}"):
            path = top / folder[1:]
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, USER.uid, USER.gid)
            path.chmod(0o700)
        for node in lab.node_names:
            file = lab.root(node) / "etc/group"
            text = file.read_text()
            stack.callback(file.write_text, text)
            file.write_text(f"{text}project:x:{GROUP}:{USER.name}\n")
            file = lab.root(node) / "etc/torque-vm/settings.toml"
            text = file.read_text()
            stack.callback(file.write_text, text)
            kept = [line for line in text.splitlines() if line.split(" ")[0] not in values | more]
            file.write_text("\n".join([*kept, toml(values | more)]))
        yield top


def owned(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def write_as_owner(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, USER.uid, USER.gid)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_reads_and_writes_its_home_and_its_work_directory(files_lab: Lab, kind: str) -> None:
    """What it makes is the owner's on the host; nothing of the guest's gets into the home, and all ends."""
    before = pool_state(files_lab.pool)
    with with_files(files_lab, kind) as top:
        home, work = top / USER.home[1:], top / f"{WORK}/{USER.name}"[1:]
        write_as_owner(home / "program", "#!/bin/sh\necho ran in $(pwd); cat input\n", 0o700)
        write_as_owner(work / "input", "from the host\n")
        (home / "shared").write_text("the group's\n")
        os.chown(home / "shared", 0, GROUP)
        (home / "shared").chmod(0o640)
        job = Job(
            files_lab,
            "cat ~/shared\n"
            f"cd {WORK}/{USER.name} && ~/program && mkdir out && echo made >out/file && mv out/file result\n"
            "umask 027; echo $(id -u) >~/made; chmod 4755 ~/made; ln -s made ~/link\n"
            "for guest in $(uniq $PBS_NODEFILE); do ssh $guest 'hostname | tee -a seen'; done\n"
            "grep -c ' /home/alice .*nosuid,nodev' /proc/mounts; touch ~/.ssh/x /root/x 2>/dev/null; echo $?",
            f"{SMALL},vms_per_node=2",
        )
        ended = job.run()
        guests = [f"j{ended.outcome.job_id.partition('.')[0]}-r{rank}" for rank in (0, 1)]
        assert (ended.exit_code, job.lines, job.errors) == (
            0, ["the group's", f"ran in {WORK}/{USER.name}", "from the host", *guests, "1", "1"], "",
        )  # fmt: skip
        assert (home / "made").read_text() == f"{USER.uid}\n"
        assert (work / "result").read_text() == "made\n"
        for path in (home / "made", home / "link", home / "seen", work / "result", work / "out"):
            assert owned(path) == (USER.uid, USER.gid), path
        assert (home / "seen").read_text().split() == guests
        assert list((home / ".ssh").iterdir()) == []
        assert "files" in ended.timeline.rows()[0].phases
    assert leftovers(files_lab) == {}
    assert pool_state(files_lab.pool) == before
    assert shell(files_lab, "node1", "grep -l virtiofsd /proc/[0-9]*/comm || true").strip() == ""


def test_files_are_printed_as_often_as_the_job_prints_them(files_lab: Lab) -> None:
    """While a file is sent from 9p into a pipe, the kernel says too early that there is something in it.

    The micro guest's ssh server took what it then did not find for the end of the output.
    """
    with with_files(files_lab, "9p") as top:
        write_as_owner(top / USER.home[1:] / "input", "line\n")
        times = "n=0; while [ $n -lt 60 ]; do cat input; n=$((n + 1)); done"
        job = Job(files_lab, f"{times}; ssh $(uniq $PBS_NODEFILE) '{times}; exit 3'; echo $?; exit 7")
        ended = job.run()
    assert (ended.exit_code, job.errors) == (7, "")
    assert job.lines == [*["line"] * 120, "3"]
    assert leftovers(files_lab) == {}


class Running:
    """A job that waits in its guest, and root in there by the job's admin key."""

    def __init__(self, lab: Lab, request: str = SMALL) -> None:
        self.lab = lab
        self.job = Job(lab, "echo ready; while [ ! -e ~/stop ]; do sleep 0.3; done; cat ~/stop", request)
        self._thread = threading.Thread(target=self.job.run)

    def __enter__(self) -> Self:
        """Return when the job runs."""
        self._thread.start()
        try:
            wait_for(lambda: "ready" in self.job.lines or not self._thread.is_alive(), SECONDS)
            assert "ready" in self.job.lines, self.job.errors
            (state,) = (self.lab.root("node1") / "run/torque-vm/jobs").iterdir()
            (self.address,) = json.loads((state / "addresses.json").read_text()).values()
            keys = json.loads((state / "keys.json").read_text())
            (pair,) = keys["hosts"].values()
            self._keep("admin", keys["admin"]["private"])
            self._keep("pinned", f"{self.address} {pair['public']}\n")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _keep(self, name: str, text: str) -> None:
        path = self.lab.root("node1") / "root" / name
        path.write_text(text)
        path.chmod(0o600)

    def root(self, text: str) -> list[str]:
        """Run shell text as root in the guest; the lines it printed, errors too."""
        options = ["-F", "none", "-i", "/root/admin", "-o", "UserKnownHostsFile=/root/pinned"]
        words = ["ssh", *options, "-o", "BatchMode=yes", f"root@{self.address}", "sh -s 2>&1"]
        return self.lab.run("node1", words, input=text, seconds=SECONDS, check=False).stdout.splitlines()

    def __exit__(self, *_: object) -> None:
        """Let the job end; its session is over afterwards."""
        self.job.session.cancel()
        self._thread.join(SECONDS)
        for name in ("admin", "pinned"):
            (self.lab.root("node1") / "root" / name).unlink(missing_ok=True)


def test_root_in_a_guest_with_9p_can_do_what_the_owner_can_and_nothing_else(files_lab: Lab) -> None:
    """Whoever is root there: an attacker in the kernel, or the user in an image of their own."""
    node = files_lab.root("node1")
    bob = node / f"{WORK}/bob"[1:]
    with with_files(files_lab, "9p") as top, Running(files_lab) as guest:
        home = top / USER.home[1:]
        bob.mkdir(mode=0o755)
        (bob / "secret").write_text("bob's own")
        (bob / "secret").chmod(0o600)
        for path in (bob, bob / "secret"):
            os.chown(path, BOB, BOB)
        bobs = f"{WORK}/bob/secret"
        secret = guest.root(f"cat {bobs}; echo x >>{bobs}; rm -f {bobs}; mv {bobs} /tmp/x; id -u")
        assert secret[-1] == "0"
        assert (bob / "secret").read_text() == "bob's own"
        assert not any("bob's own" in line for line in secret)

        guest.root(f"cd {USER.home}; cp /bin/busybox shell; chown 0:0 shell; chmod 6755 shell; mknod d b 8 0")
        made = (home / "shell").lstat()
        assert (made.st_uid, made.st_gid) == (USER.uid, USER.gid), "setuid for the owner, nobody else"
        assert not (home / "d").exists() or not stat.S_ISBLK((home / "d").lstat().st_mode)
        guest.root(f"chown {BOB}:{BOB} {USER.home}/shell; chown -h 0 {USER.home}; chmod 4777 {WORK}")
        for path in (home / "shell", home):
            assert owned(path) == (USER.uid, USER.gid)
        assert (node / WORK[1:]).stat().st_uid == 0
        assert not (node / WORK[1:]).stat().st_mode & 0o4022

        # Links are the guest's business: the host follows none, whoever made it.
        (home / "out").symlink_to("/etc")
        guest.root(f"cd {USER.home}; ln -s /etc/torque-vm in; ln -s / top; echo guest >/etc/hostname.guest")
        assert guest.root(f"cat {USER.home}/out/hostname.guest") == ["guest"]
        assert not any("img_default" in line for line in guest.root(f"cat {USER.home}/in/settings.toml"))
        assert not (node / "etc/hostname.guest").exists()

        # The emulator: nobody's rights but the owner's.
        find = "grep -l '^qemu-system' /proc/[0-9]*/comm"
        (process,) = shell(files_lab, "node1", find).replace("/comm", "/status").split()
        lines = shell(files_lab, "node1", f"cat {process}").splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert status["Uid"].split() == [str(USER.uid)] * 4
        assert status["Gid"].split() == [str(USER.gid)] * 4
        assert status["Groups"].split() == [str(USER.gid), str(GROUP)]
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        guest.root(f"echo bye >{USER.home}/stop")
        wait_for(lambda: "bye" in guest.job.lines, SECONDS)
    assert leftovers(files_lab) == {}


def test_a_home_that_a_node_does_not_have_fails_the_job_in_one_line(files_lab: Lab) -> None:
    """Nobody runs in an empty home; the job is the site's to mend, and would be requeued."""
    with with_files(files_lab, "9p"):
        shell(files_lab, "node1", f"mv {USER.home} {USER.home}.away")
        try:
            job = Job(files_lab, "echo never")
            ended = job.run()
        finally:
            shell(files_lab, "node1", f"rm -rf {USER.home}; mv {USER.home}.away {USER.home}")
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("requeue", 122, [])
    (line,) = job.errors.splitlines()
    assert USER.home in line
    assert history(files_lab, ended, "verdict")["outcome"] == "site"
    assert leftovers(files_lab) == {}


def test_a_directory_that_the_file_server_does_not_have_fails_the_job_in_one_line(files_lab: Lab) -> None:
    """The guest is up by then; it says what its kernel said."""
    with with_files(files_lab, "nfs") as top:
        (top / f"{WORK}/{USER.name}"[1:]).rmdir()
        (top / WORK[1:]).rmdir()
        job = Job(files_lab, "echo never")
        ended = job.run()
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("requeue", 122, [])
    (line,) = job.errors.splitlines()
    assert f"it has no files of alice by nfs: {WORK} was not mounted" in line
    assert leftovers(files_lab) == {}


def test_a_link_in_place_of_the_homes_ssh_directory_covers_nothing_of_the_guest(files_lab: Lab) -> None:
    """With ``.ssh`` leading to /etc the user's own files would lie over the guest's system."""
    with with_files(files_lab, "9p") as top:
        (top / USER.home[1:] / ".ssh").symlink_to("/etc")
        job = Job(files_lab, "echo never")
        ended = job.run()
    assert (ended.exit_code, job.lines) == (122, [])
    assert "which leads to /etc" in job.errors
    assert leftovers(files_lab) == {}
