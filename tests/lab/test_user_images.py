"""Images of users, and raw disks of the pool, in real guests; and what comes of exchanging an image."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import SMALL, Job, command, leftovers, settings, shell, wait_for

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SECONDS = 240.0
OWN = f"{USER.home}/own/my-debian.qcow2"
SECRET = "/root/secret.qcow2"
ALLOWED = {"allow_user_images": True, "user_image_bridge": "br0"}
PROBE = str(Path(__file__).with_name("own_image_probe.py"))


@pytest.fixture
def own(lab: Lab, micro: Path) -> Iterator[Lab]:
    """The owner's own copy of an image, on every node, for nobody else to read; and an image of root's."""
    for node in lab.node_names:
        file, secret = lab.root(node) / OWN[1:], lab.root(node) / SECRET[1:]
        file.parent.mkdir(mode=0o700)
        shutil.copyfile(micro, file)
        file.chmod(0o400)
        for path in (file.parent, file):
            os.chown(path, USER.uid, USER.gid)
        shutil.copyfile(micro, secret)
        secret.chmod(0o600)
    with settings(lab, ALLOWED, *lab.node_names):
        yield lab
    for node in lab.node_names:
        shutil.rmtree((lab.root(node) / OWN[1:]).parent)
        (lab.root(node) / SECRET[1:]).unlink()


def asked(path: str = OWN) -> str:
    return f"{SMALL},img={path}"


def state(file: Path) -> tuple[object, ...]:
    """All that may not change of an image."""
    status = file.stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_uid, status.st_gid, status.st_mode, *times, file.read_bytes()


@pytest.mark.proves("img", "allow_user_images", "user_image_bridge")
def test_an_image_of_the_owner_boots_on_all_nodes(own: Lab) -> None:
    """Each emulator has the owner's rights and no others; the file stays as it is."""
    files = [own.root(node) / OWN[1:] for node in own.node_names]
    before = [state(file) for file in files]
    text = "for guest in $(uniq $PBS_NODEFILE); do ssh $guest hostname; done; sleep 600"
    job = Job(own, text, asked(), nodes=2)
    thread = threading.Thread(target=job.run)
    thread.start()
    try:
        wait_for(lambda: len(job.lines) == 2 or not thread.is_alive(), SECONDS)
        assert len(job.lines) == 2, job.errors
        find = "cat $(grep -l '^qemu-system' /proc/[0-9]*/comm | sed 's/comm$/status/')"
        seen = {node: shell(own, node, find) for node in own.node_names}
        xml = shell(own, "node1", "virsh -c qemu:///system dumpxml $(virsh -c qemu:///system list --name)")
    finally:
        job.session.cancel()
        thread.join(SECONDS)
    for text in seen.values():
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert status["Uid"].split() == [str(USER.uid)] * 4
        assert status["Groups"].split() == [str(USER.gid)]
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert f"file='{OWN}'" in xml
    assert [state(file) for file in files] == before
    assert leftovers(own) == {}


@pytest.mark.parametrize("case", ["off", "unreadable", "link", "gone"])
def test_an_image_the_owner_may_not_have_ends_the_job_with_a_sentence(own: Lab, case: str) -> None:
    """Whatever the submission said, which a user can leave away: the node looks itself."""
    path, why = {
        "off": (OWN, "the site allows images of its pool only"),
        "unreadable": (SECRET, "cannot be opened here by alice: Permission denied"),
        "link": (f"{USER.home}/own/link", "cannot be opened here by alice: Permission denied"),
        "gone": (f"{USER.home}/own/gone", "No such file or directory"),
    }[case]
    (own.root("node1") / f"{USER.home}/own/link"[1:]).symlink_to(SECRET)
    with settings(own, {"allow_user_images": False}, "node1") if case == "off" else contextlib.nullcontext():
        job = Job(own, "echo never", asked(path))
        ended = job.run()
    assert (ended.exit_code, job.lines) == (120, [])
    (line,) = job.errors.splitlines()
    assert why in line
    assert leftovers(own) == {}


def test_an_image_that_one_node_does_not_have_ends_the_job_with_a_sentence(own: Lab) -> None:
    """The first node has it; the emulator of another says that it could not open it."""
    (own.root("node2") / OWN[1:]).rename(own.root("node2") / f"{OWN}.away"[1:])
    job = Job(own, "echo never", asked(), nodes=2)
    ended = job.run()
    assert (ended.exit_code, job.lines) == (120, [])
    assert "node2" in job.errors
    assert "cannot be opened here by alice: No such file or directory" in job.errors
    assert leftovers(own) == {}


@pytest.mark.parametrize("how", ["labelled", "unlabelled"])
def test_an_image_that_is_exchanged_after_the_look_leads_nowhere(own: Lab, how: str) -> None:
    """To a file of root's, by a link: nobody opens it. Without the label root's emulator would."""
    done = own.run("node1", [sys.executable, PROBE, OWN, SECRET, how], seconds=SECONDS)
    found = json.loads(done.stdout)
    if how == "unlabelled":
        assert found["started"], "else something else has kept it from being opened"
        assert found["opened"]
    else:
        assert "cannot be opened here by alice: Permission denied" in found["said"]
        assert (found["started"], found["opened"], found["blame"]) == (False, 0, "user")
    assert leftovers(own) == {}


def test_a_raw_disk_of_the_pool_boots_by_the_catalogues_word(lab: Lab, micro: Path) -> None:
    """Added by the command; its guests are as all others, and it stays as it is."""
    pool = lab.root("node1") / "var/tmp/pool"
    pool.mkdir()
    try:
        with settings(lab, {"image_pool": "/var/tmp/pool"}, "node1"):
            raw = "/var/tmp/pool/.micro.raw"
            made = lab.root("node1") / raw[1:]
            subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", micro, made], check=True)
            refused = command(lab, "image", "add", raw, "--name", "micro.img")
            assert (refused.returncode, "--format raw" in refused.stderr) == (6, True)
            added = command(lab, "image", "add", raw, "--name", "micro.img", "--format", "raw")
            assert added.returncode == 0, added.stderr
            before = state(pool / "micro.img")
            job = Job(lab, "hostname; exit 5", f"{SMALL},img=micro.img")
            ended = job.run()
            verified = command(lab, "image", "verify", "micro.img")
        assert (ended.exit_code, len(job.lines), job.errors) == (5, 1, "")
        assert verified.returncode == 0
        assert state(pool / "micro.img") == before
    finally:
        shutil.rmtree(pool)
    assert leftovers(lab) == {}
