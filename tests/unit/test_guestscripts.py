"""Scripts for guests: whose they are, in which order they run, where they come from, how they are run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from render_kit import ALICE, plan_of

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Blame, RequestError, SettingsError, StateError
from nornir_torque_vm.guestscripts.reading import read_trusted, scripts_of
from nornir_torque_vm.guestscripts.script import (
    GuestScript,
    Kind,
    in_order,
    scripts_from_json,
    scripts_to_json,
)
from nornir_torque_vm.model import Distro, FileRef, Image
from nornir_torque_vm.render.guestscript import FOLDER, environment, put_command, run_command
from nornir_torque_vm.request import Request
from nornir_torque_vm.wrapper.inputs import MAX_FILE

IMAGE = Image("micro.qcow2", "/pool/micro.qcow2")
ALL = tuple(GuestScript(kind, f"#!/bin/sh\n: {kind} \xe9\n".encode("latin-1")) for kind in Kind)


def test_the_users_scripts_run_between_the_sites() -> None:
    """What the site sets up is there for the user's, and goes after it."""
    assert [one.kind for one in in_order(ALL[::-1], before=True)] == ["guest_prologue", "vm_prologue"]
    assert [one.kind for one in in_order(ALL[::-1], before=False)] == ["vm_epilogue", "guest_epilogue"]


def test_who_wrote_a_script_runs_it_and_is_to_blame_for_it() -> None:
    """Root runs nothing of a user's."""
    assert {kind: (kind.as_root, kind.blame) for kind in Kind} == {
        Kind.GUEST_PROLOGUE: (True, Blame.SITE),
        Kind.VM_PROLOGUE: (False, Blame.USER),
        Kind.VM_EPILOGUE: (False, Blame.USER),
        Kind.GUEST_EPILOGUE: (True, Blame.SITE),
    }


def test_scripts_are_kept_byte_for_byte() -> None:
    """Also those that are no text."""
    assert scripts_from_json(scripts_to_json(ALL)) == ALL


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "scripts": {}}', '{"version": 1, "scripts": {"x": ""}}']
)
def test_damaged_state_is_an_error_with_a_sentence(text: str) -> None:
    """Another version's, or none at all."""
    with pytest.raises(StateError, match="scripts"):
        scripts_from_json(text)


def test_a_job_has_the_sites_scripts_and_its_own(tmp_path: Path) -> None:
    """Read at once, those for its end too."""
    own, ours = tmp_path / "own", tmp_path / "ours"
    own.write_bytes(b"own")
    ours.write_bytes(b"ours")
    ref = FileRef(str(own), hashlib.sha256(b"own").hexdigest())
    settings = Settings(guest_prologue=str(ours), guest_epilogue=str(ours))
    asked = Request(vm_prologue=ref, vm_epilogue=ref)
    found = scripts_of(asked, settings, caller(), IMAGE, Deadline.after(30))
    assert [(one.kind, one.content) for one in found] == [
        ("guest_prologue", b"ours"), ("vm_prologue", b"own"), ("vm_epilogue", b"own"),
        ("guest_epilogue", b"ours"),
    ]  # fmt: skip
    assert scripts_of(Request(), Settings(), caller(), IMAGE, Deadline.after(30)) == ()


def test_a_script_that_changed_since_the_submission_is_not_run(tmp_path: Path) -> None:
    """As with every file of a request."""
    (tmp_path / "own").write_bytes(b"other")
    asked = Request(vm_epilogue=FileRef(str(tmp_path / "own"), "0" * 64))
    with pytest.raises(RequestError, match=r"vm_epilogue names .* has changed since the job was submitted"):
        scripts_of(asked, Settings(), caller(), IMAGE, Deadline.after(30))


def test_guests_of_osv_run_no_scripts(tmp_path: Path) -> None:
    """The user is told; the site's are for the others."""
    image = dataclasses.replace(IMAGE, distro=Distro.OSV)
    with pytest.raises(RequestError, match="vm_prologue cannot run in guests of OSv"):
        scripts_of(
            Request(vm_prologue=FileRef("/x", "0" * 64)), Settings(), caller(), image, Deadline.after(1)
        )
    settings = Settings(guest_prologue=str(tmp_path / "missing"))
    assert scripts_of(Request(), settings, caller(), image, Deadline.after(1)) == ()


def refused(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_trusted("guest_prologue", str(path))
    return str(caught.value)


def test_a_script_that_others_could_change_is_not_run_as_root(tmp_path: Path) -> None:
    """Neither the file nor a directory above it may be theirs."""
    script = tmp_path / "script"
    script.write_text("true")
    script.chmod(0o666)
    assert "others than root could change" in refused(script)
    script.chmod(0o644)
    assert read_trusted("guest_prologue", str(script)) == b"true"
    tmp_path.chmod(0o777)
    assert "others than root could change" in refused(script)
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "large"])
def test_what_is_no_script_is_an_error_of_the_settings(tmp_path: Path, kind: str) -> None:
    """None of them holds the hook up."""
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"x" * (MAX_FILE + 1 if kind == "large" else 0))
    assert refused(path).startswith(f"guest_prologue names {show(str(path))}, which ")


def test_a_script_knows_its_guest_and_its_job() -> None:
    """By rank, and by the name the earlier system had for the guests of a node."""
    plan = plan_of()
    guest = plan.guests[1]
    assert environment(plan, guest, Kind.VM_PROLOGUE) == {
        "PBS_JOBID": plan.job.id,
        "PBS_VMS_PN": str(len(plan.on(guest.node))),
        "VM_COUNT": str(len(plan.guests)),
        "VM_NAME": guest.name,
        "VM_NODE": guest.node,
        "VM_RANK": "1",
        "VM_SCRIPT": "vm_prologue",
        "VM_USER": "alice",
    }


class Guest:
    """A directory in which the commands of root are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sh(self, command: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a guest's sshd would."""
        words = ["sh", "-c", command.replace(FOLDER, str(self.folder))]
        environment = {"PATH": "/usr/bin:/bin", **variables}
        done = subprocess.run(
            words, input=stdin, env=environment, capture_output=True, timeout=30, check=False
        )
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def run(self, script: str, seconds: int = 20, **variables: str) -> subprocess.CompletedProcess[str]:
        """Put a script of the site's in place and run it."""
        me = dataclasses.replace(ALICE, uid=os.geteuid(), gid=os.getegid())
        put = self.sh(put_command(Kind.VM_PROLOGUE, me), script.encode())
        assert put.returncode == 0, put.stderr
        (self.folder / "vm_prologue").rename(self.folder / "guest_prologue")
        return self.sh(run_command(Kind.GUEST_PROLOGUE, ALICE, variables, seconds), SSH_CLIENT="here")


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path / "lib")


def test_a_script_has_its_variables_and_no_others(guest: Guest) -> None:
    """Nothing of ssh's, and values as they are."""
    done = guest.run("#!/bin/sh\nenv | sort; cat; umask\n", VM_NODE="a b'$(id)\"", VM_RANK="0")
    lines = [
        line for line in done.stdout.splitlines() if not line.startswith(("_=", "PWD=", "OLDPWD=", "SHLVL="))
    ]
    assert lines == [
        "HOME=/root", "LOGNAME=root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh", "USER=root",
        "VM_NODE=a b'$(id)\"", "VM_RANK=0", "0022",
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_is_its_runners_alone(guest: Guest) -> None:
    """It may hold a secret; one that was there before is no link to somewhere else."""
    guest.folder.mkdir()
    victim = guest.folder / "victim"
    victim.write_text("precious")
    (guest.folder / "vm_prologue").symlink_to(victim)
    guest.run("#!/bin/sh\n")
    status = (guest.folder / "guest_prologue").lstat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o500, os.geteuid())
    assert victim.read_text() == "precious"


def test_a_script_without_a_first_line_is_the_shells(guest: Guest) -> None:
    """As a job's script would be."""
    assert guest.run("echo $VM_RANK; exit 3", VM_RANK="7").stdout == "7\n"
    assert guest.run("exit 3").returncode == 3


def test_a_script_over_its_limit_is_ended_with_what_it_started(guest: Guest) -> None:
    """Also when it was somebody else that hung."""
    done = guest.run("#!/bin/sh\necho begun; sleep 60; echo never", seconds=1)
    assert done.stdout == "begun\n"
    assert done.returncode in {124, 143}


def test_the_users_script_is_run_by_its_owner() -> None:
    """By the account's name, whatever it is."""
    command = run_command(Kind.VM_EPILOGUE, dataclasses.replace(ALICE, name="alice"), {}, 60)
    assert " su -s /bin/sh alice -c " in command
    assert f"timeout -k 5 60 {FOLDER}/vm_epilogue" in command
    assert "chown 2001:2001" in put_command(Kind.VM_EPILOGUE, dataclasses.replace(ALICE, uid=2001, gid=2001))
    assert "chown 0:0" in put_command(Kind.GUEST_EPILOGUE, ALICE)
