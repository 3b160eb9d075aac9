"""No file, link, name, variable or request of a user makes root read, write or boot what it should not.

The table in docs/security.md names the test for each hole S1 to S15 of the earlier system; those without
a test elsewhere have theirs here.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, USER, Site, site
from mom_kit import SHELLS, MomPriv
from test_hooks_main import environment, facts, main, mark

from nornir_torque_vm import accounts, images
from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.errors import Blame, ImageError, InventoryError
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.request import Request
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.sitekit import hook_text

__all__ = ["site"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nornir_torque_vm"
HOSTILE = "$(touch {0}/x)`touch {0}/x`;touch {0}/x;'\"\n../../{0}"
"""A job name or account; the braces hold a directory of the user's."""

WATCH = """
import dataclasses, functools, os, sys
home, folder, record = {names!r}
out = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, values):
    watched = event.startswith(("open", "os.", "shutil.", "subprocess.", "socket.connect"))
    if watched and folder in repr(values):
        os.write(out, f"{{event}} {{values!r}}\\n".encode())
sys.addaudithook(watch)
if {prologue}:
    known = hook.owner_named
    hook.owner_named = lambda name: dataclasses.replace(known(name), home=home)
    hook.Prologue = functools.partial(hook.Prologue, probe=lambda _: True)
"""
"""Notes every file, link and program that a hook touches below a folder."""


def hostile_facts(site: Site, home: Path, request: str = "ram=64M") -> JobFacts:
    """A job whose owner chose every text with malice, and whose home and work directory are ``home``."""
    name = HOSTILE.format(home)
    return dataclasses.replace(
        facts(site), user_home=str(home), home_dir=str(home), workdir=str(home), script=f"{home}/job.sh",
        job_name=name, account=name, resources=f"nodes=2:ppn=1,other=vm1:{request},software={home}",
        variables=tuple((key, f"{home}/evil") for key in slots.record()["hook_environment_from_user"]),
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home full of bait: opening a FIFO hangs, following a link leads to a victim."""
    folder, victim = tmp_path / "alice-home", tmp_path / "victim"
    (folder / f".vtorque/{JOB}/node1").mkdir(parents=True)
    victim.write_text("precious")
    for name in (".profile", ".bash_profile", ".vtorque/debug.log", "settings.toml", "job.sh"):
        os.mkfifo(folder / name)
    (folder / f".vtorque/{JOB}/node1/1.xml").write_text("<domain type='test'><name>evil</name></domain>")
    (folder / f"job.o{JOB}").symlink_to(victim)
    return folder


def watched(site: Site, home: Path, slot: str) -> list[str]:
    """Run a hook as a process; return what it touched below the site's folder."""
    record, job = site.folder / f"{slot}.record", hostile_facts(site, home)
    watch = WATCH.format(names=(str(home), str(site.folder), str(record)), prologue=slot == "prologue")
    code = (
        "import syslog\nfrom nornir_torque_vm.config import settings\n"
        f"settings.DEFAULT_PATH = {str(site.settings_file)!r}\nsyslog.syslog = lambda *_: None\n"
        f"from nornir_torque_vm.hooks import {slot} as hook\n{watch}\nhook.main()"
    )
    given = {**environment(site, slot), **slots.environment(slot, job), "PBS_NODEFILE": str(site.nodefile)}
    forged = {"HOME": str(home), "DEBUG": "true", "TORQUE_VM_SETTINGS": f"{home}/settings.toml"}
    argv = [sys.executable, "-I", "-c", code, *slots.arguments(slot, job)]
    done = subprocess.run(argv, env={**given, **forged}, cwd=home, check=False, timeout=60)
    assert done.returncode == 0
    return record.read_text().splitlines()


def test_root_touches_nothing_of_the_users(site: Site, home: Path) -> None:
    """Home and work directory are not opened, listed, made, given away: nor need they be readable."""
    mark(site)
    for slot in ("prologue", "epilogue"):
        touched = watched(site, home, slot)
        assert any(str(site.settings.run_dir) in line for line in touched), "the watch sees nothing"
        assert [line for line in touched if "alice-home" in line] == []
        asked = ("/bin/qstat'", "/bin/pbsnodes'")
        programs = [line for line in touched if line.startswith("subprocess.")]
        assert [line for line in programs if not any(name in line for name in asked)] == []
        assert bool(programs) == (slot == "prologue"), "TORQUE is asked for the job's slots"
    assert site.history("job.json")["name"] == HOSTILE.format(home)
    assert (home.parent / "victim").read_text() == "precious"


FORGED = [
    "img=%2Fetc%2Fshadow", "img=/etc/shadow", "img=..", "img=../victim", "img=.", "img=.micro.qcow2",
    "img=micro.qcow2%00", "img=a%0Ab", "img=link.qcow2", "img=fifo.qcow2", "img=outside.qcow2",
    "vcpus=99999999999999999999", "vcpus=0", "vcpus=-1", "vcpus=1:vcpus=2", "vcpus=1e9", "vcpus=%D9%A3",
    "ram=99999999999999999999999T", "ram=16T", "ram=0", "vms_per_node=1024", "vms_per_node=1025",
    "arch=../../x", "arch=x86_64'%20x='", "hypervisor=/tmp/qemu", "hypervisor=test", "fs_type=/etc",
    "distro=%3Cx/%3E", "debug=true", "DEBUG=true", "user=root", "bridge=br1", "emulator=/tmp/x",
    "image_pool=/etc", "owner=root", "metadata=/etc/shadow", "vm_prologue=/etc/shadow", "disk=../x",
    "vcpu_pinning=/etc/shadow", "unclot_shmem=-1", "=", ":", "%", "img=%", "img=%zz", "vcpus",
]  # fmt: skip
"""Requests that no wrapper of ours would submit."""


@pytest.mark.parametrize("request_text", FORGED)
def test_a_forged_request_boots_nothing(
    site: Site, home: Path, request_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the wrapper; the job is started with a refusal, and the node is as before."""
    pool = Path(site.settings.image_pool)
    (pool / "link.qcow2").symlink_to(home.parent / "victim")
    os.mkfifo(pool / "fifo.qcow2")
    (pool / "outside.qcow2").write_bytes(overlay_on("/etc/shadow"))
    mark(site)
    job = hostile_facts(site, home, request_text)
    assert main(site, "prologue", monkeypatch, slots.arguments("prologue", job)) == 0
    assert site.domains() + site.volumes() == []
    assert json.loads(Path(site.settings.run_dir, "handover", JOB, "given").read_text())["refusal"]["user"]
    assert (home.parent / "victim").read_text() == "precious"


def overlay_on(path: str) -> bytes:
    """An image that builds on any file."""
    from nornir_torque_vm.qcow2 import overlay_bytes

    return overlay_bytes(path, "raw", 1 << 30)


@pytest.mark.parametrize("key", ["vcpu_pinning", "vm_prologue", "vm_epilogue", "metadata", "disk"])
def test_files_of_others_in_a_request_are_not_read(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The request may name any path with any digest; this one would hang whoever opens it.

    It is looked at with the owner's rights, and without waiting for whoever might write into it.
    """
    fifo = FileRef(f"{home}/.profile", "0" * 64)
    named: Any = fifo.path if key == "disk" else fifo
    text = Request(ram=64 << 20, **{key: named}).encode().removeprefix("vm1:")
    mark(site)
    arguments = slots.arguments("prologue", hostile_facts(site, home, text))
    assert main(site, "prologue", monkeypatch, arguments) == 0
    assert "which is not a regular file" in site.history("verdict.json")["sentence"]
    assert site.domains() == []


@pytest.mark.parametrize("place", ["run", "run/jobs", "run/locks", "run/handover", "log"])
def test_a_link_in_place_of_a_directory_of_ours_leads_nowhere(site: Site, place: str) -> None:
    """Whoever could plant it would have root write, chown and remove elsewhere."""
    victim, path = site.folder / "victim", site.folder / place
    victim.mkdir()
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim)
    with pytest.raises(Exception, match=r"cannot open|not a directory|link"):
        site.prologue()
    assert list(victim.iterdir()) == []
    assert site.domains() == []


def test_a_link_in_place_of_the_hand_over_is_replaced(site: Site) -> None:
    """It is given to the job's owner: were the link followed, so would be what it leads to."""
    victim, path = site.folder / "victim", Path(site.settings.run_dir, "handover", JOB)
    victim.write_text("precious")
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    assert site.prologue().ok
    assert (victim.read_text(), path.is_symlink()) == ("precious", False)


@pytest.mark.parametrize("slot", ["prologue", "prologue.parallel", "epilogue.parallel"])
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_shell_part_uses_no_run_directory_of_somebody_elses(
    tmp_path: Path, slot: str, shell: list[str]
) -> None:
    """It acts before Python looks: a link there must have nothing emptied, made or removed elsewhere."""
    mom, victim = MomPriv(tmp_path, shell), tmp_path / "victim"
    (victim / "markers").mkdir(parents=True)
    (victim / "markers" / mom.marker.name).write_text("precious")
    mom.run_dir.symlink_to(victim)
    code = mom.run(mom.ours(slot), slot)
    assert code == (2 if slot == "prologue" else 0), "a sister's other code would take the node down"
    assert (victim / "markers" / mom.marker.name).read_text() == "precious"
    assert [path.name for path in victim.iterdir()] == ["markers"]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_pool_or_image_that_everybody_may_write_is_not_booted_from(site: Site, mode: int) -> None:
    """Anybody could exchange what another user's guests are; that is the site's to mend."""
    pool = Path(site.settings.image_pool)
    for path, kept in ((pool, 0o755), (pool / "micro.qcow2", 0o644)):
        path.chmod(mode)
        with pytest.raises(ImageError, match="can be written by everybody") as caught:
            images.open_image(str(pool), "micro.qcow2")
        assert caught.value.blame is Blame.SITE
        assert str(path) in str(caught.value)
        path.chmod(kept)
    assert images.open_image(str(pool), "micro.qcow2")


def test_an_image_of_a_user_in_the_pool_is_not_booted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could change it under the guests of others: it is root's, or the pool's owner's."""
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        status = list(real(fd))
        if os.readlink(f"/proc/self/fd/{fd}").endswith("micro.qcow2"):  # noqa: PTH115 - as the kernel says it
            status[4] += 4711
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(ImageError, match="neither root nor the owner of the pool") as caught:
        images.open_image(site.settings.image_pool, "micro.qcow2")
    assert caught.value.blame is Blame.SITE


def test_hooks_run_no_code_from_their_directory_or_environment(tmp_path: Path) -> None:
    """Planted modules, Python's and the shell's variables: all of them would run as root."""
    evil, trace = tmp_path / "evil", tmp_path / "trace"
    plant = f"import os; os.close(os.open({str(trace)!r}, os.O_CREAT))"
    for name in ("nornir_torque_vm/__init__.py", "sitecustomize.py", "json.py", "log4bsh.py", "start.py"):
        (evil / name).parent.mkdir(parents=True, exist_ok=True)
        (evil / name).write_text(plant)
    for name in ("sh", "python", "mkdir", "rm", "logger", "log4bsh.sh"):
        (evil / name).write_text(f"#!/bin/sh\n: >{trace}\n")
        (evil / name).chmod(0o755)
    forged = {
        "PATH": f"{evil}:/usr/bin:/bin", "PYTHONPATH": str(evil), "PYTHONSTARTUP": f"{evil}/start.py",
        "PYTHONHOME": str(evil), "BASH_ENV": f"{evil}/sh", "ENV": f"{evil}/sh", "HOME": str(evil),
    }  # fmt: skip
    for slot in ("prologue", "epilogue"):
        hook = tmp_path / f"{slot}.vm"
        hook.write_text(hook_text(hook.name, python=sys.executable, run_dir=str(tmp_path / "run")))
        # Too few arguments: everything is imported, and no setting of this machine is used.
        done = subprocess.run(
            ["/bin/sh", hook, JOB],
            env=forged,
            cwd=evil,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, "was given 1 arguments" in done.stderr) == (2, True), done.stderr
    assert not trace.exists()


def test_a_name_that_is_part_of_an_account_is_no_account() -> None:
    """Names are asked of the system, whole, and not looked for in a file."""
    for part in (USER.pw_name[:-1], USER.pw_name[1:], f"{USER.pw_name} ", ".*", USER.pw_name + ":x"):
        with pytest.raises(InventoryError):
            accounts.owner_named(part)


def test_keys_lie_only_where_they_must(site: Site) -> None:
    """History has none; the owner's file has the owner's key and not the one that opens root's account."""
    assert site.prologue().ok
    state = JobState.find(site.settings.run_dir, JOB)
    keys = state.keys() if state else None
    assert keys is not None
    given = Path(site.settings.run_dir, "handover", JOB, "given")
    assert given.stat().st_mode & 0o777 == 0o400
    held = json.loads(given.read_text())
    assert (held["user_key"], keys.admin.private in given.read_text()) == (keys.user.private, False)
    assert json.dumps(keys.admin.private).strip('"') not in given.read_text()
    kept = [path for path in Path(site.settings.history_dir).rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"job.json", "plan.json", "events.jsonl", "verdict.json"}
    for path in kept:
        assert "PRIVATE KEY" not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert Path(site.settings.history_dir).stat().st_mode & 0o077 == 0


def constants() -> Iterator[tuple[str, str]]:
    """Every text constant of what runs on nodes as root, with its module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith(("lab/", "guestimages/")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield name, node.value


def test_no_name_in_a_shared_directory_is_fixed() -> None:
    """Anybody could have made it first. In a guest there is one user; the others have random digits."""
    found = {name for name, text in constants() if text.startswith(("/tmp", "/var/tmp", "/dev/shm"))}
    assert found == {
        "hooks/wayin.py",
        "render/entry.py",
        "install/node_site.py",
        "entrance/remote.py",
    }
    for path in ROOT.glob("hooks/*"):
        assert "/tmp" not in path.read_text(), path


def test_no_program_is_run_as_the_user_by_root_or_kills_by_name() -> None:
    """Login files would run; other jobs and logins of the same user would end."""
    words = {"su", "sudo", "runuser", "pkill", "skill", "killall", "fuser"}
    # In a guest, root becomes the user by name: see the scripts below render/.
    found = [(name, text) for name, text in constants() if text in words and not name.startswith("render/")]
    assert found == []
    for path in ROOT.glob("hooks/*"):
        code = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
        assert not words & set(re.findall(r"[a-z]+", code)), path


def test_other_processes_of_the_user_live_on(site: Site) -> None:
    """A login, or another job, on the same node."""
    other = subprocess.Popen(["/bin/sleep", "60"], env={"PBS_JOBID": "18.head"}, start_new_session=True)
    try:
        assert site.prologue().ok
        assert site.epilogue().ok
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
